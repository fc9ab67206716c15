"""Of which a meter shows most, out of the rows of the workers."""

import random
from typing import Any

import msgspec
import pytest

from streams.worker.instance_index import IndexEntry, StateGroup
from streams.worker.newest_values import newest_in
from vimfed.model.samples import (
    Measurement,
    MetersState,
    MeterValue,
    RecentPoint,
    decode_meters,
    encode_meters,
)
from web.queries.measurement_list import (
    FoundTop,
    TopEntry,
    TopParameters,
    TopQuery,
    TopSearch,
    combine,
    found_measurements,
    top_query,
)

VIM = "Owner_Region"
END = "2026-01-01T12:01:00.000000Z"
QUERY = TopQuery(vim_id=VIM, meter="cpu_util")


def value(meter: str, volume: float, device: str = "", **fields: Any) -> MeterValue:
    return MeterValue(meter=meter, volume=volume, device=device, at=END, **fields)


def row(instance_id: str, *values: MeterValue, end: str = END) -> bytes:
    measurement = Measurement(
        id=f"id of {instance_id}",
        vim_id=VIM,
        instance_id=instance_id,
        host="compute-1",
        begin="2026-01-01T12:00:00.000000Z",
        end=end,
        tenant_id="a",
        display_name=instance_id.upper(),
        vm_state="active",
        values=values,
    )
    return encode_meters(
        MetersState(
            vim_id=VIM,
            instance_id=instance_id,
            measured_until=end,
            measurements=(measurement,),
            recent=(RecentPoint(end, 12.5),),
        )
    )


def names(entries: list[TopEntry]) -> list[tuple[str | None, str | None, float]]:
    return [(each.instance_id, each.device, each.volume) for each in entries]


def search(query: TopQuery, *rows: bytes, entry: IndexEntry | None = None) -> TopSearch:
    made = TopSearch(query)
    for one in rows:
        for _meter, newest in newest_in(one, {query.meter}):
            made.add(newest, entry)
    return made


def test_the_largest_come_first_over_all_workers_and_equal_ones_by_name() -> None:
    query = msgspec.structs.replace(QUERY, limit=3)
    rows = [row(name, value("cpu_util", busy)) for name, busy in (("c", 5), ("b", 9), ("a", 5))]
    parts = [
        FoundTop(known=True, count=found.count, entries=found.first())
        for found in (
            search(query, *rows),
            search(query, row("d", value("cpu_util", 7)), row("e", value("memory", 99))),
        )
    ]
    found = combine(query, parts)
    assert found.count == 4
    assert names(found.entries) == [("b", None, 9), ("d", None, 7), ("a", None, 5)]
    smallest = combine(msgspec.structs.replace(query, order="asc", limit=2), parts)
    assert names(smallest.entries) == [("a", None, 5), ("c", None, 5)]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("distinct", [7, 100_000])
def test_the_first_of_very_many_are_those_of_all_in_order(order: Any, distinct: int) -> None:
    query = msgspec.structs.replace(QUERY, order=order, limit=20)
    chance = random.Random(distinct)
    busy = {f"{number:05}": float(chance.randrange(distinct)) for number in range(3000)}
    found = search(query, *(row(name, value("cpu_util", each)) for name, each in busy.items()))
    sign = 1 if order == "asc" else -1
    right = sorted(busy, key=lambda name: (sign * busy[name], name))[:20]
    assert found.count == 3000
    assert [each.instance_id for each in found.first()] == right


def test_each_device_counts_for_itself_and_what_has_no_rate_is_left_out() -> None:
    query = msgspec.structs.replace(QUERY, meter="disk.read", sort="rate")
    disks = row(
        "a",
        value("disk.read", 100, "vda", kind="cumulative", rate=2.0, delta=120.0),
        value("disk.read", 900, "vdb", kind="cumulative"),
        value("disk.read", 50, "vdc", kind="cumulative", rate=3.0, delta=180.0),
    )
    found = search(query, disks).first()
    assert names(found) == [("a", "vdc", 50), ("a", "vda", 100)]
    one = msgspec.structs.replace(query, device="vdb", sort="volume")
    assert names(search(one, disks).first()) == [("a", "vdb", 900)]


@pytest.mark.parametrize(
    ("parameters", "is_found"),
    [
        ({}, True),
        ({"tenant_id": "b"}, True),
        ({"tenant_id": "a"}, False),
        ({"host": "compute-1"}, True),
        ({"host": "compute-2"}, False),
    ],
)
def test_filters_go_by_whose_the_instance_is_now(
    parameters: dict[str, Any], is_found: bool
) -> None:
    query = top_query(VIM, TopParameters(**parameters), END, None)
    now = IndexEntry("", "a", StateGroup("active", "", ""), "b", "compute-1", "A")
    found = search(query, row("a", value("cpu_util", 1)), entry=now).first()
    assert [each.tenant_id for each in found] == (["b"] if is_found else [])


def test_what_was_measured_too_long_ago_is_left_out() -> None:
    query = msgspec.structs.replace(QUERY, since=END)
    old = row("a", value("cpu_util", 1), end="2026-01-01T12:00:59.999999Z")
    assert search(query, old, row("b", value("cpu_util", 1))).count == 1
    assert search(query, old).count == 0


def test_an_instance_without_a_row_was_not_measured_yet() -> None:
    assert found_measurements(None).measurements == []
    found = found_measurements(decode_meters(row("a", value("cpu_util", 1.5))))
    assert [(each.id, each.values[0].volume) for each in found.measurements] == [("id of a", 1.5)]
    assert [(each.cpu_percent, each.memory_percent) for each in found.recent] == [(12.5, None)]
