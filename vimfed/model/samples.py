"""The records of metrics: samples as they come, what is kept of them, and measurements.

A sample is one value of one meter at one time. A measurement is what the samples of one interval
say of one instance or host. All lie under the keys of what they are about (vimfed/model/keys.py).
"""

from typing import Literal

import msgspec

from vimfed.model.records import Recorded, Source, Word

MeterKind = Literal["gauge", "cumulative", "delta"]
"""ceilometer's words: a gauge stands for itself, a cumulative meter counts since some start, and a
delta is what came since the sample before."""


class Sample(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One value of one meter."""

    meter: Word
    """Its name, as ceilometer spells it, e.g. ``disk.device.read.bytes``."""
    volume: float
    """In ``unit``; finite."""
    at: str
    """When it was so: ISO 8601, UTC, microseconds, ``Z``."""
    kind: MeterKind = "gauge"
    unit: Word = ""
    """As ceilometer spells it, e.g. ``ns``, ``MiB``, ``B``."""
    device: Word = ""
    """The disk, port or device that it is about; empty: the instance or host itself."""
    vcpus: int = 0
    """How many virtual CPUs the instance had then; 0: not told."""


class SampleRecord(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Samples of one instance or one host, as they lie on the samples topic.

    Without samples, and without a cloud, it tells its partition the time (``received_at``).
    """

    vim_id: Word = ""
    instance_id: Word = ""
    host: Word = ""
    """nova's name of the host; empty of what is about an instance."""
    samples: tuple[Sample, ...] = ()
    source: Source = "oslo"
    received_at: str
    """When a bridge or a worker received them: ISO 8601, UTC, microseconds, ``Z``."""


class MeterValue(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What the samples of one interval say of one meter."""

    meter: str
    device: str = ""
    unit: str = ""
    kind: MeterKind = "gauge"
    volume: float
    """The newest value of the interval; of a delta meter the sum of the interval's samples."""
    at: str
    """Time of the newest sample of the interval."""
    rate: float | None = None
    """Of a cumulative meter: ``unit`` a second, since the newest sample before the interval; None
    where there is none, or the counter has restarted since."""
    delta: float | None = None
    """Of a cumulative meter: what was counted since then."""


class Measurement(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What was measured of one instance or host in one interval; a line of the measurements topic.

    A repetition has the same id, and the same content.
    """

    id: str
    """UUIDv5 of the subject and the interval."""
    vim_id: str
    instance_id: str = ""
    host: str = ""
    """Where the instance is, or the host that was measured; empty where nobody has told."""
    begin: str
    """The interval holds its begin, and not its end: ISO 8601, UTC, microseconds, ``Z``."""
    end: str
    tenant_id: str = ""
    display_name: str = ""
    vm_state: str = ""
    """This and the two before: as the instances table said when the interval was closed; empty
    where it did not know the instance."""
    values: tuple[MeterValue, ...]
    """By meter and device, in their order."""


class LastReading(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The newest closed sample of a series."""

    at: str
    volume: float


class RecentPoint(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How busy an instance was in one of the newest intervals, for a sparkline: to 0.1 percent."""

    end: str
    cpu_percent: float | None = None
    memory_percent: float | None = None


class MetersState(Recorded, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A row of the meters table: what is kept of the samples of closed intervals."""

    vim_id: str
    instance_id: str = ""
    host: str = ""
    """Of a host's row."""
    last: dict[str, LastReading] = msgspec.field(default_factory=dict)
    """By series (see ``series_name``) of cumulative meters, and of VCPUS and MEMORY."""
    measured_until: str = ""
    """End of the last closed interval: samples before it are late."""
    measurements: tuple[Measurement, ...] = ()
    """Those that the batch made which closed ``measured_until``, the newest last."""
    recent: tuple[RecentPoint, ...] = ()
    """The newest last, MAX_RECENT at most."""
    closed_by: int = -1
    """Offset in the samples topic of the record whose time closed the last interval."""
    received_at: str = ""
    """The partition's clock then: the newest time of that record and those before it."""
    revision: int = 0


def series_name(meter: str, device: str) -> str:
    """Return the name of a series: a meter, or a meter of a device."""
    return f"{meter}@{device}" if device else meter


MAX_SERIES = 512
"""Series of one instance or host that are kept; further ones are refused, and counted."""
MAX_RECENT = 60
"""Intervals of which a row keeps how busy the instance was."""

CPU_UTIL, MEMORY_UTIL = "cpu_util", "memory_util"
"""Meters of our own, gauges in percent: of all virtual CPUs together, and of the memory."""
VCPUS, MEMORY = "vcpus", "memory"
"""ceilometer's meters of what an instance has: its virtual CPUs, and its memory."""

encode_samples = msgspec.json.Encoder().encode
decode_samples = msgspec.json.Decoder(SampleRecord).decode
encode_measurement = msgspec.json.Encoder().encode
decode_measurement = msgspec.json.Decoder(Measurement).decode
encode_meters = msgspec.json.Encoder().encode
decode_meters = msgspec.json.Decoder(MetersState).decode
