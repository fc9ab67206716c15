"""What a host report changes: the host's row, and the host's own events. Pure.

Rules:

1. Each of ``is_up``, ``forced_down`` and ``disabled`` has the time of its newest news: what is not
   newer changes nothing of it. News of a field that was never told must not be older than all that
   was told, or it may be of an earlier host of this name.
2. A report that says nothing new leaves no trace.
3. The row is the same in each partition: what it holds follows from what all copies say alike. The
   events are told from the copy in the partition of the host's key alone (``is_home``).
4. A host that is gone has no row. What ends with it is told as its end.
"""

import uuid
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from streams.core.alarms import AlarmChange, alarm_id, clear_alarm, raise_alarm
from streams.core.bounds import OutOfBoundsError, shortened
from streams.core.placement import is_down
from streams.core.revision import next_revision
from vimfed.model.keys import host_key
from vimfed.model.records import HostState, Notification, Phase, VmEvent
from vimfed.model.times import read_time
from vimfed.nova.host_report import MAX_HOST, HostReport

HOST_DOWN, HOST_DISABLED = "HOST_DOWN", "HOST_DISABLED"
"""Kinds of a host's own events."""
DOWN_ALARM = "host_down"
"""Condition of the alarm that HOST_DOWN raises and clears."""

DownReason = Literal["host_down", "host_forced_down"]

_NAMESPACE = uuid.UUID("9a0ff8b5-3d25-5ad5-9b62-8d9b4d1c3a54")
_FIELDS = ("is_up", "forced_down", "disabled")
_KNOWN = "is_known"
"""Of ``told_at``: the time of the newest news that nova does not know how the host is, or does."""
_encode = msgspec.json.Encoder().encode


class HostOutcome(NamedTuple):
    """What follows from a host report."""

    result: str
    """``changed``, ``unchanged``, ``late`` or ``gone``."""
    row: HostState | None = None
    """The host's row after the report; None: it has none."""
    events: tuple[VmEvent, ...] = ()


class _Payload(msgspec.Struct, frozen=True):
    """The payload of a host's events."""

    host: str
    is_up: bool
    forced_down: bool
    disabled: bool
    disabled_reason: str


def down_reason(row: HostState) -> DownReason:
    """Return why instances on a host that is down are unavailable."""
    return "host_forced_down" if row.forced_down else "host_down"


def time_of(notification: Notification) -> str:
    """Return when a report was true: ISO 8601, UTC, microseconds, ``Z``.

    At most the time at which it was received: the clock of a sender that is ahead would have us
    refuse later news.
    """
    received = read_time(notification.received_at)
    told = read_time(notification.timestamp) or received or ("", 0)
    return told[0] if received is None else min(told[0], received[0])


def check_host(report: HostReport) -> None:
    """Raise OutOfBoundsError where a report names no host that nova can have."""
    if not 0 < len(report.host) <= MAX_HOST:
        raise OutOfBoundsError(f"a host's name has {len(report.host)} characters: not nova's")


def apply_host_report(
    row: HostState | None, report: HostReport, notification: Notification, offset: int
) -> HostOutcome:
    """Return what a report, which lies at ``offset`` in its topic, makes of a host's ``row``."""
    at = time_of(notification)
    if report.is_gone:
        return _gone(row, report, notification, at)
    before = row or HostState(vim_id=notification.vim_id, host=report.host)
    fields, is_late = _news(before, report, at)
    if not fields:
        return HostOutcome("late" if is_late else "unchanged", row)
    after = replace(
        before,
        **fields,
        source=notification.source,
        received_at=notification.received_at,
        source_offset=offset,
        revision=next_revision(before.revision, notification.received_at),
    )
    return HostOutcome("changed", *_with_events(before, after, notification, report, at))


