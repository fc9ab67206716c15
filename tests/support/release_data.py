"""What a release leaves on its topics: made by running it, and kept to start later versions on.

    python -m tests.support.release_data 0.1.0

writes tests/data/release-0.1.0/*.jsonl, a line for each record: partition, key and value as text.
To be run once, with the release that the name says.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from confluent_kafka import Producer

from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.core_truth import records_on
from tests.support.nova_messages import INSTANCE, VIM, legacy, versioned
from tests.support.paths import DATA
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key
from vimfed.model.records import Notification

CLOUD = {"cloud_owner": "openstack", "cloud_region_id": "region"}
PARTITIONS = 8


class Kept(NamedTuple):
    """A record that was kept."""

    partition: int
    key: str
    value: str


def life(number: int, *told: Notification) -> list[Notification]:
    """Return notifications as those of one server; each of its actions is a request of its own."""
    instance_id = f"{number:08}{INSTANCE[8:]}"
    return [
        msgspec.structs.replace(
            one,
            message_id=f"{one.message_id} {number}",
            request_id=f"{one.request_id}-{number}",
            payload=msgspec.Raw(
                bytes(one.payload).replace(INSTANCE.encode(), instance_id.encode())
            ),
            sequence=1000 * number + sequence,
        )
        for sequence, one in enumerate(told)
    ]


def built() -> list[Notification]:
    """Return what is told of a server that is built."""
    return [
        legacy("create.start", "building", "spawning", at=0.0, request="req-0"),
        legacy("create.end", "active", at=1.0, request="req-0"),
        versioned("create.end", "active", at=1.1, request="req-0"),
    ]


def both(action: str, state: str, task: str | None, at: float, request: str) -> list[Notification]:
    """Return one thing told in both formats."""
    return [
        legacy(action, state, task or "", at=at, request=request),
        versioned(action, state, task, at=at + 0.1, request=request),
    ]


LIVES = (
    [*built()],
    [
        *built(),
        *both("pause.start", "active", "pausing", 2.0, "req-1"),
        *both("pause.end", "paused", None, 3.0, "req-1"),
    ],
    [*built(), *both("power_off.start", "active", "powering-off", 2.0, "req-1")],
    [
        *built(),
        legacy("update", "active", "image_snapshot", old=("active", None), at=2.0, request="req-1"),
        legacy("update", "error", "", old=("active", None), at=3.0, request="req-2"),
    ],
    [
        *built(),
        *both("soft_delete.start", "active", "soft-deleting", 2.0, "req-1"),
        *both("soft_delete.end", "soft-delete", None, 3.0, "req-1"),
    ],
)


def write(bootstrap: str, topic: str, records: Sequence[Kept]) -> None:
    """Write records where they lay."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for record in records:
        producer.produce(topic, record.value, record.key, partition=record.partition)
    if producer.flush(30):
        raise RuntimeError(f"{topic}: not all records were taken")


def records_of(notifications: Sequence[Notification], instance_id: str) -> list[Kept]:
    """Return notifications of one instance as they lie on the notifications topic."""
    key = instance_key(VIM, instance_id)
    partition = partition_of(key, PARTITIONS)
    return [
        Kept(partition, key.decode(), msgspec.json.encode(one).decode()) for one in notifications
    ]


async def make(folder: Path, into: Path) -> None:
    """Run the job on the lives, and keep what lies on its topics then."""
    with new_kafka(folder / "kafka") as kafka:
        async with Stack(folder, kafka.bootstrap, [CLOUD]) as stack:
            stack.start_worker()
            await stack.ready()
            for number, told in enumerate(LIVES):
                instance_id = f"{number:08}{INSTANCE[8:]}"
                write(
                    kafka.bootstrap,
                    stack.names.notifications,
                    records_of(life(number, *told), instance_id),
                )
            subscription = {"kinds": ["PAUSE", "UNPAUSE"], "phases": ["end"]}
            status, _ = await stack.put("/api/multicloud/v1/subscriptions/kept", subscription)
            assert status == 201

            async def all_told() -> bool:
                body = {"states": ["paused", "powering-off", "error", "soft-delete"]}
                _, answer = await stack.post(f"/{VIM}/check_vim_status", body)
                return bool(answer["count"] == len(LIVES) - 1)

            await eventually(all_told, within=30)
            stack.children["worker"].stop()
            for topic in ("notifications", "changelog", "events", "subscriptions"):
                records = records_on(kafka.bootstrap, getattr(stack.names, topic))
                lines = (
                    json.dumps(Kept(r.partition, r.key.decode(), r.value.decode())._asdict())
                    for r in records
                )
                (into / f"{topic}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def kept(release: str, topic: str) -> list[Kept]:
    """Return what a release left on one of its topics."""
    lines = (DATA / f"release-{release}" / f"{topic}.jsonl").read_text().splitlines()
    return [Kept(**json.loads(line)) for line in lines]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        kept_in = DATA / f"release-{sys.argv[1]}"
        kept_in.mkdir(parents=True, exist_ok=True)
        asyncio.run(make(Path(name), kept_in))
