"""What the samples of an interval say of an instance or a host."""

import uuid
from typing import Any

import pytest

from streams.core.measurement import (
    KEPT,
    MAX_READINGS,
    Facts,
    Interval,
    Readings,
    measured,
    measurement_id,
    take,
)
from tests.support.nova_messages import VIM
from tests.support.sample_log import sample, time_text
from vimfed.model.keys import host_key, instance_key
from vimfed.model.samples import (
    MAX_RECENT,
    MAX_SERIES,
    Measurement,
    MetersState,
    MeterValue,
    Sample,
)

VM = instance_key(VIM, "vm-1")


def of(*samples: Sample) -> Readings:
    readings: Readings = {}
    for one in samples:
        assert take(readings, one, one.at) in (KEPT, "")
    return readings


def told(
    *samples: Sample,
    row: MetersState | None = None,
    key: bytes = VM,
    begin: float = 0,
    facts: Facts | None = None,
) -> tuple[Measurement, MetersState]:
    interval = Interval(time_text(begin), time_text(begin + 60), 7, time_text(begin + 120))
    return measured(key, interval, of(*samples), row, facts)


def only(measurement: Measurement) -> MeterValue:
    (value,) = measurement.values
    return value


def value(measurement: Measurement, meter: str) -> MeterValue:
    (found,) = (each for each in measurement.values if each.meter == meter)
    return found


def meters(measurement: Measurement) -> list[str]:
    return [each.meter for each in measurement.values]


def cpu(seconds: float, at: float, **fields: Any) -> Sample:
    return sample("cpu", seconds * 1e9, at, kind="cumulative", unit="ns", **fields)


def test_a_gauge_is_its_newest_sample() -> None:
    found = only(told(sample("m", 1, 10), sample("m", 3, 50, unit="MB"), sample("m", 2, 30))[0])
    assert (found.volume, found.at, found.unit, found.kind) == (3, time_text(50), "MB", "gauge")
    assert (found.rate, found.delta) == (None, None)


def test_of_two_samples_with_the_same_time_the_larger_one_is_kept() -> None:
    for one, other in ((1, 2), (2, 1)):
        for kind in ("gauge", "cumulative", "delta"):
            samples = (sample("m", each, 10, kind=kind) for each in (one, other))
            assert only(told(*samples)[0]).volume == 2


def test_a_delta_meter_is_the_sum_of_its_samples() -> None:
    samples = [sample("m", volume, at, kind="delta") for volume, at in ((5, 30), (1, 10), (2, 20))]
    found = only(told(*samples, samples[1])[0])
    assert (found.volume, found.at, found.rate) == (8, time_text(30), None)


def test_a_counter_has_a_rate_since_the_newest_sample_before_the_interval() -> None:
    first, row = told(cpu(10, 30), cpu(8, 10))
    assert (only(first).rate, only(first).delta) == (None, None)
    second, _row = told(cpu(16, 90), row=row, begin=60)
    assert (only(second).rate, only(second).delta) == (6e9 / 60, 6e9)
    assert (only(second).kind, only(second).unit) == ("cumulative", "ns")


def test_a_counter_that_stands_still_has_a_rate_of_nothing() -> None:
    _first, row = told(cpu(10, 30))
    second, _row = told(cpu(10, 70), cpu(10, 80), cpu(10, 90), row=row, begin=60)
    assert (only(second).rate, only(second).delta) == (0, 0)


def test_a_counter_that_has_restarted_has_no_rate_and_then_one_again() -> None:
    _first, row = told(cpu(10, 30))
    second, row = told(cpu(4, 90), row=row, begin=60)
    third, row = told(cpu(10, 150), row=row, begin=120)
    assert only(second).rate is None
    assert only(third).rate == 6e9 / 60
    # It has passed what it was before its restart.
    fourth, _row = told(cpu(2, 200), cpu(40, 210), row=row, begin=180)
    assert only(fourth).rate is None


def test_intervals_without_samples_lengthen_the_time_of_a_rate() -> None:
    _first, row = told(cpu(10, 30))
    later, _row = told(cpu(40, 330), row=row, begin=300)
    assert only(later).rate == 30e9 / 300


