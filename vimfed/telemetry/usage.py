"""What nova itself notifies of usage: an instance's share of its host, and what a host measures.

``compute.instance.exists`` (versioned ``instance.exists``) tells what an instance occupies, its
flavor: gauges by the names that ceilometer gives them. ``compute.metrics.update`` (versioned
``metrics.update``) tells what a host's monitors measured (``[DEFAULT] compute_monitors``): meters
``compute.node.<metric>``, as ceilometer calls them. Of percentages nova's legacy notification tells
the fraction, the versioned one the hundredfold.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from vimfed.alerts.subject import Subject, is_host, is_instance_id
from vimfed.model.decoding import UNREADABLE
from vimfed.model.samples import MeterKind, Sample
from vimfed.telemetry.reading import BadSampleError, NoSamplesError, finite, moment, word

_EXISTS, _VERSIONED_EXISTS = "compute.instance.exists", "instance.exists"
_METRICS, _VERSIONED_METRICS = "compute.metrics.update", "metrics.update"
USAGE_TYPES = frozenset({_EXISTS, _VERSIONED_EXISTS, _METRICS, _VERSIONED_METRICS})

_NODE = "compute.node."


class Usage(NamedTuple):
    """What a notification says of one instance or host."""

    subject: Subject
    samples: Sequence[Sample]
    error: str = ""
    """How many of a host's metrics cannot be used, and why the first of them; empty: none."""


class _Meter(NamedTuple):
    kind: MeterKind
    unit: str


_TIME, _PERCENT, _OTHER = (
    _Meter("cumulative", "ns"),
    _Meter("gauge", "percent"),
    _Meter("gauge", ""),
)
_HOST_METERS: Mapping[str, _Meter] = {
    "cpu.frequency": _Meter("gauge", "MHz"),
    **{f"cpu.{each}.time": _TIME for each in ("user", "kernel", "idle", "iowait")},
    **{f"cpu.{each}.percent": _PERCENT for each in ("user", "kernel", "idle", "iowait")},
    "cpu.percent": _PERCENT,
}
"""By nova's name of the metric; one that is not here is a gauge without a unit."""


class _Flavor(Struct, gc=False):
    """What an instance occupies; the names are nova's."""

    memory_mb: float
    vcpus: float
    root_gb: float
    ephemeral_gb: float


class _Existing(_Flavor, gc=False):
    instance_id: str
    deleted_at: str | None = None


class _FlavorObject(Struct, gc=False):
    data: _Flavor = field(name="nova_object.data")


class _VersionedExisting(Struct, gc=False):
    uuid: str
    flavor: _FlavorObject
    deleted_at: str | None = None


class _VersionedExists(Struct, gc=False):
    data: _VersionedExisting = field(name="nova_object.data")


class _Metric(Struct, gc=False):
    name: str
    timestamp: str
    value: float | None = None
    numa_membw_values: dict[str, float] | None = None
    """By NUMA node; in place of ``value``."""


class _MetricObject(Struct, gc=False):
    data: _Metric = field(name="nova_object.data")


class _Metrics(Struct, gc=False):
    host: str
    metrics: list[Raw]
    """Each by itself: one that cannot be used costs no other one."""


class _VersionedMetrics(Struct, gc=False):
    data: _Metrics = field(name="nova_object.data")


_decode_existing = msgspec.json.Decoder(_Existing).decode
_decode_versioned_existing = msgspec.json.Decoder(_VersionedExists).decode
_decode_metrics = msgspec.json.Decoder(_Metrics).decode
_decode_metric = msgspec.json.Decoder(_Metric).decode
_decode_versioned_metrics = msgspec.json.Decoder(_VersionedMetrics).decode
_decode_metric_object = msgspec.json.Decoder(_MetricObject).decode


def read_usage(event_type: str, payload: bytes | Raw, sent_at: str) -> Usage | None:
    """Return what a notification of USAGE_TYPES says; None: its instance is deleted.

    ``sent_at``: by the sender's clock, ISO 8601, UTC, microseconds, ``Z``; what an instance
    occupies was so then. Raises NoSamplesError.
    """
    try:
        if event_type == _EXISTS:
            existing = _decode_existing(payload)
            return _occupied(existing.instance_id, existing, existing.deleted_at, sent_at)
        if event_type == _VERSIONED_EXISTS:
            data = _decode_versioned_existing(payload).data
            return _occupied(data.uuid, data.flavor.data, data.deleted_at, sent_at)
        if event_type == _METRICS:
            return _measured(_decode_metrics(payload), _decode_metric, percent=100.0)
        return _measured(_decode_versioned_metrics(payload).data, _versioned_metric, percent=1.0)
    except (*UNREADABLE, BadSampleError) as error:
        raise NoSamplesError(f"{event_type}: {error}") from None


def _occupied(
    instance_id: str, flavor: _Flavor, deleted_at: str | None, sent_at: str
) -> Usage | None:
    if not is_instance_id(instance_id):
        raise BadSampleError("it names no instance")
    if deleted_at:
        return None
    told = (
        ("vcpus", flavor.vcpus, "vcpu"),
        ("memory", flavor.memory_mb, "MiB"),
        ("disk.root.size", flavor.root_gb, "GiB"),
        ("disk.ephemeral.size", flavor.ephemeral_gb, "GiB"),
    )
    return Usage(
        Subject(instance_id=instance_id),
        [
            Sample(meter=meter, volume=finite(meter, volume), at=sent_at, unit=unit)
            for meter, volume, unit in told
        ],
    )


def _versioned_metric(text: Raw) -> _Metric:
    return _decode_metric_object(text).data


def _measured(told: _Metrics, decode: Callable[[Raw], _Metric], *, percent: float) -> Usage:
    """``percent``: what a percentage is told in, as a factor."""
    if not is_host(told.host):
        raise BadSampleError("it names no host")
    samples: list[Sample] = []
    errors: list[str] = []
    for text in told.metrics:
        try:
            samples += _of_metric(decode(text), percent)
        except (*UNREADABLE, BadSampleError) as error:
            errors.append(str(error))
    why = ""
    if errors:
        count = f"{len(errors)} of {len(told.metrics)} metrics"
        why = f"{count} cannot be used, the first: {errors[0]}"
    return Usage(Subject(host=told.host), samples, why)


def _of_metric(metric: _Metric, percent: float) -> list[Sample]:
    meter = _HOST_METERS.get(metric.name, _OTHER)
    factor = percent if meter is _PERCENT else 1.0
    volumes = {word("a NUMA node", name): v for name, v in (metric.numa_membw_values or {}).items()}
    if metric.value is not None:
        volumes[""] = metric.value
    return [
        Sample(
            meter=word("a metric", f"{_NODE}{metric.name}"),
            # nova has hundredths: 0.56 times 100 is not 56 as doubles go.
            volume=finite(metric.name, round(volume * factor, 6)),
            at=moment("timestamp", metric.timestamp),
            kind=meter.kind,
            unit=meter.unit,
            device=device,
        )
        for device, volume in volumes.items()
    ]
