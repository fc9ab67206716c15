"""Bare states and found actions, as the poller and the plug-ins send them."""

from datetime import timedelta
from typing import Any

import msgspec

from tests.support.nova_messages import BEGIN, INSTANCE, VIM
from vimfed.model.records import Notification, Phase, Source
from vimfed.nova.bare_state import BareState, FoundAction, bare_state_notification


def api_time(seconds: float) -> str:
    """Return a time as bare states carry it."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="microseconds") + "Z"


def bare(
    state: str,
    task: str = "",
    *,
    at: float,
    since: float | None = None,
    action: tuple[str, Phase, str] | None = None,
    host: str = "",
    instance: str = INSTANCE,
    known: dict[str, Any] | None = None,
    source: Source = "poller",
    path: str = "poller",
    sequence: int = 0,
    received: float | None = None,
) -> Notification:
    """Return what ``state`` and ``action`` (kind, phase, request id) say; times in seconds."""
    told = BareState(
        instance_id=instance,
        state=state,
        state_description=task,
        timestamp=api_time(at),
        changed_at="" if since is None else api_time(since),
        known={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in known.items()}
        if known
        else {},
    )
    found = None
    if action is not None:
        kind, phase, request = action
        found = FoundAction(
            kind=kind,
            phase=phase,
            request_id=request,
            host=host,
            at=api_time(at if since is None else since),
        )
    return bare_state_notification(
        VIM,
        told,
        source=source,
        path=path,
        sequence=sequence,
        received_at=api_time(at if received is None else received),
        action=found,
    )
