"""Outputs of measurements: all kinds of them, with every fault, kills and subscriptions."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from streams.subscriptions.filters import HOLDS_AFTER, Subscription, SubscriptionHistory
from streams.subscriptions.log import SubscriptionLog, encoded
from tests.e2e.stack import Stack, eventually
from tests.support.measurements import key_of, measurement, write_measurements
from tests.support.message_router import MessageRouter
from tests.support.topics import headers_of, read_topic
from tests.support.ves_collector import VesCollector
from tests.support.vm_events import create_topics, vm_event, write_events
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.samples import Measurement, encode_measurement
from vimfed.settings import KafkaSettings

CLOUD = {
    "cloud_owner": "CloudOwner",
    "cloud_region_id": "RegionOne",
    "samples": {"pushed": True},
}
INSTANCES = 12


def output(name: str, url: str, *lines: str) -> str:
    """Return the section of an output of measurements."""
    head = ["[[dmaap.outputs]]", f'name = "{name}"', f'url = "{url}"', 'carries = "measurements"']
    return "\n".join([*head, "timeout = 2", *lines, ""])


def measured(intervals: int) -> list[Measurement]:
    """Return measurements of all instances in so many intervals."""
    return [
        measurement(
            f"vm-{instance}",
            number,
            begin=f"2026-01-01T12:{number:02}:00.000000Z",
            end=f"2026-01-01T12:{number + 1:02}:00.000000Z",
        )
        for number in range(intervals)
        for instance in range(INSTANCES)
    ]


def id_of(message: Any) -> str:
    return str(message["id"] if "id" in message else message["commonEventHeader"]["eventId"])


def assert_all_in_order(ids: list[str], sent: list[Measurement]) -> None:
    """Each measurement is there, and those of an instance have first come in order."""
    first = list(dict.fromkeys(ids))
    assert set(first) == {each.id for each in sent}
    place = {each: number for number, each in enumerate(first)}
    for instance in {each.instance_id for each in sent}:
        places = [place[each.id] for each in sent if each.instance_id == instance]
        assert places == sorted(places)


async def have_all(stack: Stack, sent: list[Measurement], *taken: Any) -> None:
    """Wait until each of ``taken``, functions that return ids, names all that was sent."""
    wanted = {each.id for each in sent}

    async def all_there() -> bool:
        for name, child in stack.children.items():
            assert child.running, f"{name}: {child.last_log_line()}"
        return all([wanted <= set(await asyncio.to_thread(each)) for each in taken])

    await eventually(all_there, within=60, every=0.3)


async def write(stack: Stack, sent: list[Measurement]) -> None:
    await asyncio.to_thread(write_measurements, stack.bootstrap, stack.prefix, sent)


async def test_every_kind_of_output_gets_every_measurement_through_all_faults(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with MessageRouter() as router, VesCollector(most_bytes=20_000) as collector:
        sections = (
            output("mr", router.url)
            + output("ves", collector.url)
            + output("topics", f"ves+kafka://{kafka.bootstrap}")
            + '[dmaap.outputs.ves_topics]\nmeasurement = "PREFIX.measured"\n'
        )
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD], sections) as stack:
            config = stack.folder / "vimfed.toml"
            config.write_text(config.read_text().replace("PREFIX", stack.prefix))
            await create_topics(kafka.bootstrap, stack.prefix)
            for name in ("mr", "ves", "topics"):
                stack.start(name, "publisher", "--output", name, "--port", "0")
            stack.start("events", "publisher", "--output", "dmaap", "--port", "0")
            sent, event = measured(12), vm_event()
            await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, [event])

            def of_topic(topic: str) -> list[str]:
                found = [
                    json.loads(each.value() or b"") for each in read_topic(kafka.bootstrap, topic)
                ]
                return [id_of(each.get("event") or each.get("vim_event")) for each in found]

            def in_topic() -> list[str]:
                return of_topic(f"{stack.prefix}.measured")

            def at_router() -> list[str]:
                return [id_of(json.loads(value)) for _key, value in router.messages]

            def at_collector() -> list[str]:
                return [id_of(each) for each in collector.events]

            for part, faults in enumerate(
                (["500", "hanging"], ["503", "cut before"], ["cut in the answer", "short"])
            ):
                router.faults, collector.faults = [*faults], [*faults]
                written = sent[: 4 * INSTANCES * (part + 1)]
                await write(stack, written[-4 * INSTANCES :])
                await have_all(stack, written, in_topic, at_router, at_collector)
                assert not router.faults
                assert not collector.faults
            for ids in (in_topic(), at_router(), at_collector()):
                assert_all_in_order(ids, sent)
            assert {each["commonEventHeader"]["domain"] for each in collector.events} == {
                "measurement"
            }
            # Events go to who carries them, and to nobody else.

            async def event_there() -> bool:
                return await asyncio.to_thread(of_topic, stack.dmaap_topic) == [event.id]

            await eventually(event_there, within=30)

            # A repetition has the same key and the same content.
            before = {id_of(json.loads(value)): (key, value) for key, value in router.messages}
            begun = len(router.messages)
            await write(stack, sent)

            async def all_again() -> bool:
                return len(router.messages) >= begun + len(sent)

            await eventually(all_again, within=30)
            for key, value in router.messages[begun:]:
                assert before[id_of(json.loads(value))] == (key, value)
            assert before[sent[0].id] == (key_of(sent[0]).decode(), encode_measurement(sent[0]))
            for record in read_topic(kafka.bootstrap, f"{stack.prefix}.measured"):
                assert dict(headers_of(record))["ce_type"] == b"org.onap.multicloud.vm.measurement"


async def vimfed(stack: Stack, *arguments: str) -> str:
    command = [sys.executable, "-m", "vimfed", "--config", str(stack.folder / "vimfed.toml")]
    done = await asyncio.to_thread(
        subprocess.run, [*command, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_what_is_refused_or_unfit_is_a_dead_letter_and_can_be_played_again(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with MessageRouter() as router:
        sections = output("mr", router.url)
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD], sections) as stack:
            await create_topics(kafka.bootstrap, stack.prefix)
            sent = measured(2)
            bad = sent[5]
            router.refuse = lambda message: id_of(json.loads(message)) == bad.id
            stack.start("mr", "publisher", "--output", "mr", "--port", "0")
            await write(stack, sent)
            producer = Producer({"bootstrap.servers": kafka.bootstrap})
            unfit = partition_of(b"CloudOwner_RegionOne/vm-1", 8)
            producer.produce(
                f"{stack.prefix}.measurements", b"{}", b"CloudOwner_RegionOne/vm-1", unfit
            )
            assert producer.flush(30) == 0

            def at_router() -> list[str]:
                return [id_of(json.loads(value)) for _key, value in router.messages]

            await have_all(stack, [each for each in sent if each is not bad], at_router)

            async def letters() -> list[list[str]]:
                listed = await vimfed(stack, "dead-letter", "list")
                return [line.split("\t") for line in listed.splitlines()]

            async def two() -> bool:
                return len(await letters()) == 2

            await eventually(two, within=30)
            for letter in await letters():
                assert letter[3] == f"{stack.prefix}.measurements"
                shown = await vimfed(stack, "dead-letter", "show", letter[0])
                assert "origin: measurements" in shown
                assert "output: mr" in shown
            router.refuse = lambda _message: False
            (refused,) = [letter[0] for letter in await letters() if "refused" in letter[5]]
            played = await vimfed(stack, "dead-letter", "replay", refused)
            assert played == f"{refused}: replayed to {stack.prefix}.measurements\n"
            await have_all(stack, sent, at_router)
            # Back on its topic it is for this output alone.
            told = [
                record
                for record in read_topic(kafka.bootstrap, f"{stack.prefix}.measurements")
                if record.key() == key_of(bad) and json.loads(record.value() or b"")["id"] == bad.id
            ]
            assert [dict(headers_of(record)).get("output") for record in told] == [None, b"mr"]


async def test_meters_are_chosen_at_run_time_and_a_kill_loses_nothing(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with MessageRouter() as router:
        sections = output("mr", router.url) + "[filter]\nenabled = false\n"
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD], sections) as stack:
            await create_topics(kafka.bootstrap, stack.prefix)
            settings = KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=stack.prefix)
            log = SubscriptionLog(settings, SubscriptionHistory(None))
            async with log.followed():
                await log.append(b"cpu", encoded(Subscription(meters=("cpu_util",), output="mr")))
                taken = await log.append(b"deletions", encoded(Subscription(kinds=("DELETE",))))
            # A measurement is matched against what held when Kafka took it.
            await asyncio.sleep(max(0.0, taken / 1000 + HOLDS_AFTER - time.time()))
            stack.start("mr", "publisher", "--output", "mr", "--port", "0")
            sent = measured(30)
            await write(stack, sent[:INSTANCES])

            def at_router() -> list[str]:
                return [id_of(json.loads(value)) for _key, value in router.messages]

            await have_all(stack, sent[:INSTANCES], at_router)
            router.faults = ["500"] * 3
            await write(stack, sent)

            async def amid_it() -> bool:
                return not router.faults

            await eventually(amid_it, within=30)
            stack.children["mr"].kill()
            stack.start("mr")
            await have_all(stack, sent, at_router)
            assert_all_in_order(at_router(), sent)
            for _key, value in router.messages:
                assert [each["meter"] for each in json.loads(value)["values"]] == ["cpu_util"]
