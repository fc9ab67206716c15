"""Input that nobody can read: what retention has removed, and what is no record at all."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.topics import count_records
from tests.support.vm_events import VIM_ID, vm_event, write_events
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
PROCESSES = ("worker", "publisher")
KEY = instance_key(VIM_ID, "one")
OTHER = "two"
"""An instance of another partition."""


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    """A worker and a publisher that have read, and committed, one record of partition of KEY."""
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD], "stuck_after = 1") as stack:
        await start(stack)
        NotificationsTopic(stack, VIM_ID).tell("one")
        await delivered(stack, 1)
        yield stack


async def start(stack: Stack) -> None:
    stack.start_worker()
    stack.start("publisher")
    await stack.ready("worker")
    await stack.ready("publisher")


async def delivered(stack: Stack, count: int) -> None:
    async def all_there() -> bool:
        return count_records(stack.bootstrap, stack.dmaap_topic) >= count

    await eventually(all_there, within=30)


async def total(stack: Stack, process: str, metric: str) -> float:
    """Return the sum of one of the process's metrics over its labels."""
    text = await stack.text("/metrics", process)
    samples = re.findall(rf"^vimfed_{process}_{metric}{{.*}} (\S+)$", text, re.MULTILINE)
    return sum(map(float, samples))


async def nothing_waits(stack: Stack) -> None:
    for process in PROCESSES:

        async def is_idle(process: str = process) -> bool:
            assert stack.children[process].running, stack.children[process].last_log_line()
            return await total(stack, process, "lag") == 0

        await eventually(is_idle, within=15)
    await asyncio.sleep(1.5)  # longer than stuck_after
    for process in PROCESSES:
        assert (await stack.get("/healthz", process))[0] == 200


def write_transaction(stack: Stack, records: Sequence[tuple[str, bytes]]) -> None:
    """Write records of KEY by their topics; a marker, which is no record, follows them."""
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap, "transactional.id": stack.prefix, "log_level": 0}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for topic, value in records:
        producer.produce(topic, value, KEY, partition_of(KEY, PARTITIONS))
    producer.commit_transaction(30)


async def test_a_transaction_marker_at_the_end_is_no_lag(stack: Stack) -> None:
    event = msgspec.json.encode(vm_event("one"))
    write_transaction(stack, [(stack.names.notifications, b"none"), (stack.names.events, event)])
    await delivered(stack, 2)
    await nothing_waits(stack)


def expire(stack: Stack, topic: str) -> None:
    """Remove all records, as retention does."""
    ends = [TopicPartition(topic, partition, OFFSET_END) for partition in range(PARTITIONS)]
    admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for future in admin.delete_records(ends).values():
        future.result(30)


async def test_input_that_expired_unread_is_reported_once_and_is_no_lag(stack: Stack) -> None:
    for process in PROCESSES:
        stack.children[process].stop()
    topic = NotificationsTopic(stack, VIM_ID)
    for _ in range(40):
        topic.tell("one")
    for _ in range(10):
        topic.tell(OTHER)  # of its partition nothing was ever read
    write_events(stack.bootstrap, stack.prefix, [vm_event("one") for _ in range(40)])
    expire(stack, stack.names.notifications)
    expire(stack, stack.names.events)
    await start(stack)
    await nothing_waits(stack)
    for process, lost in (("worker", [10, 40]), ("publisher", [40])):
        await eventually(partial(has_lost, stack, process, sum(lost)), within=10)
        told = errors(stack, process)
        counts = [re.search(r" (\d+) records of \S+ .* before 20\d\d-\d\d", line) for line in told]
        assert sorted(int(found[1]) for found in counts if found) == lost
    # It is committed: no process reports it again, and what comes next is read.
    for process in PROCESSES:
        stack.children[process].stop()
    await start(stack)
    topic.tell("one", "compute.instance.unpause.end", state="active")
    await delivered(stack, 2)
    for process in PROCESSES:
        assert await total(stack, process, "expired_unread_total") == 0
        assert len(errors(stack, process)) == (2 if process == "worker" else 1)


async def has_lost(stack: Stack, process: str, count: int) -> bool:
    return await total(stack, process, "expired_unread_total") == count


def errors(stack: Stack, process: str) -> list[str]:
    lines = (stack.folder / f"{process}.log").read_text().splitlines()
    return [line for line in lines if "ERROR" in line and "before they were read" in line]
