"""One instance: everything that is known of it. Decides, and does nothing."""

from typing import Literal

import msgspec

from streams.core.kinds import api_status
from vimfed.model.records import InstanceState, Phase, Source


class InstanceParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for one instance."""

    stale: Literal["ok", ""] = ""
    """``ok``: where its owner cannot answer, what a standby here knows."""


class InstanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one instance."""

    vim_id: str
    instance_id: str
    vm_state: str
    task_state: str | None
    power_state: str | None
    """None where no notification told it."""
    status: str
    """What nova's API calls the two states together."""
    kind: str
    phase: Phase
    changed_at: str
    """The time of the last change of state or action."""
    source: Source
    """Where the state was learned: the cloud's notifications, polling, or a plug-in that pushes."""
    available: bool | None
    """Whether its host is up; None where that is not known."""
    unavailable_since: str | None
    """Since when its host is known to be down."""
    unavailable_reason: str | None
    """``host_down`` or ``host_forced_down``."""
    payload: msgspec.Raw
    """The specification's flat payload."""
    stale: bool | msgspec.UnsetType = msgspec.UNSET
    """True where a standby answered."""
    lag: int | msgspec.UnsetType = msgspec.UNSET
    """By so many changes it was behind, as far as it knew."""
    age: float | msgspec.UnsetType = msgspec.UNSET
    """Seconds since it last knew of every change: a second or so, more where Kafka is away."""


def instance_answer(
    row: InstanceState, available: bool | None, lag: int | None = None, age: float = 0.0
) -> InstanceAnswer:
    """Return everything that is known of one instance; ``lag``, ``age`` where a standby answers."""
    return InstanceAnswer(
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        vm_state=row.vm_state,
        task_state=row.task_state or None,
        power_state=row.power_state or None,
        status=api_status(row.vm_state, row.task_state),
        kind=row.kind,
        phase=row.phase,
        changed_at=row.changed_at,
        source=row.source,
        available=available,
        unavailable_since=row.outage.since if row.outage else None,
        unavailable_reason=row.outage.reason if row.outage else None,
        payload=row.payload,
        stale=msgspec.UNSET if lag is None else True,
        lag=msgspec.UNSET if lag is None else lag,
        age=msgspec.UNSET if lag is None else round(age, 1),
    )
