"""DMaaP goes away and publishers are killed under load, and subscriptions change meanwhile."""

import asyncio
import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos import LONG
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.message_router import MessageRouter
from tests.support.topics import read_topic
from tests.support.vm_events import create_topics, vm_event, write_events
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import VmEvent
from vimfed.process.ports import free_ports

KILLS = 20 if LONG else 3
OUTAGE = 60.0 if LONG else 10.0
RATE = 500
INSTANCES = 50


def load(seconds: float) -> list[VmEvent]:
    return [
        vm_event(f"vm-{number % INSTANCES}", kind=("PAUSE", "UNPAUSE")[number // INSTANCES % 2])
        for number in range(int(seconds * RATE))
    ]


def published(stack: Stack, bootstrap: str) -> list[tuple[str, bytes]]:
    """Return (id, value) of each record on DMaaP."""
    return [
        (json.loads(record.value() or b"")["vim_event"]["id"], bytes(record.value() or b""))
        for record in read_topic(bootstrap, stack.dmaap_topic)
    ]


async def assert_published(stack: Stack, bootstrap: str, wanted: list[VmEvent]) -> int:
    """Wait for all that is wanted, and nothing else; return the number of duplicates."""
    ids = {event.id for event in wanted}

    async def all_there() -> bool:
        return ids <= {
            event_id for event_id, _ in await asyncio.to_thread(published, stack, bootstrap)
        }

    await eventually(all_there, within=90, every=1)
    records = published(stack, bootstrap)
    values: dict[str, bytes] = {}
    for event_id, value in records:  # a dict keeps the order of first occurrences
        assert values.setdefault(event_id, value) == value
    assert values.keys() == ids
    place = {event_id: number for number, event_id in enumerate(values)}
    latest: dict[str, int] = {}
    for event in wanted:
        assert place[event.id] > latest.get(event.instance_id, -1)
        latest[event.instance_id] = place[event.id]
    return len(records) - len(values)


async def kill(stack: Stack, times: int, every: float) -> None:
    for _ in range(times):
        await asyncio.sleep(every * random.uniform(0.5, 1.5))
        stack.children["publisher"].kill()
        stack.start("publisher")


async def test_nothing_is_lost_while_dmaap_is_away_and_publishers_are_killed(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    with new_kafka(tmp_path / "dmaap") as dmaap:
        async with (
            MessageRouter() as router,
            Stack(tmp_path, kafka.bootstrap, [], other_output(router)) as stack,
        ):
            config = stack.folder / "vimfed.toml"
            config.write_text(
                config.read_text().replace(
                    f"kafka://{kafka.bootstrap}/", f"kafka://{dmaap.bootstrap}/"
                )
            )
            await create_topics(kafka.bootstrap, stack.prefix)
            publisher = stack.start("publisher", "publisher", "--output", "dmaap")
            stack.start("other", "publisher", "--output", "other", "--port", "0")
            sent = load(OUTAGE + KILLS * 4 + 5)
            writing = asyncio.create_task(
                asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent, rate=RATE)
            )
            await asyncio.sleep(3)
            dmaap.kill()
            await asyncio.sleep(OUTAGE)
            assert publisher.running
            written = int(OUTAGE * RATE)  # three seconds behind the load
            assert len(router.messages) >= written, "one output's outage holds another back"
            dmaap.start()
            await kill(stack, KILLS, 4.0)
            await writing
            duplicates = await assert_published(stack, dmaap.bootstrap, sent)
            print(f"{len(sent)} events, {KILLS} kills, {OUTAGE:.0f} s away: {duplicates} twice")


def other_output(router: MessageRouter) -> str:
    return f'[[dmaap.outputs]]\nname = "other"\nurl = "{router.url}"\n'


async def test_of_two_publishers_that_share_an_output_one_goes_on_when_the_other_is_killed(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    names = ("publisher", "second")
    async with Stack(tmp_path, kafka.bootstrap, []) as stack:
        (stack.ports["second"],) = free_ports(1)
        await create_topics(kafka.bootstrap, stack.prefix)
        for name in names:
            stack.start(name, "publisher", "--port", str(stack.ports[name]))

        async def own(*counts: int) -> bool:
            """Return whether the publishers own so many partitions each."""
            return [len(await figures(stack, name, "lag")) for name in names] == list(counts)

        await eventually(lambda: own(4, 4), within=60)
        sent = load(15)
        writing = asyncio.create_task(
            asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent, rate=RATE)
        )

        async def both_deliver() -> bool:
            told = [await figures(stack, name, "published_total") for name in names]
            return all(sum(published) > RATE for published in told)

        await eventually(both_deliver, within=30)
        stack.children["publisher"].kill()
        await eventually(lambda: own(0, 8), within=30)
        await writing
        duplicates = await assert_published(stack, kafka.bootstrap, sent)
        print(f"{len(sent)} events, one of two publishers killed: {duplicates} twice")


async def figures(stack: Stack, publisher: str, metric: str) -> list[float]:
    """Return a metric's values, or nothing where the publisher does not answer yet."""
    try:
        text = await stack.text("/metrics", publisher)
    except aiohttp.ClientConnectionError:
        return []
    lines = [line for line in text.splitlines() if line.startswith(f"vimfed_publisher_{metric}{{")]
    return [float(line.split()[-1]) for line in lines]


async def test_a_changed_subscription_neither_loses_nor_doubles_also_across_a_kill(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [], "[filter]\nenabled = false\n") as stack:
        stack.start_worker()
        await stack.ready()
        stack.start("publisher")
        sent = load(24)
        writing = asyncio.create_task(
            asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent, rate=RATE)
        )
        path = "/api/multicloud/v1/subscriptions"
        changes: list[tuple[str, list[str]]] = []

        async def put(name: str, kinds: list[str]) -> None:
            status, answer = await stack.put(f"{path}/{name}", {"kinds": kinds})
            assert status in (200, 201), answer
            assert (await stack.get(f"{path}/{name}"))[1]["kinds"] == kinds
            changes.append((answer["holds_from"], kinds))

        await asyncio.sleep(4)
        await put("a", ["PAUSE"])
        await asyncio.sleep(4)
        await put("a", ["UNPAUSE"])
        await asyncio.sleep(0.9)
        stack.children["publisher"].kill()
        stack.start("publisher")
        await asyncio.sleep(6)
        await put("a", ["PAUSE", "UNPAUSE"])
        taken = await writing
        moments = [(_milliseconds(at), kinds) for at, kinds in changes]

        def kinds_at(moment: int) -> list[str]:
            held: list[str] = []
            for at, kinds in moments:
                held = kinds if at <= moment else held
            return held

        wanted = [event for event in sent if event.kind in kinds_at(taken[event.id])]
        assert 0 < len(wanted) < len(sent)
        duplicates = await assert_published(stack, kafka.bootstrap, wanted)
        print(f"{len(wanted)} of {len(sent)} events wanted: {duplicates} twice")
        assert (await stack.put(f"{path}/b", {"kinds": ["NONE"]}))[0] == 400
        assert (await stack.put(f"{path}/default", {}))[0] == 409
        assert (await stack.delete(f"{path}/a"))[0] == 200
        listed: Any = (await stack.get(path))[1]
        assert listed == {"subscriptions": []}


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
