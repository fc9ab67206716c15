"""The life cycle of an alarm: raised once, perhaps changed, cleared once. Decides, does nothing.

The functions take and return what a row keeps: the active alarms of its source, and the newest
cleared ones, of which the newest is the last. A step that changes nothing is None.
"""

import uuid
from typing import NamedTuple

from msgspec.structs import replace

from vimfed.model.records import Alarm, AlarmStep

MAX_ACTIVE = 64
"""Maximum number of active alarms that one source has from outside; our own conditions are few."""
MAX_CLEARED = 8
"""Maximum number of cleared alarms that a row keeps."""

_NAMESPACE = uuid.UUID("0d8f5c51-6b8a-5e0e-8a55-7d0f2a9b6c31")


class TooManyAlarmsError(Exception):
    """A source has MAX_ACTIVE active alarms: no other one is raised."""

    def __init__(self) -> None:
        super().__init__(f"its source has {MAX_ACTIVE} active alarms: another one is not taken in")


class AlarmText(NamedTuple):
    """What an alert from outside says of itself; empty of our own conditions."""

    severity: str = ""
    name: str = ""
    summary: str = ""


class AlarmChange(NamedTuple):
    """The alarms after a step, and the step; None: nothing has changed."""

    alarms: tuple[Alarm, ...]
    step: AlarmStep | None = None


UNSAID = AlarmText()


def active_alarm(alarms: tuple[Alarm, ...], condition: str) -> Alarm | None:
    """Return the active alarm of a condition; None where there is none."""
    for alarm in alarms:
        if alarm.condition == condition and not alarm.cleared_at:
            return alarm
    return None


def alarm_id(source: bytes, condition: str, event_id: str) -> str:
    """Return the id of the alarm that an event raises; ``source``: the key of its source's row."""
    return str(uuid.uuid5(_NAMESPACE, f"{source.decode()}/{condition}/{event_id}"))


def refuse_another(alarms: tuple[Alarm, ...], condition: str) -> None:
    """Raise TooManyAlarmsError where an alarm of a new condition would be one too many."""
    active = [alarm.condition for alarm in alarms if not alarm.cleared_at]
    if len(active) >= MAX_ACTIVE and condition not in active:
        raise TooManyAlarmsError


def raise_alarm(
    alarms: tuple[Alarm, ...], new_id: str, condition: str, at: str, says: AlarmText = UNSAID
) -> AlarmChange:
    """Raise an alarm, unless the condition has an active one."""
    if active_alarm(alarms, condition) is not None:
        return AlarmChange(alarms)
    alarm = Alarm(
        id=new_id,
        condition=condition,
        started_at=at,
        changed_at=at,
        severity=says.severity,
        name=says.name,
        summary=says.summary,
    )
    return AlarmChange((*alarms, alarm), _step("raised", alarm))


def change_alarm(
    alarms: tuple[Alarm, ...], condition: str, at: str, says: AlarmText
) -> AlarmChange:
    """Change what an active alarm says; nothing changes where it says so already."""
    alarm = active_alarm(alarms, condition)
    if alarm is None or says == (alarm.severity, alarm.name, alarm.summary):
        return AlarmChange(alarms)
    changed = replace(alarm, sequence=alarm.sequence + 1, changed_at=at, **says._asdict())
    after = tuple(changed if each is alarm else each for each in alarms)
    return AlarmChange(after, _step("changed", changed))


def clear_alarm(alarms: tuple[Alarm, ...], condition: str, at: str) -> AlarmChange:
    """Clear the active alarm of a condition; nothing changes where there is none."""
    alarm = active_alarm(alarms, condition)
    if alarm is None:
        return AlarmChange(alarms)
    cleared = replace(alarm, sequence=alarm.sequence + 1, changed_at=at, cleared_at=at)
    after = (*(each for each in alarms if each is not alarm), cleared)
    if sum(bool(each.cleared_at) for each in after) > MAX_CLEARED:
        oldest = next(each for each in after if each.cleared_at)
        after = tuple(each for each in after if each is not oldest)
    return AlarmChange(after, _step("cleared", cleared))


def _step(step: str, alarm: Alarm) -> AlarmStep:
    return AlarmStep(
        step=step,  # type: ignore[arg-type]
        id=alarm.id,
        condition=alarm.condition,
        started_at=alarm.started_at,
        sequence=alarm.sequence,
        severity=alarm.severity,
        name=alarm.name,
        summary=alarm.summary,
    )
