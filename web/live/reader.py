"""Who follows the events: what each wants, how far it has been told, and what all share."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.kinds import EVENT_KINDS
from streams.subscriptions.filters import Matcher, Subscription
from vimfed.model.records import Phase
from web.auth.caller import Caller
from web.live.event_ring import EventRing, LiveEvent, RingEntry
from web.queries.instance_search import kind_names

MAX_LOOKED_AT = 2000
"""Entries that a poll looks at before others get their turn: about two milliseconds."""
MAX_ANSWER = 2_000_000
"""Bytes of text after which no further event is added to the answer to a poll."""


class EventFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the events of some clouds are told; without parameters all are."""

    kind: Annotated[list[str], Meta(description="events of these kinds")] = []
    phase: Annotated[list[Phase], Meta(description="events of these phases")] = []
    tenant_id: Annotated[list[str], Meta(description="of these tenants (project ids)")] = []
    instance_id: Annotated[list[str], Meta(description="of these instances")] = []

    def of(self, clouds: Sequence[str]) -> Subscription:
        """Return what is wanted of ``clouds``; none: of all. Raises ApiError (400)."""
        return Subscription(
            clouds=tuple(clouds),
            kinds=kind_names(self.kind, EVENT_KINDS),
            phases=tuple(self.phase),
            tenants=tuple(self.tenant_id),
            instances=tuple(self.instance_id),
        )


class Reader:
    """Somebody who follows the events, and how far it has been told."""

    def __init__(self, subscription: Subscription, caller: Caller, who: str) -> None:
        self.filter: Hashable = (subscription, caller.clouds, caller.tenants)
        """Whoever has the same is told the same."""
        self._matcher = Matcher(subscription)
        self.caller = caller
        self.who = who
        """Whose share of the readers it is of: the caller's name; without a login, its address."""
        self.next: int | None = None
        """Number of the ring's entry that comes next; None until there is a place to begin."""
        self.ended = asyncio.Event()

    def wants(self, entry: RingEntry) -> bool:
        """Return whether it is told of an event."""
        return (
            self._matcher.wants(entry.event, entry.tenant_id)
            and self.caller.may_see(entry.event.vim_id)
            # What is about a host or a cloud is no tenant's.
            and self.caller.may_see_tenants([entry.tenant_id] if entry.event.instance_id else [])
        )


class Poll(Reader):
    """Somebody who waits for the first event that it wants, at a place in a ring."""

    next: int

    def __init__(
        self,
        subscription: Subscription,
        caller: Caller,
        who: str,
        ring: EventRing,
        begin: int,
        has_left: Callable[[], bool],
    ) -> None:
        super().__init__(subscription, caller, who)
        self.ring = ring
        self.next = begin
        self._has_left = has_left

    @property
    def has_missed(self) -> bool:
        """Whether events that follow its place are not held any more."""
        return self.next < self.ring.first

    def look(self) -> bool:
        """Go on to the first event that it wants, and end the wait there; return whether more
        may follow that has not been looked at.
        """
        most = self.next + MAX_LOOKED_AT
        while not self.has_missed and self.next < min(most, self.ring.next):
            if self.wants(self.ring[self.next]):
                self.ended.set()
                return False
            self.next += 1
        if self.has_missed or self._has_left():
            self.ended.set()
        return self.next < self.ring.next and not self.ended.is_set()

    def take(self, limit: int) -> list[LiveEvent]:
        """Return up to ``limit`` of the events that it wants, the oldest first, and go on."""
        taken: list[LiveEvent] = []
        size = 0
        most = min(self.next + MAX_LOOKED_AT, self.ring.next)
        while self.next < most and len(taken) < limit and size < MAX_ANSWER:
            entry = self.ring[self.next]
            self.next += 1
            if self.wants(entry):
                taken.append(entry.event)
                size += len(entry.frame)
        return taken
