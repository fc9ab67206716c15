"""What a published message looks like."""

from typing import Any

import msgspec

from vimfed.records import VmEvent

_encode = msgspec.json.Encoder().encode

Headers = tuple[tuple[str, bytes], ...]


def flat_payload(event: VmEvent, *, vim_event: bool) -> bytes:
    """Return the specification's flat payload as JSON.

    ``vim_event`` adds one object of that name: id, vim_id, kind, phase, changed_at and late.
    """
    payload = bytes(event.payload)
    if not vim_event:
        return payload
    about: dict[str, Any] = {
        "id": event.id,
        "vim_id": event.vim_id,
        "kind": event.kind,
        "phase": event.phase,
        "changed_at": event.changed_at,
        "late": event.late,
    }
    # The payload's JSON text is an object, never empty: it gets one more key at its end.
    return b'%s,"vim_event":%s}' % (payload.rstrip()[:-1], _encode(about))


def cloudevents_headers(event: VmEvent) -> Headers:
    """Return the CloudEvents 1.0 attributes of ``event`` as Kafka headers (binary content mode)."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_type": f"org.onap.multicloud.vm.{event.kind.lower()}.{event.phase}",
        "ce_source": f"/vims/{event.vim_id}",
        "ce_subject": event.instance_id,
        "ce_time": event.changed_at,
        "ce_vimid": event.vim_id,
        "ce_kind": event.kind,
        "ce_phase": event.phase,
        "content-type": "application/json",
    }
    return tuple((name, value.encode()) for name, value in attributes.items())