def _news(row: HostState, report: HostReport, at: str) -> tuple[dict[str, object], bool]:
    """Return the fields of the row that a report changes, and whether some of it is late."""
    fields: dict[str, object] = {}
    told_at = row.told_at
    is_late, begin = False, min(told_at.values(), default="")
    for name in _FIELDS:
        value = getattr(report, name)
        if value is None:
            continue
        known, known_at = getattr(row, name), told_at.get(name, "")
        reason = row.disabled_reason
        if name == "disabled":
            reason = shortened(report.disabled_reason or "") if value else ""
        if known_at and (value, reason) == (known, row.disabled_reason):
            continue
        if at <= known_at or at < begin:
            is_late = True
            continue
        fields[name] = value
        if name == "disabled":
            fields["disabled_reason"] = reason
        told_at = {**told_at, name: at}
    is_known = report.is_known
    if is_known is not None and is_known == bool(row.unknown_since):
        if at <= told_at.get(_KNOWN, ""):
            return fields, True
        fields["unknown_since"] = "" if is_known else at
        told_at = {**told_at, _KNOWN: at}
    if fields:
        fields["told_at"] = told_at
    return fields, is_late


def _with_events(
    before: HostState, after: HostState, notification: Notification, report: HostReport, at: str
) -> tuple[HostState, tuple[VmEvent, ...]]:
    """Return the row with its times and alarms, and the events that its home tells."""
    events: list[VmEvent] = []
    if is_down(before) != is_down(after):
        down = is_down(after)
        event = _event(after, HOST_DOWN, "start" if down else "end", notification, at)
        change = _alarm(before, event, at)
        reason = down_reason(after) if down else "host_up"
        events.append(replace(event, reason=reason, alarm=change.step or UNSET))
        after = replace(after, down_since=at if down else "", alarms=change.alarms)
    if before.disabled != after.disabled:
        phase: Phase = "start" if after.disabled else "end"
        events.append(_event(after, HOST_DISABLED, phase, notification, at))
        after = replace(after, disabled_since=at if after.disabled else "")
    return after, tuple(events) if report.is_home else ()


def _gone(
    row: HostState | None, report: HostReport, notification: Notification, at: str
) -> HostOutcome:
    if row is None:
        return HostOutcome("unchanged")
    if at < max(row.told_at.values(), default=""):
        return HostOutcome("late", row)
    events: list[VmEvent] = []
    if is_down(row):
        event = _event(row, HOST_DOWN, "end", notification, at, told="gone")
        change = clear_alarm(row.alarms, DOWN_ALARM, at)
        events.append(replace(event, reason="host_gone", alarm=change.step or UNSET))
    if row.disabled:
        events.append(_event(row, HOST_DISABLED, "end", notification, at, told="gone"))
    return HostOutcome("gone", None, tuple(events) if report.is_home else ())


def _alarm(before: HostState, event: VmEvent, at: str) -> AlarmChange:
    if event.phase == "end":
        return clear_alarm(before.alarms, DOWN_ALARM, at)
    new_id = alarm_id(host_key(before.vim_id, before.host), DOWN_ALARM, event.id)
    return raise_alarm(before.alarms, new_id, DOWN_ALARM, at)


def _event(
    row: HostState, kind: str, phase: Phase, notification: Notification, at: str, told: str = ""
) -> VmEvent:
    """Return an event of a host, whose id is the same in each partition.

    It follows from all that the row has been told: that is never the same again, while changes of
    two fields may be of one time.
    """
    known = [f"{name}={getattr(row, name)}@{row.told_at.get(name, '')}" for name in _FIELDS]
    name = "/".join((row.vim_id, row.host, kind, phase, *known, told and f"{told}@{at}"))
    payload = _Payload(row.host, row.is_up, row.forced_down, row.disabled, row.disabled_reason)
    return VmEvent(
        id=str(uuid.uuid5(_NAMESPACE, name)),
        vim_id=row.vim_id,
        instance_id="",
        kind=kind,
        phase=phase,
        old_state="",
        old_task_state="",
        new_state="",
        new_task_state="",
        changed_at=at,
        late=False,
        source=notification.source,
        payload=Raw(_encode(payload)),
        host=row.host,
    )
