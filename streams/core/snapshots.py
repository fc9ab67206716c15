"""The events by which a snapshot tells one output the present state of instances."""

import uuid
from typing import Literal

import msgspec
from msgspec import UNSET

from streams.core.kinds import STATE_SNAPSHOT
from vimfed.model.records import InstanceState, VmEvent

_NAMESPACE = uuid.UUID("0b1f7a4e-6a0d-5c1e-9f53-5a6f2f1c7d18")
_encode = msgspec.json.Encoder().encode


def state_event(row: InstanceState, name: str, snapshot_id: str) -> VmEvent:
    """Return the event that tells the state of a row, for the snapshot ``name``.

    The same row has the same id whenever it is told for the same snapshot.
    """
    about = f"{snapshot_id}/{row.vim_id}/{row.instance_id}/{row.revision}/{row.changed_at}"
    return VmEvent(
        id=str(uuid.uuid5(_NAMESPACE, about)),
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        kind=STATE_SNAPSHOT,
        phase="end",
        old_state=row.vm_state,
        old_task_state=row.task_state,
        new_state=row.vm_state,
        new_task_state=row.task_state,
        changed_at=row.changed_at,
        late=False,
        source=row.source,
        payload=row.payload,
        host=row.outage.host if row.outage else UNSET,
        reason=row.outage.reason if row.outage else UNSET,
        snapshot=name,
    )


def boundary_event(
    vim_id: str,
    phase: Literal["start", "end"],
    name: str,
    snapshot_id: str,
    at: str,
    instances: int | None = None,
) -> VmEvent:
    """Return the event before, or after, all of a cloud's; ``instances``: how many these are."""
    payload = {"snapshot": name} if instances is None else {"snapshot": name, "told": instances}
    return VmEvent(
        id=str(uuid.uuid5(_NAMESPACE, f"{snapshot_id}/{vim_id}/{phase}")),
        vim_id=vim_id,
        instance_id="",
        kind=STATE_SNAPSHOT,
        phase=phase,
        old_state="",
        old_task_state="",
        new_state="",
        new_task_state="",
        changed_at=at,
        late=False,
        source="snapshot",
        payload=msgspec.Raw(_encode(payload)),
        snapshot=name,
    )
