"""aodh's alarms: its alarm actions over HTTP, and the notifications that it sends over oslo.

An action (``aodh/notifier/rest.py``) is ``{"alarm_name", "alarm_id", "severity", "previous",
"current", "reason", "reason_data"}`` and tells no time. The one of an alarm by events has the event
in ``reason_data``, whose traits name the instance; else the URL of the action has to.

A notification (``aodh/evaluator/__init__.py``, ``aodh/api/controllers/v2/alarms.py``) has the
event type ``alarm.creation``, ``alarm.state_transition``, ``alarm.rule_change`` or
``alarm.deletion``, and the payload ``{"event_id", "alarm_id", "type", "detail", "user_id",
"project_id", "on_behalf_of", "timestamp", "severity"}``: ``detail`` is an object, and from the
evaluator the JSON text of one. It tells neither name nor resource of an alarm whose state changes.

aodh has three states. ``insufficient data`` says neither that the alarm's condition holds nor that
it does not: an alarm stays as it is.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from vimfed.alerts.bounds import UnreadableAlertError, bounded_labels, one_line, time_of
from vimfed.alerts.reading import BatchError, Context, Reading, Unread
from vimfed.alerts.subject import CLOUD, is_instance_id, subject_of
from vimfed.model.decoding import UNREADABLE
from vimfed.nova.alert_report import AlertReport

PREFIX = "alarm."
"""How aodh's event types begin."""
EVENT_TYPES = frozenset(
    {"alarm.creation", "alarm.state_transition", "alarm.rule_change", "alarm.deletion"}
)
"""Those that can say that an alarm begins or ends."""

_IS_ACTIVE = {"alarm": True, "ok": False, "insufficient data": None}
"""By state: whether the alarm is active; None: nobody knows."""
_MAX_TRAITS = 100


class Action(Struct, frozen=True, kw_only=True):
    """What aodh posts when an alarm's state changes; or at each evaluation, by its
    ``repeat_actions``.
    """

    alarm_id: str
    current: str
    """``alarm``, ``ok`` or ``insufficient data``."""
    alarm_name: str | None = None
    severity: str | None = None
    """``low``, ``moderate`` or ``critical``."""
    previous: str | None = None
    reason: str | None = None
    reason_data: Any = None


class _Event(Struct):
    traits: list[Any] = []


class _ReasonData(Struct):
    event: _Event | None = None


class _Change(Struct):
    """The payload of a notification."""

    alarm_id: str
    detail: Raw = Raw(b"{}")
    severity: str | None = None
    timestamp: str | None = None


class _Detail(Struct):
    state: str | None = None
    enabled: bool | None = None
    name: str | None = None
    transition_reason: str | None = None
    state_reason: str | None = None


_decode = msgspec.json.Decoder(Action).decode
_decode_change = msgspec.json.Decoder(_Change).decode
_decode_detail = msgspec.json.Decoder(_Detail).decode
_decode_text = msgspec.json.Decoder(str).decode


def read(body: bytes, context: Context) -> Reading:
    """Return the report of an action. Raises BatchError."""
    try:
        action = _decode(body)
    except UNREADABLE as error:
        raise BatchError(f"not an alarm action of aodh: {error}") from None
    if action.current not in _IS_ACTIVE:
        return Reading([], [Unread(0, f"current is no state: {action.current[:20]!r}", body)])
    if not is_instance_id(action.alarm_id):
        return Reading([], [Unread(0, "alarm_id is no id", body)])
    is_active = _IS_ACTIVE[action.current]
    if is_active is None:
        return Reading([])
    traits = _traits(action.reason_data)
    about = context.subject
    if about == CLOUD:
        about = subject_of(traits, context.names)
    report = AlertReport(
        fingerprint=_fingerprint(action.alarm_id),
        name=one_line(action.alarm_name or ""),
        is_active=is_active,
        started_at=context.received_at,
        instance_id=about.instance_id,
        host=about.host,
        severity=one_line(action.severity or ""),
        summary=one_line(action.reason or ""),
        labels=bounded_labels(traits | {"alarm_id": action.alarm_id}),
    )
    return Reading([report])


def report_of(event_type: str, payload: bytes, received_at: str) -> tuple[AlertReport, str] | None:
    """Return the report of a notification, and when it was true; None where it says nothing.

    Raises UnreadableAlertError.
    """
    if event_type not in EVENT_TYPES:
        return None
    try:
        change = _decode_change(payload)
        detail = _decode_detail(_object(change.detail))
    except UNREADABLE as error:
        raise UnreadableAlertError(f"{event_type}: {error}") from None
    if not is_instance_id(change.alarm_id):
        raise UnreadableAlertError(f"{event_type}: alarm_id is no id")
    is_active = _IS_ACTIVE.get(detail.state or "")
    if event_type == "alarm.deletion" or detail.enabled is False:
        is_active = False  # nobody evaluates it any more
    if is_active is None:
        return None
    true_at = min(time_of("timestamp", change.timestamp or "") or received_at, received_at)
    report = AlertReport(
        fingerprint=_fingerprint(change.alarm_id),
        name=one_line(detail.name or ""),
        is_active=is_active,
        started_at=true_at,
        severity=one_line(change.severity or ""),
        summary=one_line(detail.transition_reason or detail.state_reason or ""),
        labels={"alarm_id": change.alarm_id},
    )
    return report, true_at


def _fingerprint(alarm_id: str) -> str:
    return f"aodh-{alarm_id}"


def _object(detail: Raw) -> bytes | Raw:
    """Return the JSON object of a detail, which can be a text that holds it."""
    text = bytes(detail).lstrip()
    return _decode_text(text).encode() if text.startswith(b'"') else detail


def _traits(reason_data: object) -> dict[str, str]:
    """Return the traits of the event that an alarm is about, by name, as far as they are texts."""
    try:
        data = msgspec.convert(reason_data, _ReasonData)
    except msgspec.ValidationError:
        return {}
    traits: dict[str, str] = {}
    for trait in data.event.traits[:_MAX_TRAITS] if data.event is not None else ():
        match trait:  # name, type, value: as ceilometer stores them
            case [str(name), int(), str(value)]:
                traits[name] = value
    return traits
