"""The ring of recent events: what is held, and where a reader goes on."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vm_events import heartbeat_event, host_event, vm_event
from web.live.event_ring import EventRing, RingEntry
from web.live.event_tail import entry_of

PARTITIONS = 3


def record(value: bytes, partition: int = 0, offset: int = 0, timestamp: int = 0) -> ConsumerRecord:
    return ConsumerRecord(
        "events", partition, offset, timestamp, 1, b"", value, None, 0, len(value), ()
    )


def entry(partition: int, offset: int, instance_id: str = "vm-1", **fields: Any) -> RingEntry:
    value = msgspec.json.encode(vm_event(instance_id, id=f"{partition}-{offset}", **fields))
    made = entry_of(record(value, partition, offset, 1000 + offset))
    assert made is not None
    return made


def ring(most: int = 100, most_bytes: int = 10**6, **options: Any) -> EventRing:
    return EventRing([0] * PARTITIONS, now=5000, most=most, most_bytes=most_bytes, **options)


def told(ring: EventRing, number: int) -> Iterator[str]:
    return (ring[each].event.id for each in range(number, ring.next))


def test_an_event_is_told_without_its_payload_but_with_its_name() -> None:
    made = entry(2, 7, payload={"display_name": "shown", "tenant_id": "t-1"})
    assert (made.partition, made.offset, made.taken_at, made.tenant_id) == (2, 7, 1007, "t-1")
    assert made.event.display_name == "shown"
    text = made.frame.decode()
    assert text.startswith('event: vm_event\ndata: {"id":"2-7"')
    assert text.count("\n") == 2
    assert "image_ref_url" not in text


def test_what_is_told_of_a_host_or_a_cloud_names_it_and_the_alarm() -> None:
    values = [msgspec.json.encode(event) for event in (host_event("c-1"), heartbeat_event())]
    of_host, of_cloud = (entry_of(record(value)) for value in values)
    assert of_host is not None
    told = msgspec.json.decode(of_host.frame.split(b"data: ", 1)[1])
    assert (told["instance_id"], told["host"], told["reason"]) == ("", "c-1", "host_down")
    assert (told["alarm"]["condition"], told["alarm"]["step"]) == ("host_down", "raised")
    assert of_cloud is not None
    told = msgspec.json.decode(of_cloud.frame.split(b"data: ", 1)[1])
    assert told["kind"] == "HEARTBEAT"
    assert not {"host", "reason", "alarm"} & told.keys()


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"id": 5}'])
def test_what_is_no_event_is_passed_over(value: bytes) -> None:
    assert entry_of(record(value)) is None


def test_what_is_for_one_output_alone_is_not_told() -> None:
    value = msgspec.json.encode(vm_event())
    only = ConsumerRecord(
        "events", 0, 0, 0, 1, b"", value, None, 0, len(value), (("output", b"onap"),)
    )
    assert entry_of(only) is None
    assert entry_of(record(value)) is not None


def test_a_reader_goes_on_behind_what_it_has_read() -> None:
    held = ring()
    assert held.place(held.next) == "0.0.0"
    for offset in range(3):
        held.add(entry(0, offset))
        held.add(entry(2, offset))
    assert held.place(held.next) == "3.0.3"
    assert held.place(3) == "2.0.1"
    assert list(told(held, held.resume("2.0.1") or 0)) == ["2-1", "0-2", "2-2"]
    assert held.resume("3.0.3") == held.next
    # Read in another order by another worker: some are told again, none is left out.
    assert list(told(held, held.resume("1.0.3") or 0)) == ["0-1", "2-1", "0-2", "2-2"]


@pytest.mark.parametrize("place", ["", "x", "1.0", "1.0.0.0", "4.0.0", "-1.0.0", "1.0.²", "1" * 30])
def test_a_place_of_something_else_is_none(place: str) -> None:
    held = ring()
    held.add(entry(0, 0))
    assert held.resume(place) is None


def test_a_place_may_be_ahead_of_what_has_been_read() -> None:
    held = ring(most=2)
    for offset in range(4):
        held.add(entry(1, offset))
    assert held.is_ahead("0.5.0")
    assert held.is_ahead("1.2.0")
    assert held.resume("0.5.0") is None
    for place in ("0.4.0", "0.2.0", "1.1.0", "9.9", "x"):
        assert not held.is_ahead(place)


def test_what_was_let_go_cannot_be_resumed_from() -> None:
    held = ring(most=2)
    for offset in range(4):
        held.add(entry(1, offset))
    assert (held.first, held.next) == (2, 4)
    assert held.resume("0.1.0") is None
    assert held.resume("0.2.0") == 2
    assert held.since(1) == 1001 + 1
    assert held.since(0) == 5000


def test_memory_is_bounded_in_bytes_too() -> None:
    size = len(entry(0, 0).frame)
    held = ring(most_bytes=3 * size)
    for offset in range(9):
        held.add(entry(0, offset))
    assert held.next - held.first == 3
    assert [event.id for event in held.recent("CloudOwner_RegionOne", "vm-1", 10)] == [
        "0-8",
        "0-7",
        "0-6",
    ]


def test_a_foreign_record_is_behind_a_reader_as_well() -> None:
    held = ring()
    held.add(entry(0, 0))
    held.skip(0, 1)
    assert held.place(held.next) == "2.0.0"
    assert held.resume("2.0.0") == held.next


def test_recent_events_come_newest_first_and_each_once() -> None:
    held = ring()
    for offset, event_id in enumerate(("a", "b", "a", "c")):
        made = entry(0, offset)
        held.add(
            msgspec.structs.replace(made, event=msgspec.structs.replace(made.event, id=event_id))
        )
    held.add(entry(0, 9, "vm-2"))
    recent = held.recent("CloudOwner_RegionOne", "vm-1", 10)
    assert [event.id for event in recent] == ["c", "a", "b"]
    assert [event.id for event in held.recent("CloudOwner_RegionOne", "vm-1", 2)] == ["c", "a"]
    assert held.recent("CloudOwner_RegionOne", "vm-3", 10) == []


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, PARTITIONS - 1), max_size=40),
    st.lists(st.integers(0, PARTITIONS - 1), max_size=40),
    st.integers(0, 40),
)
def test_whoever_resumes_at_a_worker_that_read_in_another_order_misses_nothing(
    one: list[int], other: list[int], read: int
) -> None:
    counts = [one.count(partition) for partition in range(PARTITIONS)]
    here, there = ring(), ring()
    ends = [0] * PARTITIONS
    for partition in one:
        here.add(entry(partition, ends[partition]))
        ends[partition] += 1
    ends = [0] * PARTITIONS
    rest = [each for each in range(PARTITIONS) for _ in range(counts[each])]
    for partition in [*other, *rest]:
        if ends[partition] < counts[partition]:
            there.add(entry(partition, ends[partition]))
            ends[partition] += 1
    number = min(read, here.next)
    known = {here[each].event.id for each in range(number)}
    found = there.resume(here.place(number))
    assert found is not None
    assert known | set(told(there, found)) == {here[each].event.id for each in range(here.next)}
