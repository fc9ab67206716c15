"""Delivery to one DMaaP output: what is tried again, for how long, and what is given up."""

import asyncio
import logging
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from vimfed.kafka.aio import ConsumerRecord
from vimfed.kafka.appending import halves
from vimfed.process.backoff import Backoff

LOG = logging.getLogger(__name__)

FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
MAX_RETRY_AFTER = 600.0
"""Seconds for which we let a server put us off at most."""
ALARM_EVERY = 60.0
LOOK_EVERY = 0.2
"""Seconds between two looks whether a delivery has to be abandoned."""
GRACE = 2.0
"""Seconds that an attempt under way gets to end when the partition is to be left."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message for DMaaP, and the record of the events topic that it tells of."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    source: ConsumerRecord
    domain: str = ""
    """VES's; empty of other formats. A collector takes no request with messages of several."""
    replayed_at: int = 0
    """When Kafka took the replay that asks for it to be sent, in ms since 1970; 0: none does."""
    project_id: str = ""
    """Whose it is alone, where each project has a topic of its own; else empty."""


class PartlyTakenError(Exception):
    """An attempt has ended, and the output has ``taken`` these messages alone.

    Of one key it has taken the first ones: what is left can be sent after them.
    """

    def __init__(self, reason: str, taken: Sequence[Message] = ()) -> None:
        super().__init__(reason)
        self.taken = taken


class DeliveryError(PartlyTakenError):
    """Not delivered, or nobody knows; trying again may help, after ``retry_after`` seconds.

    ``too_slow``: the messages were sent, and the time was over before the output had all of them.
    ``is_circuit_open``: nothing is sent to the output until then, whatever there is.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        *,
        too_slow: bool = False,
        is_circuit_open: bool = False,
        taken: Sequence[Message] = (),
    ) -> None:
        super().__init__(reason, taken)
        self.retry_after = retry_after
        self.too_slow = too_slow
        self.is_circuit_open = is_circuit_open


class RefusedError(PartlyTakenError):
    """The output does not take the others together, however often they are sent."""


class AbandonedError(Exception):
    """We leave the partition to its new owner, or end; nothing of the batch is committed."""


class Output(Protocol):
    """A place on DMaaP that takes messages."""

    request_bytes: int
    """How much of messages one call of ``deliver`` should carry at most."""

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Return when DMaaP has all messages.

        Raises DeliveryError, RefusedError, or PartlyTakenError where the rest is to be sent now.
        """

    async def close(self) -> None:
        """Close the connections within some seconds."""


class DeliveryFigures(Protocol):
    """Who counts what happens."""

    def delivered(self, count: int) -> None:
        """Count messages that DMaaP has."""

    def retried(self) -> None:
        """Count an attempt that is to be made again."""


class Gate(Protocol):
    """Lets messages through, or holds them back."""

    @property
    def paused_at(self) -> str:
        """Since when they are held back; empty: they are not."""

    @property
    def opened_at(self) -> int:
        """When they were last let through again, in ms since 1970; 0: nobody knows."""

    async def look(self) -> None:
        """Return after some tenths of a second, with newer news where there is any."""


GiveUp = Callable[[Sequence[Message], str], Awaitable[None]]
"""Dead-letters messages, with the reason; returns when Kafka has acknowledged."""


