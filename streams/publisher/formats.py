"""What a published message looks like, in each of the formats (schemas: docs/schemas)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from vimfed.model.records import VmEvent
from vimfed.nova.states import DELETED
from vimfed.settings import DmaapOutput, Format

_encode = msgspec.json.Encoder().encode

Headers = tuple[tuple[str, bytes], ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAULT = "Fault_MultiCloud_VMFailure"
"""The eventName that ONAP's closed loops know; ``Cleared`` at its end takes it back."""


class _Names(msgspec.Struct, gc=False):
    """What a VES header needs of a payload."""

    display_name: str | None = None
    tenant_id: str | None = None


_decode_names = msgspec.json.Decoder(_Names).decode


class Content(msgspec.Struct, frozen=True, gc=False):
    """A message without its key: the JSON text and Kafka's headers."""

    value: bytes
    headers: Headers


def flat_payload(event: VmEvent, output: DmaapOutput) -> bytes:
    """Return the specification's flat payload as JSON.

    Unless the output leaves it out, one object ``vim_event`` is added: id, vim_id, kind, phase,
    changed_at, late and inferred; host, reason and alarm where the event has them.
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
    }
    about = {name: value for name, value in about.items() if value is not UNSET}
    # The payload's JSON text is an object, never empty: it gets one more key at its end.
    return b'%s,"vim_event":%s}' % (payload.rstrip()[:-1], _encode(about))


def cloudevents_attributes(event: VmEvent) -> dict[str, str]:
    """Return the CloudEvents 1.0 context attributes of ``event``, extensions last.

    The subject is an instance, a host, or a cloud, as the type says.
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
    return attributes


def _headers(event: VmEvent) -> Headers:
    """Return the attributes as Kafka headers (CloudEvents' binary content mode)."""
    return (
        *((f"ce_{name}", value.encode()) for name, value in cloudevents_attributes(event).items()),
        ("content-type", b"application/json"),
    )


def _payload(event: VmEvent, output: DmaapOutput) -> Content | None:
    """Return the flat payload, which only an instance has."""
    if not event.instance_id:
        return None
    return Content(flat_payload(event, output), _headers(event))


def _cloudevents(event: VmEvent, output: DmaapOutput) -> Content:
    """Return a structured-mode CloudEvent, its data the flat payload."""
    attributes = {**cloudevents_attributes(event), "datacontenttype": "application/json"}
    data = msgspec.Raw(flat_payload(event, output))
    headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    return Content(_encode({**attributes, "data": data}), headers)


def _ves(event: VmEvent, output: DmaapOutput) -> Content | None:
    """Return a VES 7 fault, or None where the event raises and clears none.

    vm_state error, and the end of one of the output's ``ves_kinds``, raise; the end of anything
    else clears that leaves the VM active or deleted, or leaves the error behind. Late news does
    neither: newer has been told.
    """
    if event.late:
        return None
    if event.new_state == "error" or (event.phase == "end" and event.kind in output.ves_kinds):
        event_name, severity = FAULT, "CRITICAL"
    elif event.phase == "end" and (
        event.new_state in ("active", DELETED) or event.old_state == "error"
    ):
        event_name, severity = f"{FAULT}Cleared", "NORMAL"
    else:
        return None
    names = _decode_names(event.payload)
    microseconds = (datetime.fromisoformat(event.changed_at) - _EPOCH) // timedelta(microseconds=1)
    fault = {
        "event": {
            "commonEventHeader": {
                "domain": "fault",
                "eventId": event.id,
                "eventName": event_name,
                "eventType": event_name,
                "lastEpochMicrosec": microseconds,
                "priority": "High" if severity == "CRITICAL" else "Normal",
                "reportingEntityId": event.vim_id,
                "reportingEntityName": event.vim_id,
                "sequence": 0,
                "sourceId": event.instance_id,
                "sourceName": names.display_name or event.instance_id,
                "startEpochMicrosec": microseconds,
                "version": "4.1",
                "vesEventListenerVersion": "7.2.1",
            },
            "faultFields": {
                "alarmAdditionalInformation": {
                    "vimId": event.vim_id,
                    "tenantId": names.tenant_id or "",
                    "kind": event.kind,
                    "phase": event.phase,
                    "vmState": event.new_state,
                },
                # The same when raised and when cleared: with sourceId it names the alarm.
                "alarmCondition": FAULT,
                "eventSeverity": severity,
                "eventSourceType": "virtualMachine",
                "faultFieldsVersion": "4.0",
                "specificProblem": f"{event.kind} {event.phase}: {event.new_state}",
                "vfStatus": "Active",
            },
        }
    }
    return Content(_encode(fault), _headers(event))


FORMATS: dict[Format, Callable[[VmEvent, DmaapOutput], Content | None]] = {
    "payload": _payload,
    "cloudevents": _cloudevents,
    "ves": _ves,
}
"""Each format's function; None where an event has nothing to say in it."""
