"""Whether an instance is available: its row beside that of its host. Pure.

An episode begins when the host of an instance is down, and ends when it is not, or when the
instance is no longer there. One event tells each: they raise and clear the alarm vm_unavailable.
A deleted or offloaded server, and one without a host, has none. The reason may change within an
episode: nobody is told of that.
"""

import uuid
from typing import Literal, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from streams.core.alarms import AlarmChange, alarm_id, clear_alarm, raise_alarm
from streams.core.hosts import down_reason
from streams.core.payloads import host_of_payload
from streams.core.placement import is_down
from streams.core.revision import next_revision
from vimfed.model.keys import instance_key
from vimfed.model.records import (
    SCHEMA_VERSION,
    Alarm,
    HostState,
    InstanceState,
    Notification,
    Outage,
    Phase,
    VmEvent,
)
from vimfed.nova.states import DELETED

UNAVAILABLE = "UNAVAILABLE"
"""Kind of the two events of an episode."""
UNAVAILABLE_ALARM = "vm_unavailable"
"""Condition of the alarm that they raise and clear."""
NOWHERE = (DELETED, "shelved_offloaded")
"""vm_states of servers that are on no host, whatever their payload says."""

EndReason = Literal["host_up", "host_gone", "moved", "deleted", "shelved_offloaded"]

_NAMESPACE = uuid.UUID("c7a3d0c4-6a39-5b52-8ff0-0f6f9f0f2b0e")


class Compared(NamedTuple):
    """What follows from comparing an instance with its host."""

    row: InstanceState
    """The same object where nothing has changed."""
    events: tuple[VmEvent, ...] = ()


def host_of_row(row: InstanceState) -> str:
    """Return the name of the host that a row's payload names; empty where it names none."""
    return host_of_payload(row.payload)


def compared(
    row: InstanceState, host: HostState | None, notification: Notification, offset: int, at: str
) -> Compared:
    """Return an instance's row as its host's row wants it, and what is told of that.

    ``host`` is the row of the host that the instance's row names. ``notification``, which lies at
    ``offset``, has told either of them something at the time ``at``.
    """
    wanted = _wanted(row, host, at)
    outage = row.outage
    if outage == wanted:
        return Compared(row)
    if outage is not None and wanted is not None and outage.host == wanted.host:
        return Compared(_written(row, wanted, row.alarms, notification, offset))
    events: list[VmEvent] = []
    alarms = row.alarms
    if outage is not None:
        since = max(at, outage.since)
        ended = _event(row, outage, "end", notification, since)
        change = clear_alarm(alarms, UNAVAILABLE_ALARM, since)
        events.append(
            replace(ended, reason=_end_reason(row, outage, host), alarm=change.step or UNSET)
        )
        alarms = change.alarms
    if wanted is not None:
        begun = _event(row, wanted, "start", notification, wanted.since)
        change = _raised(row, alarms, begun)
        events.append(replace(begun, reason=wanted.reason, alarm=change.step or UNSET))
        alarms = change.alarms
    return Compared(_written(row, wanted, alarms, notification, offset), tuple(events))


def _raised(row: InstanceState, alarms: tuple[Alarm, ...], begun: VmEvent) -> AlarmChange:
    key = instance_key(row.vim_id, row.instance_id)
    new_id = alarm_id(key, UNAVAILABLE_ALARM, begun.id)
    return raise_alarm(alarms, new_id, UNAVAILABLE_ALARM, begun.changed_at)


def _wanted(row: InstanceState, host: HostState | None, at: str) -> Outage | None:
    """Return the outage that a row should have."""
    if host is None or not is_down(host) or row.vm_state in NOWHERE:
        return None
    known = row.outage
    # An instance that comes to a host that is down is unavailable since it came.
    since = (
        known.since if known is not None and known.host == host.host else max(host.down_since, at)
    )
    return Outage(since, down_reason(host), host.host)


def _end_reason(row: InstanceState, outage: Outage, host: HostState | None) -> EndReason:
    if row.vm_state == DELETED:
        return "deleted"
    if row.vm_state == "shelved_offloaded":
        return "shelved_offloaded"
    if host_of_row(row) != outage.host:
        return "moved"
    return "host_gone" if host is None else "host_up"


def _written(
    row: InstanceState,
    outage: Outage | None,
    alarms: tuple[Alarm, ...],
    notification: Notification,
    offset: int,
) -> InstanceState:
    return replace(
        row,
        schema_version=SCHEMA_VERSION,
        outage=outage,
        alarms=alarms,
        received_at=max(row.received_at, notification.received_at),
        source_offset=offset,
        revision=next_revision(row.revision, notification.received_at),
    )


def _event(
    row: InstanceState, outage: Outage, phase: Phase, notification: Notification, at: str
) -> VmEvent:
    name = "/".join(
        (row.vim_id, row.instance_id, phase, outage.host, outage.since, notification.message_id)
    )
    return VmEvent(
        id=str(uuid.uuid5(_NAMESPACE, name)),
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        kind=UNAVAILABLE,
        phase=phase,
        old_state=row.vm_state,
        old_task_state=row.task_state,
        new_state=row.vm_state,
        new_task_state=row.task_state,
        changed_at=at,
        late=False,
        source=notification.source,
        payload=row.payload,
        host=outage.host,
    )
