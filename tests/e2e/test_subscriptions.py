"""Subscriptions with several workers and several publishers."""

import asyncio
import json
from pathlib import Path

import aiohttp
from confluent_kafka import Producer

from streams.subscriptions.filters import MAX_SUBSCRIPTIONS
from tests.e2e.stack import Stack, eventually
from tests.support.core_truth import records_on
from tests.support.topics import read_topic
from tests.support.vm_events import vm_event, write_events
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import VmEvent
from vimfed.process.ports import free_ports

EFFECTIVE_WITHIN = 2.0
PATH = "/api/multicloud/v1/subscriptions/a"
PUBLISHERS = ("publisher", "second-publisher")


async def write(stack: Stack) -> set[str]:
    """Write an event of each of many instances, so that every publisher gets some."""
    events: list[VmEvent] = [vm_event(f"vm-{number}") for number in range(100)]
    await asyncio.to_thread(write_events, stack.bootstrap, stack.prefix, events)
    return {event.id for event in events}


def published(stack: Stack) -> set[str]:
    records = read_topic(stack.bootstrap, stack.dmaap_topic)
    return {json.loads(record.value() or b"")["vim_event"]["id"] for record in records}


async def metric_lines(stack: Stack, name: str, start: str) -> list[str]:
    try:
        text = await stack.text("/metrics", name)
    except aiohttp.ClientConnectionError:
        return []
    return [line for line in text.splitlines() if line.startswith(start)]


async def test_a_change_at_one_worker_is_effective_everywhere_within_two_seconds(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [], "[filter]\nenabled = false\n") as stack:
        stack.start_worker()
        stack.start_worker("other")
        (stack.ports[PUBLISHERS[1]],) = free_ports(1)
        await stack.serving("worker", "other")
        for name in PUBLISHERS:
            stack.start(name, "publisher", "--port", str(stack.ports[name]))

        async def shared() -> bool:
            lags = [await metric_lines(stack, name, "vimfed_publisher_lag{") for name in PUBLISHERS]
            return [len(lines) for lines in lags] == [4, 4]

        await eventually(shared, within=60)

        assert (await stack.put(PATH, {"kinds": ["PAUSE"]}, "worker"))[0] == 201
        answered = asyncio.get_running_loop().time()
        assert (await stack.get(PATH, "other"))[1]["kinds"] == ["PAUSE"]
        await until(answered + EFFECTIVE_WITHIN)
        wanted = await write(stack)

        assert (await stack.delete(PATH, "other"))[0] == 200
        answered = asyncio.get_running_loop().time()
        assert (await stack.get(PATH, "worker"))[0] == 404
        await until(answered + EFFECTIVE_WITHIN)
        await write(stack)

        assert (await stack.put(PATH, {}, "other"))[0] == 201
        await until(asyncio.get_running_loop().time() + EFFECTIVE_WITHIN)
        wanted |= await write(stack)

        changes = await asyncio.to_thread(records_on, stack.bootstrap, stack.names.subscriptions)
        assert [each.headers for each in changes] == [{"caller": "everybody/admin@127.0.0.1"}] * 3

        async def all_there() -> bool:
            return wanted <= await asyncio.to_thread(published, stack)

        await eventually(all_there, within=30)
        assert published(stack) == wanted
        for name in PUBLISHERS:
            (line,) = await metric_lines(stack, name, "vimfed_publisher_published_total{")
            assert float(line.split()[-1]) > 0


async def until(moment: float) -> None:
    """Sleep until a moment of the loop's clock: the promise is about time."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


async def test_two_workers_that_are_asked_at_once_make_no_subscription_too_many(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    names = ("worker", "other")
    async with Stack(tmp_path, kafka.bootstrap, []) as stack:
        for name in names:
            stack.start_worker(name)
        await stack.serving(*names)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for number in range(MAX_SUBSCRIPTIONS - 2):  # room for one, beside the default one
            producer.produce(stack.names.subscriptions, b"{}", f"s{number}".encode())
        assert producer.flush(30) == 0
        path = PATH.removesuffix("/a")
        answers = await asyncio.gather(
            *(stack.put(f"{path}/{name}-{number}", {}, name) for number in (1, 2) for name in names)
        )
        assert sorted(status for status, _answer in answers) == [201, 409, 409, 409]
        for name in names:
            assert len((await stack.get(path, name))[1]["subscriptions"]) == MAX_SUBSCRIPTIONS