class Delivers(Protocol):
    """Who delivers batches."""

    async def deliver(
        self, messages: Sequence[Message], may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        """Deliver in order; return when each message is on DMaaP or dead-lettered."""


class Delivery:
    """Delivers batches and keeps trying, without ever ending the process.

    Nothing else would come of a restart: the batches wait in Kafka and are not committed.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        *,
        give_up: GiveUp,
        give_up_after: float,
        figures: DeliveryFigures,
        gate: Gate,
    ) -> None:
        """``give_up_after`` is in seconds since Kafka took the event, or the gate was opened."""
        self._name = name
        self._output = output
        self._give_up = give_up
        self._give_up_after = give_up_after
        self._figures = figures
        self._gate = gate
        self._not_before = 0.0
        """Until when (monotonic) the output has asked to be left alone."""
        self.failing_since: float | None = None
        """When the first of the attempts was made that have all failed (monotonic)."""
        self.failure = ""
        """Why the last of them failed."""
        self.is_circuit_open = False
        """Whether nothing is sent until the output has had a pause."""
        self.reached: dict[int, int] = {}
        """By partition, the offset of the last message that DMaaP has, or that was given up."""
        self.handled = 0
        """How many messages these are, of all partitions."""
        self.under_way: set[int] = set()
        """Partitions of which an attempt is being made."""
        self._alarm_at = 0.0

    async def deliver(
        self, messages: Sequence[Message], may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        """Deliver in order; return when each message is on DMaaP or dead-lettered.

        ``may_go_on`` is asked before each attempt, and during one that takes long; where it says
        no, AbandonedError is raised.
        """
        groups = deque(
            group
            for batch in _by_domain(messages)
            for group in _groups(batch, self._output.request_bytes)
        )
        backoff = Backoff(FIRST_BACKOFF, MAX_BACKOFF)
        while groups:
            await self._wait_at_gate(may_go_on)
            group = groups.popleft()
            try:
                await self._attempt(group, may_go_on)
            except RefusedError as error:
                group = self._left(group, error)
                self._succeeded()
                backoff.reset()
                if len(group) == 1:
                    await self._dead_letter(group, f"output {self._name}: refused: {error}")
                else:
                    groups.extendleft(reversed(halves(group)))
            except DeliveryError as error:
                group = self._left(group, error)
                self._failed(error)
                group = await self._without_expired(group, str(error))
                if error.too_slow and len(group) > 1:
                    # What an output cannot take in its time as a whole it may take bit by bit. What
                    # was halved several times goes in growing groups once the output is fast again.
                    groups.extendleft(reversed(halves(group)))
                elif group:
                    groups.appendleft(group)
                await self._wait(backoff.pause(), error, may_go_on)
            except PartlyTakenError as error:
                groups.appendleft(self._left(group, error))
                self._succeeded()
                backoff.reset()
            else:
                self._count(group)
                self._succeeded()
                backoff.reset()

    def _left(self, group: Sequence[Message], error: PartlyTakenError) -> Sequence[Message]:
        """Count what the output has taken of a group; return the rest."""
        if not error.taken:
            return group
        self._count(error.taken)
        if self.failing_since is not None:
            self.failing_since = time.monotonic()
        taken = set(map(id, error.taken))
        return [message for message in group if id(message) not in taken]

    def _count(self, messages: Sequence[Message]) -> None:
        self._figures.delivered(len(messages))
        self._move_on(messages)

    async def _dead_letter(self, messages: Sequence[Message], reason: str) -> None:
        await self._give_up(messages, reason)
        self._move_on(messages)

    def _move_on(self, messages: Sequence[Message]) -> None:
        self.handled += len(messages)
        source = messages[-1].source
        self.reached[source.partition] = source.offset

    async def _wait_at_gate(self, may_go_on: Callable[[], Awaitable[bool]]) -> None:
        if not self._gate.paused_at:
            return
        self._forget_failure()
        LOG.warning("output %s is paused: what comes for it waits in Kafka", self._name)
        while self._gate.paused_at:
            if not await may_go_on():
                raise AbandonedError
            await self._gate.look()
        LOG.warning("output %s goes on", self._name)

    async def _attempt(
        self, group: Sequence[Message], may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        if not await may_go_on():
            raise AbandonedError
        partition = group[0].source.partition
        self.under_way.add(partition)
        delivery = asyncio.ensure_future(self._output.deliver(group))
        leave_at = float("inf")
        try:
            while not (await asyncio.wait([delivery], timeout=LOOK_EVERY))[0]:
                if await may_go_on():
                    continue
                leave_at = min(leave_at, time.monotonic() + GRACE)
                if time.monotonic() >= leave_at:
                    raise AbandonedError
            delivery.result()
        finally:
            if not delivery.done():
                delivery.cancel()
                await asyncio.wait([delivery])
            self.under_way.discard(partition)

    async def _wait(
        self, pause: float, error: DeliveryError, may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        """Wait for ``pause`` seconds, and as long as the output has asked for."""
        until = time.monotonic() + pause
        if error.retry_after is not None:
            asked = time.monotonic() + min(MAX_RETRY_AFTER, error.retry_after)
            # For all partitions: the output has asked the process, not this delivery.
            self._not_before = max(self._not_before, asked)
        while (left := max(until, self._not_before) - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY))
            if not await may_go_on():
                raise AbandonedError

    async def _without_expired(self, group: Sequence[Message], reason: str) -> Sequence[Message]:
        """Dead-letter what has waited too long; return the rest."""
        before = (time.time() - self._give_up_after) * 1000
        if self._gate.opened_at >= before:
            return group
        expired = [message for message in group if _waits_since(message) < before]
        if expired:
            text = f"output {self._name}: not delivered in {self._give_up_after:.0f} s: {reason}"
            await self._dead_letter(expired, text)
        return [message for message in group if _waits_since(message) >= before]

    def _failed(self, error: DeliveryError) -> None:
        self._figures.retried()
        now = time.monotonic()
        self.failure = str(error)
        self.is_circuit_open = error.is_circuit_open
        if self.failing_since is None:
            self.failing_since = now
            self._alarm_at = now + ALARM_EVERY
            LOG.warning("output %s does not take messages: %s", self._name, error)
        elif now >= self._alarm_at:
            self._alarm_at = now + ALARM_EVERY
            LOG.error(
                "output %s has taken nothing for %.0f s: %s",
                self._name,
                now - self.failing_since,
                error,
            )

    def _succeeded(self) -> None:
        if self.failing_since is not None:
            lasted = time.monotonic() - self.failing_since
            LOG.warning("output %s answers again after %.0f s", self._name, lasted)
            self._forget_failure()

    def _forget_failure(self) -> None:
        self.failing_since = None
        self.failure = ""
        self.is_circuit_open = False


def _waits_since(message: Message) -> int:
    """Return since when a message waits, in ms since 1970."""
    taken_at: int = message.source.timestamp
    return max(taken_at, message.replayed_at)


def _by_domain(messages: Sequence[Message]) -> list[list[Message]]:
    """Split messages into batches of one domain each; what has the same key stays in order."""
    batches: list[list[Message]] = []
    last_of_key: dict[bytes, int] = {}
    of_domain: dict[str, list[int]] = {}
    for message in messages:
        places = of_domain.setdefault(message.domain, [])
        first = bisect_left(places, last_of_key.get(message.key, 0))
        if first == len(places):
            places.append(len(batches))
            batches.append([])
        last_of_key[message.key] = places[first]
        batches[places[first]].append(message)
    return batches


def _groups(messages: Sequence[Message], request_bytes: int) -> list[Sequence[Message]]:
    """Split messages, in order, into groups of at most ``request_bytes``, or of one."""
    groups: list[Sequence[Message]] = []
    group: list[Message] = []
    size = 0
    for message in messages:
        added = len(message.key) + len(message.value)
        if group and size + added > request_bytes:
            groups.append(group)
            group, size = [], 0
        group.append(message)
        size += added
    return [*groups, group] if group else groups
