"""A worker whose disk, or whose topics, take nothing more: it ends with one line that says why."""

import random
import re
import resource
from collections.abc import AsyncIterator
from itertools import count, islice
from pathlib import Path

import pytest

from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.topic_changes import change_topic
from tests.support.vm_events import VIM_ID
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
MAX_FILE_BYTES = 300_000
ROWS = 8
ROW_BYTES = 100_000


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        stack.start_worker()
        await stack.ready()
        yield stack


def log_of(stack: Stack) -> str:
    log = stack.children["worker"].log
    assert log is not None
    return log.read_text()


async def last_line_of_ended_worker(stack: Stack) -> str:
    async def has_ended() -> bool:
        return not stack.children["worker"].running

    await eventually(has_ended, within=30)
    assert stack.children["worker"].returncode == 1
    assert "Traceback" not in log_of(stack)
    return stack.children["worker"].last_log_line()


def tell_large(stack: Stack) -> None:
    """Tell of several instances of one partition, which makes as many large rows."""
    topic = NotificationsTopic(stack, VIM_ID)
    names = (name for name in map("vm-{}".format, count()) if partition_of_instance(name) == 0)
    for name in islice(names, ROWS):
        topic.tell(name, metadata=full(128), image_meta=full(256))


def full(entries: int) -> dict[str, str]:
    """Return a map with as many entries as nova can have, and the longest values."""
    return {f"key-{number}": incompressible(255) for number in range(entries)}


def partition_of_instance(name: str) -> int:
    return partition_of(instance_key(VIM_ID, name), PARTITIONS)


def incompressible(size: int) -> str:
    return random.randbytes(size // 2 + 1).hex()[:size]


async def test_a_disk_that_takes_no_more_ends_a_worker_with_one_line(stack: Stack) -> None:
    pid = stack.children["worker"].pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    tell_large(stack)
    line = await last_line_of_ended_worker(stack)
    folder = re.escape(str(stack.folder / "state"))
    assert re.match(
        rf"vimfed: cannot write {folder}/worker-\d+/instances-\d\.rocksdb: IO error: .*: "
        "is the disk under state_dir full or away\\?$",
        line,
    ), line
    # With room again it goes on where it was.
    stack.start_worker()
    await stack.ready()


@pytest.mark.parametrize("topic", ["changelog", "dead_letter"])
async def test_a_topic_that_takes_no_large_record_ends_a_worker_with_one_line(
    stack: Stack, topic: str
) -> None:
    name = getattr(stack.names, topic)
    change_topic(stack.bootstrap, name, {"max.message.bytes": "20000"})
    if topic == "dead_letter":
        NotificationsTopic(stack, VIM_ID).write(b"key", incompressible(ROW_BYTES).encode())
    else:
        tell_large(stack)
    line = await last_line_of_ended_worker(stack)
    assert line.startswith(
        f"vimfed: topic {name} has max.message.bytes = 20000 instead of 1048588: Kafka takes no "
        f"larger record; kafka-configs.sh --bootstrap-server {stack.bootstrap} --alter"
    ), line
    stack.start_worker()
    assert (await last_line_of_ended_worker(stack)) == line  # it is said before anything is read
    change_topic(stack.bootstrap, name, {"max.message.bytes": "1048588"})
    stack.start_worker()
    await stack.ready()
