"""Bare states: what somebody says of an instance who does not pass on nova's notifications.

As JSON a bare state is ``{"instance_id", "state", "state_description", "timestamp"}``: state is
nova's vm_state, state_description its task_state (empty, null or absent at rest). It may carry any
other field of the specification's flat payload that is known, and these of ours:

- ``changed_at``: when the state began, where that is known to be earlier than ``timestamp``, the
  time at which it held;
- ``power_state``, in the words of nova's versioned notifications;
- ``message_id``: by which a repetition is recognised; without one, by what it says;
- ``vim_id``: whoever receives it checks that it came to the right place.
"""

import uuid

import msgspec
from msgspec import Raw

from vimfed.model.decoding import UNREADABLE
from vimfed.model.flat_payload import FlatPayload, Text
from vimfed.model.records import Notification, Phase, Source
from vimfed.model.times import as_utc_text
from vimfed.nova.states import TASK_STATES, VM_STATES

EVENT_PREFIX = "vimfed.instance."
BARE_STATE = f"{EVENT_PREFIX}state"
"""Event type of a bare state; that of an action found by the poller ends in its kind and phase."""

MAX_ID = 64
"""Maximum characters of an instance's id: nova's are UUIDs of 36."""
_OWN_KEYS = ("instance_id", "state", "state_description")
_NAMESPACE = uuid.UUID("6f0f5f3e-8a1d-5c0c-9a3b-2f64b7a1c9d2")
_encode = msgspec.json.Encoder().encode


class BareStateError(Exception):
    """What was said is no bare state; the text names the field and what is wrong with it."""


class BareState(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says of one instance. Times: ISO 8601, UTC, microseconds, ``Z``."""

    instance_id: str
    state: str = ""
    """nova's vm_state; empty where only an action is told."""
    state_description: str = ""
    """nova's task_state; empty at rest."""
    timestamp: str = ""
    """When it was so; empty: when it was received."""
    changed_at: str = ""
    """Since when it was so; empty: since then."""
    power_state: str = ""
    message_id: str = ""
    known: dict[str, Raw] = {}
    """Further fields of the flat payload, by name."""


class FoundAction(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of one of nova's actions that somebody found out about."""

    kind: str
    phase: Phase
    request_id: str
    host: str
    """The host that nova's own notification of it would name."""
    at: str
    """ISO 8601, UTC, microseconds, ``Z``."""


class _Entry(FlatPayload, forbid_unknown_fields=True):
    """A bare state's JSON: it checks names and types."""

    timestamp: str | None = None
    changed_at: str | None = None
    power_state: Text = None
    message_id: Text = None
    vim_id: str | None = None


_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def read_bare_state(text: bytes | Raw) -> BareState:
    """Read a bare state's JSON. Raises BareStateError."""
    try:
        entry = _decode_entry(text)
        fields = _decode_fields(text)
    except UNREADABLE as error:
        raise BareStateError(str(error)) from None
    instance_id = entry.instance_id
    if not (0 < len(instance_id) <= MAX_ID and instance_id.isprintable()):
        raise BareStateError(f"instance_id must be 1 to {MAX_ID} printable characters")
    if "/" in instance_id or " " in instance_id:
        raise BareStateError("instance_id contains a slash or a space")
    if entry.state not in VM_STATES:
        raise BareStateError(f"state {entry.state!r} is none of {', '.join(sorted(VM_STATES))}")
    task_state = entry.state_description or ""
    if task_state not in TASK_STATES | {""}:
        raise BareStateError(
            f"state_description {task_state!r} is none of {', '.join(sorted(TASK_STATES))}; "
            "it is empty at rest"
        )
    own = (*_OWN_KEYS, *_Entry.__struct_fields__[len(FlatPayload.__struct_fields__) :])
    return BareState(
        instance_id=instance_id,
        state=entry.state,
        state_description=task_state,
        timestamp=_time("timestamp", entry.timestamp),
        changed_at=_time("changed_at", entry.changed_at),
        power_state=entry.power_state or "",
        message_id=entry.message_id or "",
        known={name: value for name, value in fields.items() if name not in own},
    )


def _time(name: str, value: str | None) -> str:
    if not value:
        return ""
    try:
        return as_utc_text(value)
    except (ValueError, OverflowError):
        raise BareStateError(f"{name} {value!r} is no ISO 8601 time") from None


def bare_state_notification(
    vim_id: str,
    state: BareState,
    *,
    source: Source,
    path: str,
    sequence: int,
    received_at: str,
    action: FoundAction | None = None,
) -> Notification:
    """Return the notification that says ``state``, and that ``action`` was the last to change it.

    What is pushed cannot be of a later time than its arrival: it would keep out all that is newer.
    Pollers tell the time by the cloud's own clock. ``message_id`` follows from the content.
    """
    timestamp = state.timestamp or received_at
    if source == "ingest":
        timestamp = min(timestamp, received_at)
    changed_at = state.changed_at if action is None else action.at
    said = {
        **state.known,
        "instance_id": state.instance_id,
        "timestamp": timestamp,
        "changed_at": min(changed_at or timestamp, timestamp),
    }
    if state.state:
        said |= {"state": state.state, "state_description": state.state_description}
    if state.power_state:
        said["power_state"] = state.power_state
    name = [vim_id, state.instance_id, state.state, state.state_description, timestamp]
    event_type, host = BARE_STATE, ""
    if action is not None:
        event_type = f"{EVENT_PREFIX}{action.kind.lower()}.{action.phase}"
        host = action.host
        name += [action.kind, action.phase, action.request_id, host]
    return Notification(
        message_id=state.message_id or str(uuid.uuid5(_NAMESPACE, "/".join(name))),
        event_type=event_type,
        payload=Raw(_encode(said)),
        publisher_id=f"{source}:{host}",
        timestamp=timestamp,
        request_id=None if action is None else action.request_id,
        vim_id=vim_id,
        source=source,
        path=path,
        sequence=sequence,
        received_at=received_at,
    )
