"""Writes snapshots into the events topic: between an instance's events, where its state belongs.

A worker writes the state of its own rows, holding what the batches of their partition hold, so that
all events which the rows follow from lie before it, and all others behind it. The owner of a
snapshot's home partition writes the records before and after all of them. Each step is noted on
the subscriptions topic when it is done; who is killed amid one does it again, with the same ids.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import msgspec

from streams.core.snapshots import boundary_event, state_event
from streams.engine.batched_transport import TP, BatchedConsumer
from streams.engine.row_table import RowTable
from streams.subscriptions.log import SubscriptionLog
from streams.subscriptions.snapshots import (
    BEGUN,
    ENDED,
    OPEN,
    Course,
    SnapshotBook,
    Step,
    snapshot_key,
)
from streams.worker.instance_index import InstanceIndex
from streams.worker.table_writer import TableWriter
from vimfed.kafka.aio import AIOKafkaProducer, KafkaError, TopicPartition
from vimfed.kafka.appending import append_all
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import ONLY_OUTPUT
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.topics import TopicNames
from vimfed.model.keys import home_key, instance_key
from vimfed.model.records import SCHEMA_VERSION, VmEvent, decode_row, encode_event, schema_headers
from vimfed.nova.states import DELETED
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

EVERY = 0.5
"""Seconds between two looks whether there is something to do."""
CHUNK = 100
"""Rows that are written at a time: events of their partition wait so long."""
PAUSE = 0.05
"""Seconds between two chunks, and as long as events wait: these go first."""

Progress = Callable[[str], Awaitable[Mapping[int, int]]]
"""Returns, by partition of the events topic, the offset before which an output has all.

