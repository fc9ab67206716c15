"""What is told of a cloud itself: whether it says how its hosts are, and heartbeats. Pure."""

from typing import NamedTuple

from msgspec.structs import replace

from streams.core.hosts import time_of
from streams.core.revision import next_revision
from vimfed.model.records import CloudState, Notification, VmEvent
from vimfed.nova.host_report import CloudReport

HEARTBEAT_KIND = "HEARTBEAT"
"""Kind of the event that a bridge's heartbeat tells."""


class CloudOutcome(NamedTuple):
    """What follows from a cloud report."""

    result: str
    """``changed``, ``unchanged`` or ``late``."""
    row: CloudState | None = None
    """The row to write; None leaves it as it is."""


def apply_cloud_report(
    row: CloudState | None, report: CloudReport, notification: Notification, offset: int
) -> CloudOutcome:
    """Return what a report, which lies at ``offset`` in its topic, makes of a cloud's ``row``.

    What is not newer than the row changes nothing.
    """
    at = time_of(notification)
    before = row or CloudState(vim_id=notification.vim_id)
    was_known = not before.hosts_unknown_since
    if row is not None and report.is_known == was_known:
        return CloudOutcome("unchanged")
    if row is not None and at <= row.told_at:
        return CloudOutcome("late")
    after = replace(
        before,
        hosts_unknown_since="" if report.is_known else at,
        told_at=at,
        received_at=notification.received_at,
        source_offset=offset,
        revision=next_revision(before.revision, notification.received_at),
    )
    return CloudOutcome("changed", after)


def heartbeat_event(notification: Notification) -> VmEvent:
    """Return the event that a heartbeat tells."""
    return VmEvent(
        id=notification.message_id,
        vim_id=notification.vim_id,
        instance_id="",
        kind=HEARTBEAT_KIND,
        phase="end",
        old_state="",
        old_task_state="",
        new_state="",
        new_task_state="",
        changed_at=time_of(notification),
        late=False,
        source=notification.source,
        payload=notification.payload,
    )
