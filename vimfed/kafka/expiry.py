"""Input that retention has removed before a consumer group read it: found, reported, counted.

Kafka says nothing of it: a consumer whose next offset is gone goes on at the oldest one that is
left (``auto.offset.reset``), and aiokafka logs that at INFO.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from vimfed.model.times import utc_text

LOG = logging.getLogger(__name__)


class ExpiredUnread(NamedTuple):
    """A range of offsets of one partition that nobody can read any more."""

    topic: str
    partition: int
    first: int
    next: int
    """The offset after the last one."""
    after: int | None
    """When Kafka took the last record that was read, in ms since 1970; None: not known."""
    before: int
    """When Kafka took the first record that is left, in ms since 1970; now where none is."""

    @property
    def lost(self) -> int:
        """How many records there were at most: a transaction's markers have offsets, too."""
        return self.next - self.first

    def __str__(self) -> str:
        times = f"before {_text(self.before)}"
        if self.after is not None:
            times = f"after {_text(self.after)} and {times}"
        return (
            f"{self.lost} records of {self.topic}-{self.partition} (offsets {self.first} to "
            f"{self.next - 1}) were removed before they were read: they came {times}. See "
            "VimfedInputExpired in docs/troubleshooting.md"
        )


def report(expired: ExpiredUnread, reader: str) -> None:
    """Log a loss; ``reader`` says whose it is, e.g. a consumer group."""
    LOG.error("%s: %s", reader, expired)


class ExpiryWatch:
    """Finds what a plain consumer of a group did not get, while it reads on.

    ``on_expired`` is called for each loss after it was logged.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, reader: str, on_expired: Callable[[ExpiredUnread], None]
    ) -> None:
        self._consumer = consumer
        self._reader = reader
        self._on_expired = on_expired
        self._next: dict[TopicPartition, int] = {}
        """Up to where each partition was looked at."""
        self._taken: dict[TopicPartition, int] = {}
        """When Kafka took the last record that came, in ms since 1970."""

    async def look(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Compare what one ``getmany`` brought with where the group was.

        Call it after each one, also where it brought nothing, and before the offsets of what it
        brought are committed. It asks Kafka only where a partition did not go on at the next
        offset, and commits where a partition has nothing left, so that no loss is reported by the
        next process again. Raises KafkaError.
        """
        assignment = self._consumer.assignment()
        for tp in self._next.keys() - assignment:
            del self._next[tp]
        for tp in assignment:
            records = fetched.get(tp, ())
            position = position_of(self._consumer, tp)
            begin = records[0].offset if records else position
            if begin is not None and begin != self._next.get(tp):
                await self._look_at(tp, records)
            if position is not None:
                self._next[tp] = position
            if records:
                self._taken[tp] = records[-1].timestamp

    async def _look_at(self, tp: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        place = await committed_of(self._consumer, tp)
        if place is None:
            return  # a new group begins with what is there
        committed = place.offset
        begin = (await self._consumer.beginning_offsets([tp]))[tp]
        left = min(begin, records[0].offset) if records else begin
        if left <= committed:
            return  # nothing is missing but markers, or what compaction has removed
        before = records[0].timestamp if records else int(time.time() * 1000)
        expired = ExpiredUnread(
            tp.topic, tp.partition, committed, left, self._taken.get(tp), before
        )
        report(expired, self._reader)
        self._on_expired(expired)
        if not records:
            await self._consumer.commit({tp: (left, place.metadata)})


async def committed_of(consumer: AIOKafkaConsumer, tp: TopicPartition) -> OffsetAndMetadata | None:
    """Return what a consumer's group has committed last; None where it has committed nothing.

    aiokafka's own ``committed`` leaves out the metadata. Raises KafkaError.
    """
    found = await consumer._coordinator.fetch_committed_offsets([tp])
    committed = found.get(tp)
    return None if committed is None or committed.offset < 0 else committed


def position_of(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return the offset that a consumer reads next; None while it is about to ask for it.

    aiokafka's own ``position`` would wait until it knows.
    """
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    state = None if assignment is None else assignment.state_value(tp)
    return state.position if state is not None and state.has_valid_position else None


def _text(milliseconds: int) -> str:
    return utc_text(datetime.fromtimestamp(milliseconds / 1000, UTC), "milliseconds")
