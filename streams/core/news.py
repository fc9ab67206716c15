"""What a notification says about an instance, and what follows from it: records, no behaviour."""

from typing import Literal

import msgspec

from streams.core.memory import Teller
from streams.core.payloads import Payload
from vimfed.model.records import InstanceState, Notification, Phase, Version, VmEvent

PassReason = Literal[
    "not_instance", "audit", "failure", "unknown_action", "unknown_version", "malformed_payload"
]

Result = Literal[
    "changed",  # the state changed; where an action says so, its event was told
    "told",  # the state stayed; an event was told
    "unchanged",  # newer, but it says nothing new
    "known",  # an action that has been told already; the state stayed
    "duplicate",  # this very message came before
    "late",  # older than the state
    "after_deletion",  # the instance is deleted and stays so
    "stale",  # a copy that tells an action, but no state
    "too_late",  # older than what the row remembers: nobody knows whether it has been told
    "unknown_deleted",  # of an instance whose row has been swept
    "agrees",  # a report of what is known already: it leaves no trace
]


class InstanceNews(msgspec.Struct, frozen=True, gc=False):
    """What one notification says about one instance, in one form for both formats."""

    notification: Notification
    instance_id: str
    kind: str
    phase: Phase
    is_update: bool
    """An update tells no action; ``kind`` and ``phase`` are those of what only updates tell."""
    tells_state: bool
    """Whether the states below are the instance's, and not a stale copy or unknown."""
    vm_state: str
    task_state: str
    """Empty at rest."""
    power_state: str
    """Empty where the format does not tell it."""
    old_vm_state: str
    old_task_state: str
    """What an update says that there was before; nova replaces a null by the new value."""
    operation: str
    """The request id, the same in all notifications of one API call; else the message id."""
    apart: str
    """What tells apart the several times that one request can make an action happen: see
    ``Action.told_apart_by``; else empty."""
    teller: Teller
    timestamp: str
    """The sender's clock: ISO 8601, UTC, microseconds, ``Z``; the arrival if it told no time."""
    timestamp_ms: int
    """The same in milliseconds since 1970."""
    changed_at: str
    """Since when it is so: for nova's own notifications the timestamp."""
    payload: Payload
    """As it came; encode_flat of payloads.py makes it the specification's."""
    is_sparse: bool = False
    """The payload says little more than the state: better to keep what is known already."""
    is_report: bool = False
    """Not nova's notification, but what somebody found: it may say what is known already."""
    is_inferred: bool = False
    """Kind and phase follow from the states before and after."""


class Passed(msgspec.Struct, frozen=True, gc=False):
    """A notification that says nothing about an instance's state, or nothing that we understand."""

    reason: PassReason
    event_type: str


class Telling(msgspec.Struct, frozen=True, gc=False):
    """What is told by a piece of news, as far as the row remembers."""

    told: bytes
    """What the row has told, with it."""
    forgotten: int
    """Time of the newest identity that had to be forgotten, in ms since 1970; -1: none was."""
    digest: bytes = b""
    """The SHA-1 of the event's identity, as UUIDv5 takes it; empty where nothing is told."""
    is_known: bool = False
    """Whether it has been told before."""
    is_too_late: bool = False
    """Whether it may have been told before, and forgotten."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a piece of news stands among what is known of its instance."""

    version: Version
    clock: int
    """Tag of its sender's clock."""
    is_fresh: bool
    """Whether it is not the redelivery of a message that has been forgotten."""
    in_order: bool
    """Whether all that came before it on its queue is known."""
    is_of_old_copy: bool
    applies: bool
    """Whether its state is the newest."""
    changes: bool
    """Whether that is another state than before."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What follows from one piece of news."""

    result: Result
    row: InstanceState | None = None
    """The row to write; None leaves it as it is."""
    events: tuple[VmEvent, ...] = ()
