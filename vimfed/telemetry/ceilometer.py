"""Samples as ceilometer sends them.

Three forms of messages occur (``ceilometer/publisher/messaging.py``, ``polling/manager.py``, and
the publisher ``kafka://`` of former releases):

- an oslo notification, event type ``metering``, whose payload is a list of samples; with
  ``per_meter_topic``, each sample once more in one of event type ``metering.<meter>``
- an oslo notification, event type ``telemetry.polling``, whose payload has the list as ``samples``
- the bare JSON list

A sample is ``{"counter_name", "counter_type", "counter_unit", "counter_volume", "resource_id",
"resource_metadata", "timestamp", "message_signature", …}``: ``vimfed/telemetry/subject.py`` says
what it is about. Its time is of the sender's clock, UTC where it names no zone.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from vimfed.alerts.subject import Subject
from vimfed.model.decoding import UNREADABLE
from vimfed.model.samples import MeterKind, Sample
from vimfed.nova import oslo
from vimfed.telemetry.reading import (
    BadSampleError,
    NoSamplesError,
    Reading,
    Unread,
    finite,
    moment,
    word,
)
from vimfed.telemetry.signature import is_signed
from vimfed.telemetry.subject import About, Metadata, about

_MAX_VCPUS = 65536


class OtherNotificationError(Exception):
    """An oslo notification that is of something else; the text is its event type."""


class _Counter(Struct, gc=False):
    """What of a sample is read; the names are ceilometer's."""

    meter: str = field(name="counter_name")
    kind: MeterKind = field(name="counter_type")
    volume: float = field(name="counter_volume")
    resource_id: str
    timestamp: str | None = None
    unit: str | None = field(name="counter_unit", default=None)
    metadata: Metadata | None = field(name="resource_metadata", default=None)


class _Polled(Struct):
    samples: list[Raw]


_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_polled = msgspec.json.Decoder(_Polled).decode
_decode_counter = msgspec.json.Decoder(_Counter).decode
_decode_tree = msgspec.json.Decoder(dict).decode
_decode_leniently = json.JSONDecoder(strict=False).decode
_encode = msgspec.json.Encoder().encode


def read(body: bytes, secret: str = "") -> Reading:
    """Return what a message says. ``secret``: what all samples must be signed with; empty: nobody
    looks at signatures.

    Raises NoSamplesError and OtherNotificationError.
    """
    samples: dict[Subject, list[Sample]] = {}
    wrong: list[Raw] = []
    first_error = ""
    counters = _counters(body)
    for counter in counters:
        try:
            found, sample = _sample(counter, secret)
        except BadSampleError as error:
            first_error = first_error or str(error)
            wrong.append(counter)
            continue
        if found is not None:
            samples.setdefault(found.subject, []).append(sample)
    unread = None
    if wrong:
        told = f"{len(wrong)} of {len(counters)} samples cannot be used, the first: {first_error}"
        unread = Unread(_encode(wrong), told)
    return Reading(samples, unread)


def _counters(body: bytes) -> Sequence[Raw]:
    """Return the samples of a message, each as JSON text. Raises as ``read``."""
    try:
        return _counters_of(body)
    except NoSamplesError:
        # One sample that cannot be read must not cost its neighbours.
        found = _each_by_itself(body)
        if found is None:
            raise
        return found


def _counters_of(body: bytes) -> Sequence[Raw]:
    if len(body) > oslo.MAX_BODY_BYTES:
        raise NoSamplesError(f"too large: {len(body)} bytes")
    try:
        if body.lstrip()[:1] == b"[":
            return _decode_list(body)
        message = oslo.read_message(body)
        payload = bytes(message.payload)
        if payload[:1] == b"[":
            return _decode_list(payload)
        event_type = message.event_type or ""
        if event_type == "telemetry.polling":
            return _decode_polled(payload).samples
    except oslo.NotANotificationError as error:
        raise NoSamplesError(str(error)) from None
    except UNREADABLE as error:
        raise NoSamplesError(f"no list of samples: {error}") from None
    if event_type.partition(".")[0] == "metering":
        raise NoSamplesError(f"{event_type} without a list of samples")
    raise OtherNotificationError(event_type)


def _each_by_itself(body: bytes) -> Sequence[Raw] | None:
    """Return the samples of a message that is no JSON, each as Python reads it, and spelled anew.

    Python reads what its own encoder writes and JSON has not: NaN, which becomes null, and half a
    character (a lone surrogate); also control characters, and bytes that are no UTF-8. None: it is
    no such message either. Raises OtherNotificationError.
    """
    if len(body) > oslo.MAX_BODY_BYTES:
        return None
    try:
        tree = _decode_leniently(body.decode(errors="surrogateescape"))
        if isinstance(tree, dict) and isinstance(tree.get("oslo.message"), str):
            tree = _decode_leniently(tree["oslo.message"])
        found = _list_in(tree)
        if found is None:
            return None
        texts = [_spelled(each) for each in found]
        found.clear()
        _counters_of(_encode(tree))
    except (*UNREADABLE, ValueError, NoSamplesError):
        return None
    return texts


def _list_in(tree: Any) -> list[Any] | None:
    """Return the list of samples in what a message says."""
    for name in ("payload", "samples"):
        if isinstance(tree, dict):
            tree = tree.get(name)
    return tree if isinstance(tree, list) else None


def _spelled(value: Any) -> Raw:
    """Return a value's JSON text; half a character stays as it was escaped."""
    try:
        return Raw(_encode(value))
    except UnicodeEncodeError:
        return Raw(json.dumps(value).encode())


def _sample(text: Raw, secret: str) -> tuple[About | None, Sample]:
    """Return a sample, and what it is about. Raises BadSampleError."""
    try:
        counter = _decode_counter(text)
        if secret and not is_signed(_decode_tree(text), secret.encode()):
            raise BadSampleError("it is not signed with telemetry_secret")
    except UNREADABLE as error:
        raise BadSampleError(str(error)) from None
    metadata = counter.metadata or Metadata()
    found = about(counter.meter, counter.resource_id, metadata)
    meter = word("counter_name", counter.meter)
    if not meter:
        raise BadSampleError("counter_name is empty")
    sample = Sample(
        meter=meter,
        volume=finite("counter_volume", counter.volume),
        at=moment("timestamp", counter.timestamp),
        kind=counter.kind,
        unit=word("counter_unit", counter.unit),
        device=word("the device", found.device if found else ""),
        vcpus=_vcpus(metadata) if meter == "cpu" else 0,
    )
    return found, sample


def _vcpus(metadata: Metadata) -> int:
    """Return by how many CPUs a ``cpu`` meter's time is counted; 0: it is not told."""
    for told in (metadata.cpu_number, metadata.vcpus):
        if isinstance(told, int) and not isinstance(told, bool) and 0 < told <= _MAX_VCPUS:
            return told
    return 0
