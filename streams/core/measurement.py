"""What the samples of one interval say of one instance or host. Decides, and does nothing."""

import uuid
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from math import fsum
from operator import attrgetter
from sys import intern
from typing import NamedTuple, TypeAlias

import msgspec

from streams.core.revision import next_revision
from vimfed.model.keys import host_of_key, kind_of_key, split_instance_key
from vimfed.model.samples import (
    CPU_UTIL,
    MAX_RECENT,
    MAX_SERIES,
    MEMORY,
    MEMORY_UTIL,
    VCPUS,
    LastReading,
    Measurement,
    MeterKind,
    MetersState,
    MeterValue,
    RecentPoint,
    Sample,
    series_name,
)
from vimfed.model.times import milliseconds

MAX_READINGS = 1000
"""Samples of one cumulative or delta meter that an interval keeps; further ones are refused."""
CPU, MEMORY_USAGE = "cpu", "memory.usage"
"""ceilometer's meters of what an instance has used: its virtual CPUs' time, and its memory."""
NANOSECONDS = 1e9

_NAMESPACE = uuid.UUID("8c8f8f0e-55a2-5d0c-9a0f-3a3f0f8d7c11")
_time_of = attrgetter("at")


class Facts(NamedTuple):
    """What the instances table says of an instance."""

    tenant_id: str = ""
    display_name: str = ""
    host: str = ""
    vm_state: str = ""


class Reading(msgspec.Struct, frozen=True, order=True, gc=False):
    """What is kept of a sample. Of two with the same time the greater one is kept."""

    at: str
    """ISO 8601, UTC, microseconds, ``Z``."""
    volume: float
    unit: str
    vcpus: int


Series: TypeAlias = tuple[str, str, MeterKind]
"""Meter, device, kind."""
Readings: TypeAlias = dict[Series, tuple[Reading, ...]]
"""The samples of one subject in one interval, the newest last; of a gauge the newest alone.

Tuples: Python's garbage collector soon leaves them alone, and there are millions of them. Through
as many lists it takes half a second, in which nothing else goes on.
"""


class Interval(NamedTuple):
    """An interval that is closed; its times: ISO 8601, UTC, microseconds, ``Z``."""

    begin: str
    end: str
    closed_by: int
    """Offset of the record whose time closes it."""
    clock: str
    """The partition's clock then."""


KEPT = "kept"
"""A sample that is one more in memory."""


def take(readings: Readings, sample: Sample, at: str, *, has_room: bool = True) -> str:
    """Add a sample of the interval; return KEPT, why it is refused, or nothing.

    Nothing: it is known, or is kept in place of another. ``at`` is its time, as readings have it;
    without ``has_room`` none is kept that is one more. In which order samples come, and how often,
    makes no difference, as long as none is refused.
    """
    series = _series(sample.meter, sample.device, sample.kind)
    reading = Reading(at, sample.volume, intern(sample.unit), sample.vcpus)
    held = readings.get(series)
    if held is None:
        if len(readings) >= MAX_SERIES:
            return "too_many_series"
        if not has_room:
            return "too_many"
        readings[series] = (reading,)
        return KEPT
    if sample.kind == "gauge":
        readings[series] = (max(held[0], reading),)
        return ""
    place = len(held) if at > held[-1].at else bisect_left(held, at, key=_time_of)
    if place < len(held) and held[place].at == at:
        readings[series] = (*held[:place], max(held[place], reading), *held[place + 1 :])
        return ""
    if len(held) >= MAX_READINGS:
        return "too_often"
    if not has_room:
        return "too_many"
    readings[series] = (*held[:place], reading, *held[place:])
    return KEPT


@lru_cache(maxsize=16384)
def _series(meter: str, device: str, kind: MeterKind) -> Series:
    """Return one object for all subjects that have the series: they are most of what is held."""
    return intern(meter), intern(device), kind


def measured(
    key: bytes, interval: Interval, readings: Readings, row: MetersState | None, facts: Facts | None
) -> tuple[Measurement, MetersState]:
    """Return what an interval says of a subject, and its row after it.

    ``row`` is the one before; its ``measurements`` stay in the new one. Of a host there are no
    facts.
    """
    vim_id, about = split_instance_key(key)
    is_host = kind_of_key(key) == "host"
    known = facts or Facts()
    row = row or MetersState(
        vim_id=vim_id,
        instance_id="" if is_host else about,
        host=host_of_key(key) if is_host else "",
    )
    values, last = _values(readings, row.last)
    measurement = Measurement(
        id=measurement_id(key, interval.begin, interval.end),
        vim_id=vim_id,
        instance_id=row.instance_id,
        host=row.host or known.host,
        begin=interval.begin,
        end=interval.end,
        tenant_id=known.tenant_id,
        display_name=known.display_name,
        vm_state=known.vm_state,
        values=tuple(values[each] for each in sorted(values)),
    )
    return measurement, msgspec.structs.replace(
        row,
        last=last,
        measured_until=interval.end,
        measurements=(*row.measurements, measurement),
        recent=(*row.recent, _point(interval.end, values))[-MAX_RECENT:],
        closed_by=interval.closed_by,
        received_at=interval.clock,
        revision=next_revision(row.revision, interval.clock),
    )


