"""Hosts that die under a worker: who is unavailable, also after a restart."""

from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.alarm_life import assert_alarms_live, assert_episodes_alternate
from tests.support.core_truth import core_truth, newest_values, records_on
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import heartbeat_record, report_records
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import cloud_key, home_key, host_key, instance_key
from vimfed.model.records import VmEvent, decode_event, decode_row
from vimfed.nova.host_report import CloudReport, Heartbeat, HostReport
from vimfed.settings import KafkaSettings

VIM_ID = "CloudOwner_RegionOne"
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
VMS = 60
"""A third of them on each host: some in each partition."""
INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
HOSTS = ("h0", "h1", "h2")


@pytest.fixture
async def stack(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Stack]:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        yield stack


class Reports:
    """Writes reports of hosts to the notifications topic as the bridge does."""

    def __init__(self, stack: Stack) -> None:
        self._kafka = KafkaSettings(
            bootstrap=stack.bootstrap, topic_prefix=stack.prefix, partitions=PARTITIONS
        )
        self._producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})

    def tell(self, second: int, *reports: HostReport | CloudReport) -> None:
        """Write reports that are true at a second of a minute."""
        at = f"2026-01-01T12:01:{second:02}.000000Z"
        for report in reports:
            self._write(
                report_records(
                    self._kafka, VIM_ID, report, source="poller", timestamp=at, received_at=at
                )
            )

    def beat(self, second: int) -> None:
        """Write a heartbeat."""
        beat = Heartbeat(interval=30.0, lag=0.0)
        at = f"2026-01-01T12:01:{second:02}.000000Z"
        self._write([heartbeat_record(self._kafka, VIM_ID, beat, received_at=at)])

    def _write(self, records: Iterable[OutgoingRecord]) -> None:
        for record in records:
            self._producer.produce(record.topic, record.value, record.key, record.partition)
        assert self._producer.flush(30) == 0


def told(stack: Stack) -> list[VmEvent]:
    return [
        decode_event(record.value) for record in records_on(stack.bootstrap, stack.names.events)
    ]


async def unavailable(stack: Stack) -> set[str] | None:
    """Return the instances that the API says are unavailable; None where it does not answer."""
    status, answer = await stack.get(f"{INSTANCES}?limit=1000")
    if status != 200 or answer["count"] != VMS:
        return None
    return {each["instance_id"] for each in answer["instances"] if each["available"] is False}


async def are_unavailable(stack: Stack, expected: set[str]) -> bool:
    return await unavailable(stack) == expected


async def knows_the_cloud(stack: Stack) -> bool:
    """Return whether all that was told of the cloud before is known."""
    rows = newest_values(stack.bootstrap, stack.names.changelog)
    return host_key(VIM_ID, "h2") in rows and not rows[host_key(VIM_ID, "h2")]


async def test_the_vms_of_a_host_that_dies_are_unavailable_until_it_is_back(stack: Stack) -> None:
    stack.start_worker()
    await stack.ready()
    topic, reports = NotificationsTopic(stack, VIM_ID), Reports(stack)
    for number in range(VMS):
        topic.tell(f"vm-{number:03}", state="active", host=HOSTS[number % 3])
    everywhere = [HostReport(host=host, is_up=True) for host in HOSTS]
    dead = HostReport(host="h0", is_up=False)
    reports.tell(1, *everywhere, CloudReport(is_known=True))
    reports.tell(2, dead)
    reports.beat(3)
    dead_vms = {f"vm-{number:03}" for number in range(0, VMS, 3)}
    await eventually(partial(are_unavailable, stack, dead_vms), within=30)

    # A host's row is no instance's, however the path spells it.
    assert (await stack.get(f"{INSTANCES}/host%2Fh0"))[0] == 404

    # Whoever begins anew with the rows knows who is where, and what was told.
    stack.children["worker"].stop()
    stack.start_worker()
    await stack.ready()
    reports.tell(4, dead, *everywhere[1:], CloudReport(is_known=True))
    topic.tell(
        "vm-000", "compute.instance.update", 10, state="active", old_state="active", host="h1"
    )
    await eventually(partial(are_unavailable, stack, dead_vms - {"vm-000"}), within=30)
    reports.tell(20, everywhere[0], HostReport(host="h2", is_gone=True))
    await eventually(partial(are_unavailable, stack, set()), within=30)
    await eventually(partial(knows_the_cloud, stack), within=30)

    events = told(stack)
    assert_episodes_alternate(events)
    assert assert_alarms_live(events) == {}
    truth = core_truth(stack.bootstrap, stack.names)
    assert {event.id for event in events} == truth.events.keys()
    assert sorted(event.kind for event in events if not event.instance_id) == [
        "HEARTBEAT",
        "HOST_DOWN",
        "HOST_DOWN",
    ]
    for record in records_on(stack.bootstrap, stack.names.events):
        event = decode_event(record.value)
        host = event.host if isinstance(event.host, str) else ""
        assert record.key == home_key(event.vim_id, event.instance_id, host)
    rows = records_on(stack.bootstrap, stack.names.changelog)
    places = {record.partition for record in rows if record.key == host_key(VIM_ID, "h0")}
    assert places == set(range(PARTITIONS))
    last = newest_values(stack.bootstrap, stack.names.changelog)
    assert last[host_key(VIM_ID, "h2")] == b""  # a tombstone
    assert last[cloud_key(VIM_ID)]
    assert decode_row(last[instance_key(VIM_ID, "vm-000")]).outage is None