def test_cpu_util_is_in_percent_of_all_virtual_cpus() -> None:
    _first, row = told(cpu(10, 30))
    found, _row = told(cpu(40, 90, vcpus=2), row=row, begin=60)
    util = value(found, "cpu_util")
    assert (util.volume, util.unit, util.at, util.kind) == (25, "%", time_text(90), "gauge")


def test_the_number_of_virtual_cpus_may_be_a_meter_also_of_an_earlier_interval() -> None:
    _first, row = told(cpu(10, 30), sample("vcpus", 4, 5))
    found, row = told(cpu(40, 90), row=row, begin=60)
    assert value(found, "cpu_util").volume == 12.5
    found, row = told(cpu(70, 150), sample("vcpus", 1, 130), row=row, begin=120)
    assert value(found, "cpu_util").volume == 50
    found, row = told(cpu(100, 210, vcpus=2), row=row, begin=180)
    assert value(found, "cpu_util").volume == 25


def test_without_the_number_of_virtual_cpus_there_is_no_cpu_util() -> None:
    _first, row = told(cpu(10, 30))
    for samples in ([cpu(40, 90)], [cpu(40, 90), sample("vcpus", 0, 70)]):
        found, _row = told(*samples, row=row, begin=60)
        assert "cpu_util" not in meters(found)


def test_memory_util_is_in_percent_of_the_memory() -> None:
    found, row = told(sample("memory.usage", 512, 40), sample("memory", 2048, 1))
    util = value(found, "memory_util")
    assert (util.volume, util.unit, util.at) == (25, "%", time_text(40))
    found, _row = told(sample("memory.usage", 1024, 90), row=row, begin=60)
    assert value(found, "memory_util").volume == 50
    found, _row = told(sample("memory.usage", 1024, 90), sample("memory", 0, 80))
    assert "memory_util" not in meters(found)


def test_what_the_cloud_itself_tells_of_its_use_is_kept() -> None:
    _first, row = told(cpu(10, 30), sample("memory", 100, 1))
    sent = [sample("cpu_util", 99, 80, unit="%"), sample("memory_util", 98, 81)]
    found, row = told(cpu(40, 90, vcpus=2), sample("memory.usage", 1, 90), *sent, row=row, begin=60)
    assert value(found, "cpu_util").volume == 99
    assert value(found, "memory_util").volume == 98
    point = row.recent[-1]
    assert (point.end, point.cpu_percent, point.memory_percent) == (time_text(120), 99, 98)


def test_a_point_is_rounded_and_says_where_nothing_is_known() -> None:
    _found, row = told(sample("memory.usage", 1, 40), sample("memory", 3, 1))
    (point,) = row.recent
    assert (point.end, point.cpu_percent, point.memory_percent) == (time_text(60), None, 33.3)


def test_of_a_meter_with_two_kinds_the_newest_sample_decides() -> None:
    for samples in (
        [sample("m", 5, 10, kind="cumulative"), sample("m", 1, 20)],
        [sample("m", 1, 20), sample("m", 5, 10, kind="cumulative")],
    ):
        found, row = told(*samples)
        assert (only(found).kind, only(found).volume) == ("gauge", 1)
        assert row.last == {}


def test_devices_are_series_of_their_own_and_values_are_in_their_order() -> None:
    names = [("b", "x"), ("a", "z"), ("b", ""), ("a", "y")]
    found, row = told(*(sample(m, 1, 1, d, kind="cumulative") for m, d in names))
    assert [(each.meter, each.device) for each in found.values] == sorted(names)
    assert set(row.last) == {"a@y", "a@z", "b", "b@x"}


