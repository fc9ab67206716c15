"""A consumer that begins with a snapshot, under load and kills, ends with the truth."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from tests.chaos.instance_load import VIM_ID, MortalLoad
from tests.e2e.stack import Stack, eventually
from tests.support.topics import count_records
from vimfed.local.kafka import LocalKafka

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
PARTITIONS = 8
INSTANCES = 1500
PATH = "/api/multicloud/v1/snapshots/for-a-new-consumer"


class NewConsumer:
    """Knows of instances what it was told since it began, and nothing else."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        """By instance that is not deleted."""
        self.boundaries: list[str] = []
        self.told: set[str] = set()
        """Instances of which the snapshot told."""
        self.disorder: list[str] = []
        self._changed_at: dict[str, str] = {}
        self._ids: set[str] = set()

    def take(self, record: ConsumerRecord[bytes, bytes]) -> None:
        message = json.loads(record.value or b"")
        about = message["vim_event"]
        if about["id"] in self._ids:
            return
        self._ids.add(about["id"])
        if about["kind"] == "STATE_SNAPSHOT" and "instance_id" not in message:
            self.boundaries.append(about["phase"])
            return
        instance_id, changed_at = message["instance_id"], about["changed_at"]
        if about["kind"] == "STATE_SNAPSHOT":
            self.told.add(instance_id)
        if changed_at < self._changed_at.get(instance_id, ""):
            self.disorder.append(f"{about['kind']} {instance_id}: {changed_at}")
        self._changed_at[instance_id] = changed_at
        if message["state"] == "deleted":
            self.states.pop(instance_id, None)
        else:
            self.states[instance_id] = message["state"]

    @asynccontextmanager
    async def consuming(self, bootstrap: str, topic: str) -> AsyncIterator[None]:
        """Take what comes on a topic from now on while the block runs."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)

        async def follow() -> None:
            async for record in consumer:
                self.take(record)

        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await consumer.stop()


def truth(load: MortalLoad) -> dict[str, str]:
    """Return the state of every instance that is not deleted, as it was last sent."""
    last: dict[str, tuple[str, str]] = {}
    for (instance_id, at), state in load.sent.items():
        last[instance_id] = max(last.get(instance_id, ("", "")), (at, state))
    return {each: state for each, (_at, state) in last.items() if state != "deleted"}


async def test_a_consumer_that_begins_with_a_snapshot_under_load_ends_with_the_truth(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        for name in ("one", "two"):
            stack.start_worker(name)
        stack.start("publisher")
        await stack.serving("one", "two")
        load = MortalLoad(
            kafka.bootstrap,
            stack.names.notifications,
            PARTITIONS,
            instances=INSTANCES,
            rate=150,
            lifetime=5,
        )
        await asyncio.to_thread(load.start)

        async def all_published() -> bool:
            found = await asyncio.to_thread(count_records, kafka.bootstrap, stack.dmaap_topic)
            return found >= INSTANCES

        async def is_being_written() -> bool:
            state = (await stack.get(PATH, "one"))[1]["state"]
            return state not in ("requested", "begun")

        async def has_ended() -> bool:
            status, answer = await stack.get(PATH, "one")
            return status == 200 and answer["state"] == "ended"

        consumer = NewConsumer()
        try:
            await eventually(all_published, within=60)
            async with consumer.consuming(kafka.bootstrap, stack.dmaap_topic):
                asked = {"output": "dmaap", "clouds": [VIM_ID]}
                status, made = await stack.put(PATH, asked, "one")
                assert (status, made["state"]) == (201, "requested")
                await eventually(is_being_written, within=30, every=0.02)
                stack.children["two"].kill()
                stack.children["publisher"].kill()
                stack.start("publisher")
                await eventually(has_ended, within=90)
                load.stop()
                right = truth(load)

                async def knows_the_truth() -> bool:
                    return consumer.states == right and "end" in consumer.boundaries

                await eventually(knows_the_truth, within=60)
        finally:
            load.end()
    assert consumer.disorder == []
    assert consumer.boundaries == ["start", "end"]
    # Most were told of by the snapshot alone: of the others there were events.
    assert len(consumer.told) > INSTANCES / 2
