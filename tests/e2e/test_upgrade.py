"""The present version on what a release left behind, and on what a newer version wrote."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.e2e.stack import Stack, eventually
from tests.support.release_data import (
    CLOUD,
    LIVES,
    PARTITIONS,
    Kept,
    both,
    kept,
    life,
    records_of,
    write,
)
from tests.support.topics import read_topic, values
from tests.support.vm_events import create_topics
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import (
    SCHEMA_VERSION,
    InstanceState,
    NewerSchemaError,
    Notification,
    VmEvent,
    decode_event,
    decode_row,
)

TOPICS = ("notifications", "changelog", "events", "subscriptions")
PAUSED = 1
"""The number of the life that ends paused."""


def mark_published(stack: Stack) -> None:
    """Commit, as the release's publisher did, that every event of its has been published."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.bootstrap,
            "group.id": f"{stack.prefix}-publisher-dmaap",
            "log_level": 0,
        }
    )
    ends = [TopicPartition(stack.names.events, partition) for partition in range(PARTITIONS)]
    for end in ends:
        _, end.offset = consumer.get_watermark_offsets(end, timeout=10)
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


@pytest.mark.parametrize("release", ["0.1.0"])
async def test_the_present_version_goes_on_with_what_a_release_left(
    tmp_path: Path, kafka: LocalKafka, release: str
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        await create_topics(kafka.bootstrap, stack.prefix)
        for topic in TOPICS:
            write(kafka.bootstrap, getattr(stack.names, topic), kept(release, topic))
        mark_published(stack)
        rows = [decode_row(record.value) for record in kept(release, "changelog")]
        told = [decode_event(record.value).id for record in kept(release, "events")]
        # The worker has committed nothing: it reads every notification once more.
        stack.start_worker()
        stack.start("publisher")
        await stack.ready()
        for row in {row.instance_id: row for row in rows}.values():
            path = f"/api/multicloud/v1/openstack/region/instances/{row.instance_id}"
            status, answer = await stack.get(path)
            assert status == 200
            for name in ("vm_state", "task_state", "kind", "phase", "changed_at"):
                assert (answer[name] or "") == getattr(row, name)
        _, subscription = await stack.get("/api/multicloud/v1/subscriptions/kept")
        assert (subscription["kinds"], subscription["phases"]) == (["PAUSE", "UNPAUSE"], ["end"])

        unpaused = [
            *LIVES[PAUSED],
            *both("unpause.start", "paused", "unpausing", 10.0, "req-2"),
            *both("unpause.end", "active", None, 11.0, "req-2"),
        ]
        told_now = life(PAUSED, *unpaused)
        (instance_id,) = {row.instance_id for row in rows if row.vm_state == "paused"}
        write(kafka.bootstrap, stack.names.notifications, records_of(told_now, instance_id))

        async def published() -> list[tuple[str, str]]:
            records = await asyncio.to_thread(values, kafka.bootstrap, stack.dmaap_topic)
            return [(each["vim_event"]["kind"], each["vim_event"]["phase"]) for each in records]

        async def both_there() -> bool:
            return len(await published()) >= 2

        await eventually(both_there, within=30)
        assert await published() == [("UNPAUSE", "start"), ("UNPAUSE", "end")]
        events = [
            decode_event(r.value() or b"") for r in read_topic(kafka.bootstrap, stack.names.events)
        ]
        assert sorted(told) == sorted(event.id for event in events if event.kind != "UNPAUSE")
        (end,) = [event for event in events if (event.kind, event.phase) == ("UNPAUSE", "end")]
        assert (end.old_state, end.new_state) == ("paused", "active")

        stack.children["worker"].stop()
        first = kept(release, "changelog")[0]
        value = {**json.loads(first.value), "schema_version": SCHEMA_VERSION + 1}
        write(kafka.bootstrap, stack.names.changelog, [first._replace(value=json.dumps(value))])
        worker = stack.start_worker()

        async def has_ended() -> bool:
            return not worker.running

        await eventually(has_ended, within=60)
        assert worker.returncode == 1
        log = (stack.folder / "worker.log").read_text()
        assert f"\nvimfed: a record has schema version {SCHEMA_VERSION + 1}, and" in log


@pytest.mark.parametrize(
    ("kind", "topic"),
    [(Notification, "notifications"), (InstanceState, "changelog"), (VmEvent, "events")],
)
def test_records_carry_their_schema_version_and_newer_ones_are_refused(
    kind: type[Notification] | type[InstanceState] | type[VmEvent], topic: str
) -> None:
    records: list[Kept] = kept("0.1.0", topic)
    assert {json.loads(record.value)["schema_version"] for record in records} == {1}
    newer = {**json.loads(records[0].value), "schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(NewerSchemaError, match="newer version"):
        msgspec.json.decode(json.dumps(newer), type=kind)
