"""The events topic's newest end, of all partitions, followed into a ring.

Without a consumer group: every worker that is asked follows all partitions for itself. It costs a
worker as long as somebody listens, and nothing otherwise.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from heapq import merge

import msgspec

from vimfed.kafka.aio import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from vimfed.kafka.clients import new_consumer
from vimfed.kafka.dead_letter import ONLY_OUTPUT
from vimfed.kafka.topics import TopicNames
from vimfed.model.decoding import decoded
from vimfed.settings import KafkaSettings
from web.live.event_ring import EventRing, LiveEvent, RingEntry

LOG = logging.getLogger(__name__)

MAX_EVENTS = 20_000
"""Events that are held, and that are read again at the start."""
MAX_BYTES = 32_000_000
"""Bytes of text that they take at most; the objects around it take about as much again."""
FETCH_BYTES = 4_000_000
SLICE = 200
"""Records that are read before the stream gets its turn: about a millisecond."""


class LeftBehindError(Exception):
    """More events came than we could read in our share of the time."""


class _Shown(msgspec.Struct, gc=False):
    display_name: str | None = None
    tenant_id: str | None = None


class _Record(LiveEvent, frozen=True, gc=False, kw_only=True):
    """What is read of a VmEvent; the rest of its payload is passed over."""

    payload: _Shown


_FIELDS = tuple(name for name in LiveEvent.__struct_fields__ if name != "display_name")
_decode = msgspec.json.Decoder(_Record).decode
_encode = msgspec.json.Encoder().encode


class EventTail:
    """Follows the topic from when it is made by :func:`followed`."""

    def __init__(self, consumer: AIOKafkaConsumer, ring: EventRing) -> None:
        self._consumer = consumer
        self.ring = ring

    async def read(self, patience: float) -> float:
        """Wait ``patience`` seconds at most for events and add them; return the seconds of work.

        Raises KafkaError or LeftBehindError: then what follows is not read.
        """
        fetched = await self._consumer.getmany(timeout_ms=int(patience * 1000))
        spent = 0.0
        for records in fetched.values():
            for begin in range(0, len(records), SLICE):
                began = time.thread_time()
                for record in records[begin : begin + SLICE]:
                    entry = entry_of(record)
                    if entry is None:
                        self.ring.skip(record.partition, record.offset)
                    else:
                        self.ring.add(entry)
                spent += time.thread_time() - began
                await asyncio.sleep(0)
        for partition in fetched:
            behind = (self._consumer.highwater(partition) or 0) - 1 - fetched[partition][-1].offset
            if behind > MAX_EVENTS:
                raise LeftBehindError(f"{behind} events of {partition} are not read")
        return spent


@asynccontextmanager
async def followed(kafka: KafkaSettings, first: int) -> AsyncIterator[EventTail]:
    """Follow the topic for as long as the block runs; its newest events have been read then.

    ``first`` is the number of the ring's first entry. Raises KafkaError.
    """
    topic = TopicNames(kafka.topic_prefix).events
    partitions = [TopicPartition(topic, number) for number in range(kafka.partitions)]
    consumer = new_consumer(
        kafka,
        auto_offset_reset="none",
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=max(FETCH_BYTES // kafka.partitions, 100_000),
        fetch_max_wait_ms=200,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = {
            partition: max(begins[partition], ends[partition] - MAX_EVENTS // len(partitions))
            for partition in partitions
        }
        for partition, start in starts.items():
            consumer.seek(partition, start)
        ring = EventRing(
            [starts[partition] for partition in partitions],
            now=int(time.time() * 1000),
            most=MAX_EVENTS,
            most_bytes=MAX_BYTES,
            first=first,
        )
        await _fill(consumer, ring, ends)
        yield EventTail(consumer, ring)
    finally:
        await consumer.stop()


async def _fill(
    consumer: AIOKafkaConsumer, ring: EventRing, ends: dict[TopicPartition, int]
) -> None:
    """Read up to ``ends`` and add what was read in the order in which Kafka took it."""
    read: dict[TopicPartition, list[RingEntry]] = {partition: [] for partition in ends}
    last: dict[TopicPartition, int] = {}
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        fetched = await consumer.getmany(timeout_ms=200, max_records=SLICE)
        for partition, records in fetched.items():
            read[partition] += _entries_of(records)
            last[partition] = records[-1].offset
        await asyncio.sleep(0)
    for number, entry in enumerate(merge(*read.values(), key=lambda entry: entry.taken_at)):
        ring.add(entry)
        if number % SLICE == 0:
            await asyncio.sleep(0)
    for partition, offset in last.items():
        ring.skip(partition.partition, offset)


def _entries_of(records: Iterable[ConsumerRecord]) -> list[RingEntry]:
    return [entry for entry in map(entry_of, records) if entry is not None]


def entry_of(record: ConsumerRecord) -> RingEntry | None:
    """Return what is held of a record; None where it is no VmEvent, or for one output alone."""
    if any(name == ONLY_OUTPUT for name, _value in record.headers):
        return None
    try:
        read = decoded(_decode, record.value or b"")
    except ValueError as error:
        # Somebody else's record: the worker writes none that cannot be read.
        LOG.warning("%s-%s@%s: %s", record.topic, record.partition, record.offset, error)
        return None
    event = LiveEvent(
        display_name=read.payload.display_name, **{name: getattr(read, name) for name in _FIELDS}
    )
    frame = b"event: vm_event\ndata: " + _encode(event) + b"\n"
    return RingEntry(
        record.partition,
        record.offset,
        record.timestamp,
        event,
        read.payload.tenant_id or "",
        frame,
    )
