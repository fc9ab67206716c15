"""Alerts from outside: what a monitor's report makes of its source's alarms. Decides, does nothing.

The fold (streams/core/fold.py) calls apply_alert and expire_alerts, and encodes what they return.
The rules:

1. Reports have the order of the times at which they were true (``Notification.timestamp``). A
   report that is not newer than the last one of its condition is late, and changes nothing. The
   clocks of two workers that were told differ: so what names a newer start than any before it, or
   resolves the very start of the active alarm, is no late report. A record that is read again, by
   its offset and its arrival, changes nothing either.
2. A report that an alert is active raises an alarm where the condition has no active one, whether
   it names a new start or that of an alarm which has been cleared: a Prometheus that was away for a
   while tells the old start again. Where the condition has an active alarm it is a repetition, also
   with another start: an Alertmanager that was started again, or another Prometheus of a pair,
   tells another one. A repetition renews the expiry; it is told only where it says something new.
3. A report that an alert is resolved clears the active alarm; without one it changes nothing.
4. An alarm that is not told again until it expires is cleared with the reason ``expired``. Its
   event has the time of the expiry, and is the same whenever that is found out.
5. An alert about an instance that is unavailable says on which host.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from streams.core.alarms import (
    AlarmChange,
    AlarmText,
    active_alarm,
    alarm_id,
    change_alarm,
    clear_alarm,
    raise_alarm,
    refuse_another,
)
from streams.core.revision import next_revision
from vimfed.model.keys import alerts_key
from vimfed.model.records import (
    AlarmStep,
    HostState,
    InstanceState,
    Notification,
    SourceAlerts,
    VmEvent,
)
from vimfed.model.times import utc_text
from vimfed.nova.alert_report import AlertReport

KIND = "ALERT"
"""Kind of the events."""
EXPIRE_AFTER = 86400.0
"""Seconds without a repetition after which an alarm ages out, by default."""
REMOVED = ""
"""In ``SourceAlerts.expires``: when a row without an active alarm is removed."""
NEVER = "9999-12-31T23:59:59.999999Z"
"""When something expires that nobody can tell the time of."""

_NAMESPACE = uuid.UUID("4b1f5b0a-3f0e-5a51-8d5c-6f8f8f0c2a77")
_encode = msgspec.json.Encoder().encode


class About(NamedTuple):
    """What the table knows of an alert's source when the alert is told."""

    instance: InstanceState | None = None
    """The row of the instance that it is about."""
    host: HostState | None = None
    """The row of the host that it is about, or on which the instance is."""


NOBODY = About()


class AlertOutcome(NamedTuple):
    """What follows from one alert report, or from time."""

    result: str
    """A word for the metric vimfed_worker_outcomes."""
    row: SourceAlerts | None = None
    """The row to write; None leaves it as it is."""
    events: tuple[VmEvent, ...] = ()
    is_removed: bool = False
    """Whether the row is deleted."""


def apply_alert(
    row: SourceAlerts | None,
    report: AlertReport,
    notification: Notification,
    about: About,
    offset: int,
    *,
    expire_after: float = EXPIRE_AFTER,
) -> AlertOutcome:
    """Return what a report, which lies at ``offset`` in its topic, makes of its source's ``row``.

    ``expire_after``: seconds without a repetition after which the alarm ages out. Raises
    TooManyAlarmsError (streams/core/alarms.py): the record is a dead letter then.
    """
    condition = condition_of(report)
    received_at = notification.received_at or notification.timestamp
    known = row or SourceAlerts(
        vim_id=notification.vim_id, instance_id=report.instance_id, host=report.host
    )
    is_read_again = offset <= known.source_offset and received_at <= known.received_at
    if is_read_again or _is_late(known, report, notification.timestamp):  # rule 1
        return AlertOutcome("late")
    aged = expire_alerts(known, received_at, about)  # rule 4
    current = aged.row or known
    change, event_id = _changed(current, condition, report, notification, about)
    alarm = active_alarm(change.alarms, condition)
    if change.step is None and alarm is None:  # rule 3
        return aged._replace(result="unchanged")
    after = replace(
        current,
        alarms=change.alarms,
        expires=_expires(current, change, condition, _later(received_at, expire_after)),
        told_at=_newest(current.told_at, change, condition, notification.timestamp),
        newest_start=_newest(current.newest_start, change, condition, report.started_at),
        source=notification.source,
        received_at=max(received_at, current.received_at),
        source_offset=offset,
        revision=next_revision(current.revision, received_at),
    )
    events = aged.events
    if change.step is not None:
        events += (_event(after, change, change.step, event_id, about, report),)
    return AlertOutcome("unchanged" if change.step is None else "told", after, events)


