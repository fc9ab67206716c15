"""Logs of samples as they lie on a partition, and what must be measured of them, found naively."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from tests.support.folded_table import Record, numbered, record
from tests.support.nova_messages import VIM
from vimfed.model.keys import home_key
from vimfed.model.samples import MeterKind, Sample, SampleRecord, encode_samples

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
METERS: tuple[tuple[str, str, MeterKind], ...] = (
    ("cpu", "", "cumulative"),
    ("disk.device.read.bytes", "vda", "cumulative"),
    ("disk.device.read.bytes", "vdb", "cumulative"),
    ("memory.usage", "", "gauge"),
    ("memory", "", "gauge"),
    ("vcpus", "", "gauge"),
    ("network.incoming.bytes.delta", "tap1", "delta"),
)
SUBJECTS = ({"instance_id": "vm-1"}, {"instance_id": "vm-2"}, {"host": "compute-1"})
INTERVAL, GRACE, FUTURE = 60, 60, 60

Place: TypeAlias = tuple[bytes, float]
"""A subject's key, and the begin of an interval."""


def time_text(seconds: float) -> str:
    """Return the time so many seconds after the beginning of the log."""
    moment = START + timedelta(microseconds=round(seconds * 1e6))
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Return how many seconds after the beginning of the log a time is."""
    return (datetime.fromisoformat(text) - START) / timedelta(seconds=1)


def sample(meter: str, volume: float, at: float, device: str = "", **fields: Any) -> Sample:
    """Return a sample; ``at`` in seconds after the beginning."""
    return Sample(meter=meter, volume=float(volume), at=time_text(at), device=device, **fields)


def sample_record(
    samples: Iterable[Sample],
    received: float,
    *,
    instance_id: str = "",
    host: str = "",
    vim_id: str = VIM,
) -> Record:
    """Return a record of the samples topic."""
    about = SampleRecord(
        vim_id=vim_id,
        instance_id=instance_id,
        host=host,
        samples=tuple(samples),
        received_at=time_text(received),
    )
    return record(home_key(vim_id, instance_id, host), encode_samples(about))


def tick(received: float) -> Record:
    """Return a record that tells the time alone."""
    return record(b"", encode_samples(SampleRecord(received_at=time_text(received))))


def sample_log(seed: int, steps: int = 80, *, longest: float = 40.0) -> list[Record]:
    """Return what a partition holds: late, repeated, future and broken samples among others.

    Between two records pass ``longest`` seconds at most, by clocks that are not quite the same.
    """
    draw = random.Random(seed)
    counters: defaultdict[tuple[str, ...], float] = defaultdict(float)
    log: list[Record] = []
    now = 0.0
    for _step in range(steps):
        now += draw.uniform(0, longest) if draw.random() < 0.7 else 0.0
        received = now + draw.uniform(-3, 3)
        what = draw.random()
        if what < 0.05:
            log.append(tick(received))
        elif what < 0.08:
            log.append(record(b"x", draw.choice((b"", b"{", b'{"received_at": "never"}'))))
        elif what < 0.2 and log:
            log.append(draw.choice(log[-8:]))
        else:
            subject = draw.choice(SUBJECTS)
            taken = [_drawn(draw, subject, counters, now) for _ in range(draw.randint(1, 6))]
            log.append(sample_record(taken, received, **subject))
    return numbered(log)


def _drawn(
    draw: random.Random,
    subject: dict[str, str],
    counters: defaultdict[tuple[str, ...], float],
    now: float,
) -> Sample:
    meter, device, kind = draw.choice(METERS)
    # Whole seconds, often: then some have the same time.
    at = round(now) if draw.random() < 0.5 else now
    if draw.random() < 0.3:
        at -= draw.choice((1, 30, 100, 200))
    elif draw.random() < 0.05:
        at += draw.choice((59, 90))
    counter = (*subject.values(), meter, device)
    if draw.random() < 0.05:
        counters[counter] = 0.0
    counters[counter] += draw.choice((0, 1e9, 3.5e9))
    volume = counters[counter] if kind == "cumulative" else float(draw.randint(0, 8))
    taken = sample(meter, volume, at, device, kind=kind, unit="ns" if meter == "cpu" else "B")
    broken = draw.random()
    if broken < 0.02:
        return msgspec.structs.replace(taken, volume=1e30)
    if broken < 0.04:
        return msgspec.structs.replace(taken, meter="")
    if broken < 0.06:
        return msgspec.structs.replace(taken, at="yesterday")
    if meter == "cpu" and broken < 0.6:
        return msgspec.structs.replace(taken, vcpus=2)
    return taken


@dataclass
class Expected:
    """What must become of a log."""

    measurements: dict[Place, dict[tuple[str, str], dict[str, Any]]] = field(default_factory=dict)
    """Values by meter and device, in the order in which they are told."""
    samples: int = 0
    late: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    rejected: int = 0


def expected(records: Iterable[Record]) -> Expected:
    """Say what must become of a log: read as a whole, and one interval after the other."""
    found = Expected()
    accepted: defaultdict[Place, list[Sample]] = defaultdict(list)
    clock = -math.inf
    for each in records:
        try:
            read = msgspec.json.decode(each.value or b"", type=SampleRecord)
            received = seconds_of(read.received_at)
        except (ValueError, msgspec.DecodeError):
            found.rejected += 1
            continue
        clock = max(clock, received)
        for one in read.samples:
            found.samples += 1
            _accept(found, accepted, each.key or b"", one, received, clock)
    for key in {key for key, _begin in accepted}:
        _measure(found, key, accepted, clock)
    order = sorted(found.measurements, key=lambda place: (place[1], place[0]))
    found.measurements = {place: found.measurements[place] for place in order}
    return found


def _accept(
    found: Expected,
    accepted: defaultdict[Place, list[Sample]],
    key: bytes,
    one: Sample,
    received: float,
    clock: float,
) -> None:
    try:
        at = seconds_of(one.at)
    except ValueError:
        found.refused["time"] += 1
        return
    begin = at // INTERVAL * INTERVAL
    if at > received + FUTURE:
        found.refused["future"] += 1
    elif not one.meter:
        found.refused["name"] += 1
    elif abs(one.volume) > 1e24:
        found.refused["volume"] += 1
    elif begin + INTERVAL + GRACE <= clock:
        found.late += 1
    else:
        accepted[key, begin].append(one)


def _measure(
    found: Expected, key: bytes, accepted: dict[Place, list[Sample]], clock: float
) -> None:
    last: dict[tuple[str, str], Sample] = {}
    for begin in sorted(begin for each, begin in accepted if each == key):
        if begin + INTERVAL + GRACE > clock:
            break
        series: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
        for one in sorted(accepted[key, begin], key=lambda one: (one.at, one.volume, one.vcpus)):
            held = series[one.meter, one.device]
            if held and held[-1].at == one.at:
                held.pop()
            held.append(one)
        values = {name: _value(held, last.get(name)) for name, held in sorted(series.items())}
        last |= {name: held[-1] for name, held in series.items()}
        _add_percents(values, series, last)
        found.measurements[key, begin] = values


def _value(held: list[Sample], before: Sample | None) -> dict[str, Any]:
    newest = held[-1]
    value: dict[str, Any] = {"volume": newest.volume, "at": newest.at}
    if newest.kind == "delta":
        value["volume"] = sum(one.volume for one in held)
    if newest.kind == "cumulative" and before is not None:
        volumes = [before.volume, *(one.volume for one in held)]
        if volumes == sorted(volumes):
            value["delta"] = newest.volume - before.volume
            passed = datetime.fromisoformat(newest.at) - datetime.fromisoformat(before.at)
            value["rate"] = value["delta"] / passed.total_seconds()
    return value


def _add_percents(
    values: dict[tuple[str, str], dict[str, Any]],
    series: dict[tuple[str, str], list[Sample]],
    last: dict[tuple[str, str], Sample],
) -> None:
    cpu, usage = values.get(("cpu", "")), values.get(("memory.usage", ""))
    vcpus, memory = last.get(("vcpus", "")), last.get(("memory", ""))
    if cpu is not None and "rate" in cpu:
        count = series["cpu", ""][-1].vcpus or (vcpus.volume if vcpus else 0)
        if count:
            percent = cpu["rate"] / 1e9 / count * 100
            values["cpu_util", ""] = {"volume": percent, "at": cpu["at"]}
    if usage is not None and memory is not None and memory.volume:
        percent = usage["volume"] / memory.volume * 100
        values["memory_util", ""] = {"volume": percent, "at": usage["at"]}