def test_a_measurement_names_the_instance_and_what_is_known_of_it() -> None:
    found, row = told(cpu(1, 1), facts=Facts("tenant", "web", "compute-3", "active"))
    assert (found.vim_id, found.instance_id, found.host) == (VIM, "vm-1", "compute-3")
    assert (found.tenant_id, found.display_name) == ("tenant", "web")
    assert (found.vm_state, found.begin, found.end) == ("active", time_text(0), time_text(60))
    assert (row.vim_id, row.instance_id, row.host) == (VIM, "vm-1", "")
    assert row.measurements == (found,)
    assert (row.measured_until, row.closed_by, row.received_at) == (found.end, 7, time_text(120))
    unknown, _row = told(cpu(1, 1))
    assert (unknown.instance_id, unknown.host, unknown.tenant_id) == ("vm-1", "", "")


def test_a_measurement_of_a_host_names_the_host() -> None:
    found, row = told(cpu(1, 1), key=host_key(VIM, "compute-1"))
    assert (found.instance_id, found.host, row.host) == ("", "compute-1", "compute-1")


def test_an_id_is_that_of_the_subject_and_the_interval() -> None:
    found = told(cpu(1, 1))[0].id
    assert uuid.UUID(found).version == 5
    assert found == told(cpu(2, 2))[0].id
    others = [
        told(cpu(1, 1), key=instance_key(VIM, "vm-2"))[0].id,
        told(cpu(61, 61), begin=60)[0].id,
        measurement_id(VM, time_text(0), time_text(30)),
    ]
    assert len({found, *others}) == 4
    # It may not change from version to version.
    assert found == "aeb126c5-f241-5e04-98dd-7b275b57cde4"


def test_revisions_grow() -> None:
    _found, row = told(cpu(1, 1))
    _found, later = told(cpu(2, 61), row=row, begin=60)
    _found, at_the_same_time = told(cpu(2, 61), row=later, begin=60)
    assert 0 < row.revision < later.revision < at_the_same_time.revision


def test_a_row_keeps_the_newest_counters_and_points_alone() -> None:
    row = None
    for number in range(MAX_RECENT + 5):
        devices = (f"d{number}-{each}" for each in range(20))
        samples = [sample("m", 1, number * 60, each, kind="cumulative") for each in devices]
        _found, row = told(*samples, row=row, begin=number * 60)
    assert row is not None
    assert len(row.recent) == MAX_RECENT
    assert len(row.last) == MAX_SERIES
    assert {"m@d64-0", "m@d40-19"} <= set(row.last)
    assert "m@d38-0" not in row.last


def test_series_beyond_the_bound_are_refused_and_those_before_taken() -> None:
    readings = of(*(sample("m", 1, 1, f"d{each}") for each in range(MAX_SERIES)))
    one_more = sample("m", 1, 1, "one-more")
    assert take(readings, one_more, one_more.at) == "too_many_series"
    assert take(readings, sample("m", 2, 1, "d5"), time_text(1)) == ""


@pytest.mark.parametrize("kind", ["gauge", "cumulative"])
def test_without_room_no_sample_is_kept_that_is_one_more(kind: str) -> None:
    readings: Readings = {}
    first, more = sample("m", 1, 1, kind=kind), sample("other", 1, 1, kind=kind)
    assert take(readings, first, first.at, has_room=False) == "too_many"
    assert take(readings, first, first.at) == KEPT
    assert take(readings, first, first.at, has_room=False) == ""
    assert take(readings, more, more.at, has_room=False) == "too_many"
    newer = sample("m", 2, 2, kind=kind)
    # In the place of the one before, or beside it.
    expected = "" if kind == "gauge" else "too_many"
    assert take(readings, newer, newer.at, has_room=False) == expected


@pytest.mark.parametrize("kind", ["cumulative", "delta"])
def test_samples_that_come_too_often_are_refused(kind: str) -> None:
    readings = of(*(sample("m", 1, each / 100, kind=kind) for each in range(MAX_READINGS)))
    again, another = sample("m", 1, 5, kind=kind), sample("m", 1, 5.001, kind=kind)
    assert take(readings, again, again.at) == ""
    assert take(readings, another, another.at) == "too_often"


def test_of_a_gauge_any_number_of_samples_is_taken() -> None:
    readings = of(*(sample("m", each, each / 100) for each in range(MAX_READINGS + 1)))
    assert [held[-1].volume for held in readings.values()] == [MAX_READINGS]
