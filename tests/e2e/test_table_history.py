"""A table whose changelog is compacted, whose input begins anew, and over which others write."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.core_truth import newest_values, records_on
from tests.support.topic_changes import BUSY_CLEANER, QUICK_COMPACTION, change_topic, make_anew
from tests.support.vm_events import VIM_ID, create_topics
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key

INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
GONE = {"state": "deleted", "deleted_at": "2026-01-01T12:00:01.000000"}


@pytest.fixture(scope="module")
def busy_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A Kafka that compacts all the time, and that may be frozen."""
    with new_kafka(tmp_path_factory.mktemp("kafka"), properties=BUSY_CLEANER) as broker:
        yield broker


@pytest.fixture
def sections() -> str:
    """More lines of the settings file."""
    return ""


@pytest.fixture
async def stack(tmp_path: Path, busy_kafka: LocalKafka, sections: str) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, busy_kafka.bootstrap, [CLOUD], sections) as stack:
        await create_topics(busy_kafka.bootstrap, stack.prefix)
        yield stack


def key_of(instance_id: str) -> bytes:
    return instance_key(VIM_ID, instance_id)


def place_of(instance_id: str) -> int:
    return partition_of(key_of(instance_id), PARTITIONS)


def in_partition(*partitions: int, but: str = "") -> str:
    """Return the name of an instance whose row lies in one of these partitions."""
    return next(
        name for name in map(str, range(1000)) if place_of(name) in partitions and name != but
    )


async def state_of(stack: Stack, instance_id: str, worker: str = "worker") -> Any:
    """Return an instance's vm_state, or the status of the answer."""
    status, answer = await stack.get(f"{INSTANCES}/{instance_id}", worker)
    return answer["vm_state"] if status == 200 else status


async def is_in(stack: Stack, instance_id: str, state: Any, worker: str = "worker") -> bool:
    return bool(await state_of(stack, instance_id, worker) == state)


async def owned_by(stack: Stack, worker: str) -> set[int]:
    _, answer = await stack.get("/readyz", worker)
    return set(answer["owners"][f"http://127.0.0.1:{stack.ports[worker]}"])


@pytest.mark.parametrize("sections", ["standby_replicas = 0\ndeleted_retention = 1"])
async def test_a_deleted_server_does_not_come_back_with_the_database_of_a_former_owner(
    stack: Stack,
) -> None:
    change_topic(stack.bootstrap, stack.names.changelog, QUICK_COMPACTION)
    topic = NotificationsTopic(stack, VIM_ID)
    stack.start_worker("one")
    await stack.ready("one")
    for name in map(str, range(40)):
        topic.tell(name, state="active")
    for name in map(str, range(40)):
        await eventually(partial(is_in, stack, name, "active", "one"), within=30)
    stack.start_worker("two")
    await stack.serving("one", "two")
    gone = in_partition(*await owned_by(stack, "two"))
    other = in_partition(place_of(gone), but=gone)
    topic.tell(gone, "compute.instance.delete.end", second=1, **GONE)
    await eventually(partial(is_in, stack, gone, "deleted", "two"), within=30)
    topic.tell(other, second=10)  # in a batch of its own, which sweeps what is outlived

    async def tombstone_is_gone() -> bool:
        await asyncio.sleep(0.3)  # what is told meanwhile rolls the changelog's segments
        topic.tell(other, second=11, state="active")
        return not any(
            record.key == key_of(gone)
            for record in records_on(stack.bootstrap, stack.names.changelog)
        )

    await eventually(partial(is_in, stack, gone, 404, "two"), within=30)
    await eventually(tombstone_is_gone, within=60)
    stack.children["two"].kill()
    await stack.serving("one")
    await eventually(partial(is_in, stack, gone, 404, "one"), within=30)
    # Nor with that of the other, who was away.
    stack.children["one"].stop()
    stack.start_worker("one")
    await stack.serving("one")
    await eventually(partial(is_in, stack, other, "active", "one"), within=30)
    assert await state_of(stack, gone, "one") == 404


async def test_the_newest_row_counts_where_the_offsets_of_the_input_begin_anew(
    stack: Stack,
) -> None:
    stack.start_worker()
    await stack.ready()
    topic = NotificationsTopic(stack, VIM_ID)
    for second in range(6):
        topic.tell("vm", second=second, state="paused")
    await eventually(partial(is_in, stack, "vm", "paused"), within=30)
    stack.children["worker"].stop()
    make_anew(stack.bootstrap, stack.names.notifications, PARTITIONS)
    stack.start_worker()
    await stack.ready()
    topic.tell("vm", "compute.instance.unpause.end", second=10, state="active")
    await eventually(partial(is_in, stack, "vm", "active"), within=30)
    # Its disk is lost: the changelog alone tells.
    stack.children["worker"].kill()
    shutil.rmtree(stack.folder / "state")
    stack.start_worker()
    await stack.ready()
    assert await state_of(stack, "vm") == "active"