def expire_alerts(row: SourceAlerts, now: str, about: About = NOBODY) -> AlertOutcome:
    """Return what ages out until ``now``, the time at which the newest notification was received.

    It is asked where one of ``row.expires`` is not later than ``now``.
    """
    due = sorted((at, condition) for condition, at in row.expires.items() if at <= now)
    if not due:
        return AlertOutcome("unchanged")
    events: tuple[VmEvent, ...] = ()
    for at, condition in due:
        if condition == REMOVED:
            return AlertOutcome("removed", is_removed=True)
        change = clear_alarm(row.alarms, condition, at)
        expires = {each: until for each, until in row.expires.items() if each != condition}
        row = replace(row, alarms=change.alarms, expires=expires)
        if change.step is not None:
            event_id = _event_id(row, condition, f"expired/{change.step.id}")
            events += (_event(row, change, change.step, event_id, about, reason="expired"),)
    if not row.expires:
        row = replace(row, expires={REMOVED: _later(due[-1][0], EXPIRE_AFTER)})
    row = replace(row, received_at=now, revision=next_revision(row.revision, now))
    return AlertOutcome("expired", row, events)


def condition_of(report: AlertReport) -> str:
    """Return the condition of the alarm that a report is about."""
    return f"alert/{report.fingerprint}"


def _is_late(row: SourceAlerts, report: AlertReport, now: str) -> bool:
    condition = condition_of(report)
    told_at = row.told_at.get(condition, "")
    if now >= told_at:
        return now == told_at
    if report.is_active:
        return report.started_at <= row.newest_start.get(condition, "")
    alarm = active_alarm(row.alarms, condition)
    return alarm is None or report.started_at != alarm.started_at


def _changed(
    row: SourceAlerts,
    condition: str,
    report: AlertReport,
    notification: Notification,
    about: About,
) -> tuple[AlarmChange, str]:
    """Return what a report makes of the alarms, and the id of the event that tells of it."""
    event_id = _event_id(row, condition, notification.message_id)
    alarm = active_alarm(row.alarms, condition)
    now = notification.timestamp
    if not report.is_active:
        ended_at = min(report.ended_at or now, now)
        at = max(alarm.changed_at, ended_at) if alarm else ended_at
        return clear_alarm(row.alarms, condition, at), event_id
    says = AlarmText(
        severity=report.severity,
        name=report.name or (alarm.name if alarm else ""),
        summary=_summary(report, about),
    )
    if alarm is not None:
        return change_alarm(row.alarms, condition, max(alarm.changed_at, now), says), event_id
    new_id = alarm_id(_key(row), condition, event_id)
    started_at = min(report.started_at or now, now)
    before = [each.cleared_at for each in row.alarms if each.condition == condition]
    refuse_another(row.alarms, condition)
    return raise_alarm(row.alarms, new_id, condition, max(started_at, *before, ""), says), event_id


def _summary(report: AlertReport, about: About) -> str:
    """Return a report's summary, and where its instance is on a host that is down (rule 5)."""
    outage = about.instance.outage if about.instance is not None else None
    return report.summary if outage is None else f"{report.summary} (host {outage.host} is down)"


def _expires(row: SourceAlerts, change: AlarmChange, condition: str, later: str) -> dict[str, str]:
    expires = {each: at for each, at in row.expires.items() if each not in (condition, REMOVED)}
    if active_alarm(change.alarms, condition) is not None:
        expires[condition] = later
    return expires or {REMOVED: later}


def _newest(
    known: Mapping[str, str], change: AlarmChange, condition: str, time: str
) -> dict[str, str]:
    """Return the newest times by condition, of the alarms that are kept, after another one."""
    kept = {each.condition for each in change.alarms}
    times = {each: at for each, at in known.items() if each in kept}
    return times | {condition: max(time, known.get(condition, ""))}


def _later(time: str, seconds: float) -> str:
    try:
        return utc_text(datetime.fromisoformat(time) + timedelta(seconds=seconds))
    except (ValueError, OverflowError):  # nobody has stamped it
        return NEVER


def _key(row: SourceAlerts) -> bytes:
    return alerts_key(row.vim_id, row.instance_id, row.host)


def _event_id(row: SourceAlerts, condition: str, cause: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{_key(row).decode()}/{condition}/{cause}"))


def _event(
    row: SourceAlerts,
    change: AlarmChange,
    step: AlarmStep,
    event_id: str,
    about: About,
    report: AlertReport | None = None,
    reason: str = "resolved",
) -> VmEvent:
    instance = about.instance
    state = ("", "") if instance is None else (instance.vm_state, instance.task_state)
    is_end = step.step == "cleared"
    alarm = next(each for each in change.alarms if each.id == step.id)
    return VmEvent(
        id=event_id,
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        kind=KIND,
        phase="end" if is_end else "start",
        old_state=state[0],
        old_task_state=state[1],
        new_state=state[0],
        new_task_state=state[1],
        changed_at=alarm.changed_at,
        late=False,
        source=row.source,
        payload=_payload(row, step, instance, report),
        host=row.host or UNSET,
        reason=reason if is_end else UNSET,
        alarm=step,
    )


def _payload(
    row: SourceAlerts,
    step: AlarmStep,
    instance: InstanceState | None,
    report: AlertReport | None,
) -> Raw:
    if instance is not None:
        return instance.payload
    if row.instance_id:
        return Raw(_encode({"instance_id": row.instance_id}))
    told = {"name": step.name, "severity": step.severity, "summary": step.summary}
    labels = {} if report is None else report.labels
    return Raw(_encode({**({"host": row.host} if row.host else {}), **told, "labels": labels}))