Raises KafkaError.
"""

_encode = msgspec.json.Encoder().encode


class _Written(NamedTuple):
    events: Sequence[VmEvent]
    end: int
    """The offset behind them; 0 where there are none."""


class SnapshotWriter:
    """Writes what a worker has to of each snapshot."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        table: RowTable,
        index: InstanceIndex,
        writer: TableWriter,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
        log: SubscriptionLog,
        book: SnapshotBook,
        progress: Progress,
        is_behind: Callable[[], bool],
    ) -> None:
        """``is_behind`` tells whether notifications wait; ``log`` keeps ``book`` up to date."""
        self._names = TopicNames(kafka.topic_prefix)
        self._partitions = kafka.partitions
        self._table = table
        self._index = index
        self._writer = writer
        self._group = consumer
        self._producer = producer
        self._log = log
        self._book = book
        self._progress_of = progress
        self._progress: dict[str, Mapping[int, int]] = {}
        """By output how far it was in this look: many snapshots may wait for the same one."""
        self._is_behind = is_behind
        self._writing = asyncio.Lock()
        """Held from the look whether a partition is ours until what was written is durable."""
        self._to_be_done: dict[int, tuple[int, int]] = {}
        """By partition: a generation, and where the notifications ended in it."""
        consumer.also_wait_for.append(self.quiet)

    async def run(self) -> None:
        """Write until the app ends. What goes wrong ends it."""
        app = self._table.app
        try:
            while not app.should_stop:
                await asyncio.sleep(EVERY)
                try:
                    await self._look()
                except (KafkaError, OSError, TimeoutError) as error:
                    lasts = isinstance(error, KafkaError) and not error.retriable
                    if lasts and not self._group.is_leaving:
                        raise
                    LOG.warning("snapshots do not go on now: %r", error)
        except Exception as error:
            await app.crash(error)
            raise

    async def quiet(self) -> None:
        """Return once nothing is being written. Nothing more is while partitions are taken away."""
        async with self._writing:
            pass

    async def _look(self) -> None:
        """Do what is to be done next of each snapshot. Raises KafkaError."""
        self._progress.clear()
        for course in self._book.all():
            await self._advance(course)

    async def _advance(self, course: Course) -> None:
        """Do what is to be done next of a snapshot, where it is ours to do. Raises KafkaError."""
        state = course.state(self._partitions)
        home = partition_of(course.name.encode(), self._partitions)
        if state == "running":
            for partition in course.left(self._partitions):
                await self._write_instances(course, partition)
        elif home not in self._table.active:
            return
        elif state == "requested":
            end = await self._write_boundaries(course, home, "start")
            if end is not None:
                ends = _ends(home, end)
                await self._note(course, BEGUN, Step(snapshot=course.snapshot.id, ends=ends))
        elif state == "begun":
            if await self._is_delivered(course):
                await self._note(course, OPEN, Step(snapshot=course.snapshot.id))
        elif state == "delivering":
            await self._end(course, home)

    async def _end(self, course: Course, home: int) -> None:
        if not await self._is_delivered(course):
            return
        if await self._write_boundaries(course, home, "end") is not None:
            now = arrival_time()
            await self._note(course, ENDED, Step(snapshot=course.snapshot.id, at=now))
            told = sum(course.told.values())
            LOG.info("snapshot %s has ended: it told of %d instances", course.name, told)

    async def _is_delivered(self, course: Course) -> bool:
        """Return whether the output has all that is written. Raises KafkaError."""
        output = course.snapshot.asked.output
        if output not in self._progress:
            self._progress[output] = await self._progress_of(output)
        reached = self._progress[output]
        return all(reached.get(partition, 0) >= end for partition, end in course.ends.items())

    async def _is_wanted(self, course: Course) -> bool:
        """Return whether a snapshot is wanted by all that anybody has been told until now.

        What the book holds may be as old as the look at the topic before.
        """
        await self._log.known(time.monotonic())
        return self._book.is_current(course)

    async def _note(self, course: Course, step: str, done: Step) -> None:
        """Write to the subscriptions topic that a step is done, unless it is not wanted any more.

        Returns once everybody who asks is told so: a step is not begun twice.
        """
        if self._book.is_current(course):
            await self._log.append(snapshot_key(course.name, step), _encode(done))
            await self._log.known(time.monotonic())

    # -- what is written

    async def _write_boundaries(
        self, course: Course, home: int, phase: Literal["start", "end"]
    ) -> int | None:
        """Write the records before, or after, each cloud's instances, one after the other.

        Return the offset behind them; None where the partition is not ours, or the snapshot not
        wanted any more.
        """
        if not await self._is_wanted(course):
            return None
        snapshot, told = course.snapshot, course.told
        events = [
            boundary_event(
                vim_id,
                phase,
                course.name,
                snapshot.id,
                arrival_time() if phase == "end" else snapshot.requested_at,
                told[vim_id] if phase == "end" else None,
            )
            for vim_id in snapshot.clouds
        ]
        written = await self._append(course, home, self._table.generation, lambda: events)
        return None if written is None else written.end

    async def _write_instances(self, course: Course, partition: int) -> None:
        """Write the state of a partition's instances, if it is ours, chunk by chunk."""
        generation = self._table.generation
        if partition not in self._table.active or not await self._is_up_to_date(partition):
            return
        if not await self._is_wanted(course):
            return
        keys = [
            instance_key(vim_id, entry.instance_id)
            for vim_id in course.snapshot.clouds
            for entry in self._index.present(partition, vim_id, course.snapshot.asked.tenants)
        ]
        told: Counter[str] = Counter()
        end = begin = 0
        while begin < len(keys):
            await asyncio.sleep(PAUSE)
            if self._is_behind() and self._is_ours(partition, generation):
                continue
            chunk = partial(self._states, course, partition, keys[begin : begin + CHUNK])
            written = await self._append(course, partition, generation, chunk)
            if written is None:
                return
            told.update(event.vim_id for event in written.events)
            end = max(end, written.end)
            begin += CHUNK
        ends = _ends(partition, end)
        done = Step(snapshot=course.snapshot.id, ends=ends, told=dict(told))
        await self._note(course, str(partition), done)

    def _states(self, course: Course, partition: int, keys: Sequence[bytes]) -> list[VmEvent]:
        """Return what is told of rows, as they are now; of those that are gone, nothing."""
        store = self._table.partition(partition)
        rows = [decode_row(row) for row in map(store.get, keys) if row is not None]
        return [
            state_event(row, course.name, course.snapshot.id)
            for row in rows
            if row.vm_state != DELETED
        ]

    async def _append(
        self,
        course: Course,
        partition: int,
        generation: int,
        events: Callable[[], Sequence[VmEvent]],
    ) -> _Written | None:
        """Append events that are made while no batch of the partition is under way.

        Return None where the partition may have another owner, or the snapshot is not wanted any
        more. Who was stopped while it wrote may have written behind newer events: the owner is to
        tell those rows again. Raises KafkaError.
        """
        output = course.snapshot.asked.output.encode()
        headers = (*schema_headers(SCHEMA_VERSION), (ONLY_OUTPUT, output))
        async with self._writing, self._writer.lock(partition):
            is_member = await self._group.is_member(generation)
            if not (
                is_member and self._is_ours(partition, generation) and self._book.is_current(course)
            ):
                return None
            topic, made = self._names.events, events()
            records = [
                OutgoingRecord(topic, partition, _key_of(event), encode_event(event), headers)
                for event in made
            ]
            appended = await append_all(self._producer, records)
            if not await self._group.is_member(generation):
                return None
        return _Written(made, appended[topic, partition].next_offset if appended else 0)

    # -- whose a partition is, and how far

    def _is_ours(self, partition: int, generation: int) -> bool:
        """Return whether a partition has been ours since a generation began, and is not leaving."""
        return (
            not self._group.is_leaving
            and partition in self._table.active
            and generation == self._table.generation == self._table.app.consumer_generation_id
        )

    async def _is_up_to_date(self, partition: int) -> bool:
        """Return whether the rows are as new as all events on the topic. Raises KafkaError.

        Who had the partition before, or we before a rebalance, may have told events of which no
        row knows yet: they are told again. Where all is done that lay on the notifications topic
        when the partition became ours, the rows know of each.
        """
        generation = self._table.generation
        if self._to_be_done.get(partition, (-1, 0))[0] != generation:
            source = TopicPartition(self._names.notifications, partition)
            ends = await self._log.ends([source])
            self._to_be_done[partition] = (generation, ends[source])
        undone = self._group.undone(TP(self._names.notifications, partition))
        return undone is not None and undone >= self._to_be_done[partition][1]


def _ends(partition: int, end: int) -> dict[int, int]:
    """Return where what was written ends, 0 where nothing was."""
    return {partition: end} if end else {}


def _key_of(event: VmEvent) -> bytes:
    return home_key(event.vim_id, event.instance_id)