def measurement_id(key: bytes, begin: str, end: str) -> str:
    """Return the id of what is measured of a subject in an interval."""
    return str(uuid.uuid5(_NAMESPACE, f"{key.decode()}/{begin}/{end}"))


_Values: TypeAlias = dict[tuple[str, str], MeterValue]
"""By meter and device."""


def _values(
    readings: Readings, before: Mapping[str, LastReading]
) -> tuple[_Values, dict[str, LastReading]]:
    """Return the values of an interval, and the readings that the next one is compared with."""
    values: _Values = {}
    last = dict(before)
    vcpus = 0
    for (meter, device), (kind, held) in _one_kind_each(readings).items():
        newest = held[-1]
        name = series_name(meter, device)
        values[meter, device] = _value(meter, device, kind, held, before.get(name))
        if kind == "cumulative" or name in (VCPUS, MEMORY):
            last[name] = LastReading(newest.at, newest.volume)
        if name == CPU:
            vcpus = newest.vcpus
    _add_cpu_util(values, vcpus or _volume(last, VCPUS))
    _add_memory_util(values, _volume(last, MEMORY))
    return values, last if len(last) <= MAX_SERIES else _newest(last)


def _one_kind_each(
    readings: Readings,
) -> dict[tuple[str, str], tuple[MeterKind, tuple[Reading, ...]]]:
    """Return the readings by meter and device: of the kind that the newest one has."""
    chosen: dict[tuple[str, str], tuple[MeterKind, tuple[Reading, ...]]] = {}
    for (meter, device, kind), held in readings.items():
        other = chosen.get((meter, device))
        if other is None or (other[1][-1], other[0]) < (held[-1], kind):
            chosen[meter, device] = kind, held
    return chosen


def _value(
    meter: str, device: str, kind: MeterKind, held: tuple[Reading, ...], before: LastReading | None
) -> MeterValue:
    newest = held[-1]
    volume, rate, delta = newest.volume, None, None
    if kind == "delta":
        volume = fsum(each.volume for each in held)
    elif kind == "cumulative" and before is not None and _has_only_grown(before, held):
        delta = newest.volume - before.volume
        rate = delta * 1e6 / (_microseconds(newest.at) - _microseconds(before.at))
    return MeterValue(
        meter=meter,
        device=device,
        unit=newest.unit,
        kind=kind,
        volume=volume,
        at=newest.at,
        rate=rate,
        delta=delta,
    )


def _has_only_grown(before: LastReading, held: tuple[Reading, ...]) -> bool:
    """Return whether a counter has not restarted since ``before``, and time has passed."""
    volume = before.volume
    for each in held:
        if each.volume < volume:
            return False
        volume = each.volume
    return held[-1].at > before.at


@lru_cache(maxsize=1024)  # the readings of a subject mostly have one time
def _microseconds(at: str) -> int:
    return (milliseconds(at) or 0) * 1000 + int(at[23:26])


def _volume(last: Mapping[str, LastReading], name: str) -> float:
    reading = last.get(name)
    return 0.0 if reading is None else reading.volume


def _add_cpu_util(values: _Values, vcpus: float) -> None:
    cpu = values.get((CPU, ""))
    if cpu is not None and cpu.rate is not None and vcpus >= 1:
        _add_percent(values, CPU_UTIL, cpu.rate / NANOSECONDS / vcpus * 100, cpu.at)


def _add_memory_util(values: _Values, memory: float) -> None:
    usage = values.get((MEMORY_USAGE, ""))
    if usage is not None and memory >= 1:
        _add_percent(values, MEMORY_UTIL, usage.volume / memory * 100, usage.at)


def _add_percent(values: _Values, meter: str, percent: float, at: str) -> None:
    """Add a value of our own, unless the cloud has sent that meter itself."""
    values.setdefault((meter, ""), MeterValue(meter=meter, unit="%", volume=percent, at=at))


def _newest(last: Mapping[str, LastReading]) -> dict[str, LastReading]:
    by_time = sorted(last.items(), key=lambda named: (named[1].at, named[0]))
    return dict(by_time[-MAX_SERIES:])


def _point(end: str, values: _Values) -> RecentPoint:
    percents = (values.get((meter, "")) for meter in (CPU_UTIL, MEMORY_UTIL))
    return RecentPoint(end, *(None if each is None else round(each.volume, 1) for each in percents))