def append(stack: Stack, key: bytes, row: bytes, partition: int) -> None:
    """Write a row to the changelog, as a worker does that has lost the partition."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    producer.produce(stack.names.changelog, row, key, partition)
    assert producer.flush(30) == 0


async def two_rows(stack: Stack, instance_id: str) -> tuple[bytes, bytes]:
    """Tell an instance's two states; return the row of each."""
    topic = NotificationsTopic(stack, VIM_ID)
    topic.tell(instance_id, second=1, state="paused")
    await eventually(partial(is_in, stack, instance_id, "paused"), within=30)
    topic.tell(instance_id, "compute.instance.unpause.end", second=2, state="active")
    await eventually(partial(is_in, stack, instance_id, "active"), within=30)
    old, new = (
        record.value
        for record in records_on(stack.bootstrap, stack.names.changelog)
        if record.key == key_of(instance_id)
    )
    return old, new


async def newest_is(stack: Stack, instance_id: str, row: bytes) -> bool:
    table = await asyncio.to_thread(newest_values, stack.bootstrap, stack.names.changelog)
    return table.get(key_of(instance_id)) == row


async def test_a_row_that_was_written_over_is_mended_without_further_news(stack: Stack) -> None:
    stack.start_worker()
    await stack.ready()
    old, new = await two_rows(stack, "vm")
    stack.children["worker"].stop()
    append(stack, key_of("vm"), old, place_of("vm"))
    stack.start_worker()
    await stack.ready()
    assert await state_of(stack, "vm") == "active"
    await eventually(partial(newest_is, stack, "vm", new), within=15)


async def test_an_owner_mends_what_another_wrote_and_goes_on(stack: Stack) -> None:
    worker = stack.start_worker()
    await stack.ready()
    old, new = await two_rows(stack, "vm")
    other = in_partition(place_of("vm"), but="vm")
    append(stack, key_of("vm"), old, place_of("vm"))
    ghost = instance_key(VIM_ID, "ghost")  # which is no row of the owner's
    append(stack, ghost, old, place_of("vm"))
    started = worker.pid
    NotificationsTopic(stack, VIM_ID).tell(other, second=3)
    await eventually(partial(is_in, stack, other, "paused"), within=30)
    await eventually(partial(newest_is, stack, "vm", new), within=15)
    await eventually(partial(newest_is, stack, "ghost", b""), within=15)
    assert worker.running
    assert worker.pid == started
    assert await state_of(stack, "vm") == "active"


async def test_a_recovery_ends_where_the_changelog_ends_in_a_transactions_marker(
    stack: Stack,
) -> None:
    stack.start_worker()
    await stack.ready()
    _old, new = await two_rows(stack, "vm")
    for lose_disk in (False, True):
        stack.children["worker"].stop()
        write_transaction(stack, key_of("vm"), new)
        if lose_disk:
            shutil.rmtree(stack.folder / "state")
        stack.start_worker()
        await stack.ready(within=30)
        assert await state_of(stack, "vm") == "active"
        # What is written behind the marker continues what the worker knows.
        other = in_partition(place_of("vm"), but="vm")
        NotificationsTopic(stack, VIM_ID).tell(other, second=3)
        await eventually(partial(is_in, stack, other, "paused"), within=30)
    log = stack.children["worker"].log
    assert log is not None
    assert "has written" not in log.read_text()


def write_transaction(stack: Stack, key: bytes, row: bytes) -> None:
    """Write a row in a transaction; a marker, which is no record, follows it."""
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap, "transactional.id": stack.prefix, "log_level": 0}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(stack.names.changelog, row, key, partition_of(key, PARTITIONS))
    producer.commit_transaction(30)


async def test_a_standby_that_is_cut_off_says_how_old_its_knowledge_is(
    stack: Stack, busy_kafka: LocalKafka
) -> None:
    for name in ("one", "two"):
        stack.start_worker(name)
    await stack.serving("one", "two")
    name = in_partition(*await owned_by(stack, "two"))
    NotificationsTopic(stack, VIM_ID).tell(name)
    await eventually(partial(is_in, stack, name, "paused", "one"), within=30)

    async def stale_age() -> float:
        status, answer = await stack.get(f"{INSTANCES}/{name}?stale=ok", "one")
        return float(answer["age"]) if status == 200 and answer.get("stale") else 0.0

    busy_kafka.freeze()
    try:
        first = await eventually(stale_age, within=30)
        await asyncio.sleep(2.0)
        assert 2.0 <= await stale_age() - first < 10.0
    finally:
        busy_kafka.thaw()
