"""The alarms that an instance's own news raises and clears. Pure.

===========================  =======================================================================
condition                    raised and cleared
===========================  =======================================================================
``vm_error``                 by the first event that is not late after which the row is in error; by
                             the first end of an action (or STATE) that is not late after which it
                             is not
``action_failed/<KIND>``     of the kinds in the setting ``worker.action_failures``: by an action's
                             error that leaves the vm_state as it was, and is not an error itself;
                             by the next end of that action
``action_ended/<KIND>``      of the kinds in the setting ``worker.action_ends``: by an action's end;
                             by the next end of another one that leaves the vm_state ``active``
===========================  =======================================================================

Where the row says that the instance is deleted, the next event clears all of them. A row that gets
into error, or out of it, by news that tells no event keeps its alarms as they are until the next
event does: so does a row of release 0.1.0, which has none. An event carries one step at most: what
a second one does is carried by a STATE event behind it, whose id follows from the alarm's. So is
the end of what a deletion ends that nobody tells: it comes when the row is to be removed.
"""

import uuid
from typing import NamedTuple

from msgspec.structs import replace

from streams.core.alarms import alarm_id, clear_alarm, raise_alarm
from streams.core.availability import UNAVAILABLE_ALARM
from streams.core.kinds import STATE
from streams.core.news import Outcome
from vimfed.model.keys import instance_key
from vimfed.model.records import AlarmStep, InstanceState, VmEvent
from vimfed.nova.states import DELETED

ERROR = "error"
ERROR_ALARM = "vm_error"
"""Condition of the alarm of an instance in error."""
FAILED = "action_failed/"
"""Begin of the conditions of the alarms of actions that failed."""
ENDED = "action_ended/"
"""Begin of the conditions of the alarms of actions that ended."""

_NAMESPACE = uuid.UUID("3f3b7d0a-3c5c-5f3b-8e3e-54e0b7d9a0c4")


class AlarmedActions(NamedTuple):
    """Kinds of actions that are alarms by the settings."""

    failures: frozenset[str] = frozenset()
    """``worker.action_failures``"""
    ends: frozenset[str] = frozenset()
    """``worker.action_ends``"""

    @property
    def are_none(self) -> bool:
        """Whether no action is an alarm."""
        return not (self.failures or self.ends)


NO_ACTIONS = AlarmedActions()


def with_alarms(
    before: InstanceState | None, outcome: Outcome, actions: AlarmedActions = NO_ACTIONS
) -> Outcome:
    """Return an outcome with the steps of alarms in its row and events.

    ``before`` is the row before, ``outcome`` what streams/core/transition.py makes of it.
    """
    row = outcome.row
    if row is None or (row.vm_state != ERROR and not row.alarms and actions.are_none):
        return outcome
    event = _carrier(row, outcome.events)
    if event is None:
        return outcome
    alarms, at = row.alarms, event.changed_at
    steps: list[AlarmStep | None] = []
    for condition in _to_clear(row, event):
        alarms, step = clear_alarm(alarms, condition, at)
        steps.append(step)
    raised = _to_raise(before, row, event, actions)
    if raised is not None:
        new_id = alarm_id(instance_key(row.vim_id, row.instance_id), raised, event.id)
        alarms, step = raise_alarm(alarms, new_id, raised, at)
        steps.append(step)
    made = [step for step in steps if step is not None]
    if not made:
        return outcome
    row = replace(row, alarms=alarms)
    return Outcome(outcome.result, row, _carried(outcome.events, event, made, row))


def has_alarms(row: InstanceState) -> bool:
    """Return whether a row has active alarms."""
    return any(not alarm.cleared_at for alarm in row.alarms)


def without_alarms(row: InstanceState, now: str) -> tuple[InstanceState, list[VmEvent]]:
    """Return the row of an instance that was deleted long ago without active alarms, and events.

    Nobody has told an end of the deletion that could have carried their last steps.
    """
    alarms, events = row.alarms, []
    for condition in [alarm.condition for alarm in row.alarms if not alarm.cleared_at]:
        alarms, step = clear_alarm(alarms, condition, now)
        if step is not None:
            events.append(_state_event(step, row, now))
    return replace(row, alarms=alarms, revision=row.revision + 1), events


def _carrier(row: InstanceState, events: tuple[VmEvent, ...]) -> VmEvent | None:
    """Return the event that may carry a step; a late one only of what is deleted for good."""
    for event in events:
        if not event.late or row.vm_state == DELETED:
            return event
    return None


def _to_raise(
    before: InstanceState | None,
    row: InstanceState,
    event: VmEvent,
    actions: AlarmedActions,
) -> str | None:
    if row.vm_state == ERROR:
        return ERROR_ALARM
    if row.vm_state == DELETED:
        return None
    if event.phase == "end" and event.kind in actions.ends:
        return ENDED + event.kind
    failed = event.phase == "error" and event.kind in actions.failures
    stays = before is not None and before.vm_state == row.vm_state
    return FAILED + event.kind if failed and stays else None


def _to_clear(row: InstanceState, event: VmEvent) -> list[str]:
    """Return the conditions whose alarms end, if they have one."""
    active = [each.condition for each in row.alarms if not each.cleared_at]
    if row.vm_state == DELETED:
        return [each for each in active if each != UNAVAILABLE_ALARM]
    if event.phase != "end":
        return []
    over = {FAILED + event.kind}
    if row.vm_state != ERROR:
        over.add(ERROR_ALARM)
    if row.vm_state == "active":
        over |= {each for each in active if each.startswith(ENDED)} - {ENDED + event.kind}
    return [each for each in active if each in over]


def _carried(
    events: tuple[VmEvent, ...], event: VmEvent, steps: list[AlarmStep], row: InstanceState
) -> tuple[VmEvent, ...]:
    """Return the events with the steps: the first one in ``event``, others in events of theirs."""
    first = replace(event, alarm=steps[0])
    further = (_state_event(step, row, event.changed_at) for step in steps[1:])
    return (*(first if each is event else each for each in events), *further)


def _state_event(step: AlarmStep, row: InstanceState, at: str) -> VmEvent:
    return VmEvent(
        id=str(uuid.uuid5(_NAMESPACE, f"{step.id}/{step.step}/{step.sequence}")),
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        kind=STATE,
        phase="end",
        old_state=row.vm_state,
        old_task_state=row.task_state,
        new_state=row.vm_state,
        new_task_state=row.task_state,
        changed_at=at,
        late=False,
        source=row.source,
        payload=row.payload,
        alarm=step,
    )
