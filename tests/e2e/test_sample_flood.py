"""A cloud that floods samples delays no cloud's events."""

import asyncio
import uuid
from pathlib import Path

from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.sample_load import let_records_have_times
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.model.samples import Sample, SampleRecord, encode_samples
from vimfed.model.times import milliseconds

FLOODING = {
    "cloud_owner": "Owner",
    "cloud_region_id": "flooding",
    "samples": {"pushed": True},
}
QUIET = {"cloud_owner": "Owner", "cloud_region_id": "quiet"}
INSTANCES, ROUNDS, METERS = 2000, 30, 20
AHEAD = "2126-01-01T00:00:0{}.000000Z"
"""Nothing is due by then."""


def flood(stack: Stack) -> None:
    """Write many records of samples of many instances, all of one interval."""
    let_records_have_times(stack.bootstrap, stack.names)
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap,
            "log_level": 0,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": INSTANCES * ROUNDS,
        }
    )
    for turn in range(ROUNDS):
        at = AHEAD.format(turn % 10)
        samples = tuple(
            Sample(meter=f"meter.{number}", volume=float(turn), at=at) for number in range(METERS)
        )
        for number in range(INSTANCES):
            key = instance_key("Owner_flooding", f"vm-{number}")
            record = SampleRecord(
                vim_id="Owner_flooding",
                instance_id=f"vm-{number}",
                samples=samples,
                received_at=at,
            )
            place = partition_of(key, PARTITIONS)
            producer.produce(
                stack.names.samples,
                encode_samples(record),
                key,
                place,
                timestamp=milliseconds(at) or 0,
            )
            producer.poll(0)
    assert producer.flush(60) == 0


async def samples(stack: Stack) -> tuple[int, int]:
    """Return how many records of samples wait, and how many were taken."""
    waiting = taken = 0.0
    for family in text_string_to_metric_families(await stack.text("/metrics")):
        for sample in family.samples:
            if sample.name == "vimfed_samples_lag":
                waiting += sample.value
            elif sample.name == "vimfed_samples_total":
                taken += sample.value / METERS
    return int(waiting), int(taken)


async def test_events_overtake_the_samples_that_wait(tmp_path: Path, kafka: LocalKafka) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [FLOODING, QUIET]) as stack:
        stack.start_worker()
        await stack.ready()
        topic = NotificationsTopic(stack, "Owner_quiet")
        await asyncio.to_thread(flood, stack)

        async def knows(instance_id: str) -> bool:
            path = f"/api/multicloud/v1/Owner/quiet/instances/{instance_id}"
            return (await stack.get(path))[0] == 200

        async def many_wait() -> bool:
            return (await samples(stack))[0] > INSTANCES * ROUNDS // 2

        await eventually(many_wait, within=60)
        overtaken: list[tuple[int, int]] = []
        while True:
            waiting, before = await samples(stack)
            if waiting < INSTANCES * ROUNDS // 4:
                break
            instance_id = str(uuid.uuid4())
            await asyncio.to_thread(topic.tell, instance_id)
            await eventually(lambda: knows(instance_id), within=30, every=0.01)  # noqa: B023
            overtaken.append((waiting, (await samples(stack))[1] - before))
        # What is told now is known before most of the samples are done that waited then.
        assert overtaken
        assert [each for each in overtaken if each[1] > each[0] / 2] == []

        async def all_done() -> bool:
            waiting, taken = await samples(stack)
            return (waiting, taken) == (0, INSTANCES * ROUNDS)

        await eventually(all_done, within=120)
