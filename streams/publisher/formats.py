"""What a published event looks like, in each of the formats (schemas: docs/schemas)."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from streams.core.kinds import HEARTBEAT, STATE_SNAPSHOT
from streams.publisher.ves import ves_message
from vimfed.model.keys import home_key
from vimfed.model.records import VmEvent
from vimfed.model.schemas import schema_id
from vimfed.settings import DmaapOutput, Format

_encode = msgspec.json.Encoder().encode

Headers = tuple[tuple[str, bytes], ...]


class Content(msgspec.Struct, frozen=True, gc=False):
    """A message without its key: the JSON text and Kafka's headers."""

    value: bytes
    headers: Headers
    domain: str = ""
    """VES's; empty of other formats."""


def flat_payload(event: VmEvent, output: DmaapOutput) -> bytes:
    """Return the specification's flat payload as JSON.

    Unless the output leaves it out, one object ``vim_event`` is added: id, vim_id, kind, phase,
    changed_at, late and inferred; host, reason, alarm and snapshot where the event has them.
    """
    payload = bytes(event.payload)
    if not output.vim_event:
        return payload
    about: dict[str, Any] = {
        "id": event.id,
        "vim_id": event.vim_id,
        "kind": event.kind,
        "phase": event.phase,
        "changed_at": event.changed_at,
        "late": event.late,
        "inferred": event.inferred,
        "host": event.host,
        "reason": event.reason,
        "alarm": event.alarm,
        "snapshot": event.snapshot,
    }
    about = {name: value for name, value in about.items() if value is not UNSET}
    # The payload's JSON text is an object, never empty: it gets one more key at its end.
    return b'%s,"vim_event":%s}' % (payload.rstrip()[:-1], _encode(about))


def cloudevents_attributes(event: VmEvent) -> dict[str, str]:
    """Return the CloudEvents 1.0 context attributes of ``event``, extensions last.

    The subject is an instance, a host, or a cloud, as the type says. ``dataschema`` is that of the
    flat payload, or of what stands in its place; ``partitionkey`` is the record's key.
    """
    what, subject = "vm", event.instance_id
    if not subject:
        what, subject = ("host", event.host) if event.host else ("cloud", event.vim_id)
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "type": f"org.onap.multicloud.{what}.{event.kind.lower()}.{event.phase}",
        "source": f"/vims/{event.vim_id}",
        "subject": subject,
        "time": event.changed_at,
        "dataschema": schema_id("payload" if event.instance_id else "host-cloud"),
        "partitionkey": home_key(event.vim_id, event.instance_id, event.host or "").decode(),
        "vimid": event.vim_id,
        "kind": event.kind,
        "phase": event.phase,
    }
    if event.inferred:
        attributes["inferred"] = "true"
    if event.host:
        attributes["host"] = event.host
    if event.reason:
        attributes["reason"] = event.reason
    if event.alarm:
        attributes["alarmid"] = event.alarm.id
        attributes["alarmstep"] = event.alarm.step
    if event.snapshot:
        attributes["snapshot"] = event.snapshot
    return attributes


CLOUDEVENT_HEADERS: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
"""Of a CloudEvent in structured mode."""


def attribute_headers(attributes: Mapping[str, str]) -> Headers:
    """Return a CloudEvent's attributes as Kafka headers (CloudEvents' binary content mode)."""
    return (
        *((f"ce_{name}", value.encode()) for name, value in attributes.items()),
        ("content-type", b"application/json"),
    )


def _headers(event: VmEvent) -> Headers:
    return attribute_headers(cloudevents_attributes(event))


def _payload(event: VmEvent, output: DmaapOutput) -> Content | None:
    """Return the flat payload of an instance; of others, of what is asked for for the output."""
    is_asked = event.kind == STATE_SNAPSHOT or (event.kind == HEARTBEAT and output.heartbeats)
    if not event.instance_id and not is_asked:
        return None
    return Content(flat_payload(event, output), _headers(event))


def _cloudevents(event: VmEvent, output: DmaapOutput) -> Content:
    """Return a structured-mode CloudEvent, its data the flat payload.

    A webhook's is in parts, binary mode: the output makes of them what its mode wants.
    """
    if output.is_webhook:
        return Content(flat_payload(event, output), _headers(event))
    attributes = {**cloudevents_attributes(event), "datacontenttype": "application/json"}
    data = msgspec.Raw(flat_payload(event, output))
    return Content(_encode({**attributes, "data": data}), CLOUDEVENT_HEADERS)


def ves_headers(attributes: Mapping[str, str], output: DmaapOutput) -> Headers:
    """Return the headers of a message of the VES event listener."""
    schema = schema_id("ves-5" if output.ves_version == "5.4" else "ves")
    return attribute_headers({**attributes, "dataschema": schema})


def _ves(event: VmEvent, output: DmaapOutput) -> Content | None:
    told = ves_message(event, output)
    if told is None:
        return None
    headers = ves_headers(cloudevents_attributes(event), output)
    return Content(told[1], headers, domain=told[0])


def format_of(output: DmaapOutput, wanted: Format | None) -> Format:
    """Return the format of a message; ``wanted`` is a subscription's own, where it has one."""
    if output.is_ves:
        return "ves"
    format_ = wanted or output.format
    return "cloudevents" if output.is_webhook and format_ == "payload" else format_


FORMATS: dict[Format, Callable[[VmEvent, DmaapOutput], Content | None]] = {
    "payload": _payload,
    "cloudevents": _cloudevents,
    "ves": _ves,
}
"""Each format's function; None where an event has nothing to say in it."""
