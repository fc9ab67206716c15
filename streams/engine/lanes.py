"""Batches by partition: one after the other in each, and no partition waits for another."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, cast

from faust.types import EventT

from streams.engine.batched_transport import FetchedBatches, RecordBatch, join

MAX_WAITING = 16
"""Full batches, or as many records in smaller ones, that may wait for their partition's turn; what
is behind them stays in Kafka."""
MAX_WAITING_BYTES = 64_000_000
"""Nor may more bytes of records wait, however few these are."""

BatchHandler = Callable[[RecordBatch, int], Awaitable[None]]
"""Takes a batch and its partition, and sets ``batch.done`` once all is durable."""


class _Arrival:
    """The event of a fetch, of which some batches have not left their lanes."""

    def __init__(self, event: EventT[Any]) -> None:
        self._event = event
        self._fetched = cast(FetchedBatches, event.message.value)
        self._left = len(self._fetched.batches)

    def leave(self, partition: int) -> None:
        """Let a batch go, and the event with the last of its batches.

        The event would hold the records of all for as long as one partition waits.
        """
        self._fetched.let_go(partition)
        self._left -= 1
        if not self._left:
            self._event.ack()


class _Waiting(NamedTuple):
    """A batch in its lane."""

    batch: RecordBatch
    partition: int
    arrival: _Arrival


class Lanes:
    """Gives each batch to a handler, and lets an event go once all its batches have left.

    Batches that had to wait are handled as one. One that is not done was abandoned, because the
    partition may have another owner: those of the same generation behind it are not handled, or
    later events would go out before the earlier ones, which are read again. Nor are those that have
    yet to begin when partitions are taken away, or the app ends: the group waits for us, and who
    owns them next reads them again.

    Every event is let go, also of what failed or was never handled: the app does not end before.
    Batches of one event begin together where their lanes are free, so that what follows from them
    is written together.
    """

    def __init__(
        self,
        handle: BatchHandler,
        most_records: int,
        crash: Callable[[BaseException], Awaitable[None]],
        is_leaving: Callable[[], bool],
    ) -> None:
        """``most_records`` is the size of a full batch; ``crash`` gets what the handler raises.

        ``is_leaving`` tells whether partitions are being taken away, or the app ends.
        """
        self._handle = handle
        self._is_leaving = is_leaving
        self._most_records = most_records
        self._crash = crash
        self._lanes: dict[int, asyncio.Queue[_Waiting]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting = 0
        """Records that have entered and not left."""
        self._waiting_bytes = 0
        self._left = asyncio.Event()
        self._closed = False

    async def put(self, event: EventT[Any]) -> None:
        """Put the batches of an event into their lanes; return once there is room for them."""
        batches = dict(cast(FetchedBatches, event.message.value).batches)
        count = sum(len(batch.records) for batch in batches.values())
        size = sum(map(_bytes_of, batches.values()))
        while self._waiting and (
            self._waiting + count > MAX_WAITING * self._most_records
            or self._waiting_bytes + size > MAX_WAITING_BYTES
        ):
            self._left.clear()
            await self._left.wait()
        self._waiting += count
        self._waiting_bytes += size
        arrival = _Arrival(event)
        for partition, batch in batches.items():
            self._enter(_Waiting(batch, partition, arrival))

    def _enter(self, waiting: _Waiting) -> None:
        if self._closed:
            self._let_go([waiting])
            return
        partition = waiting.partition
        if partition not in self._lanes:
            self._lanes[partition] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._work_off(partition)))
        self._lanes[partition].put_nowait(waiting)

    def close(self) -> None:
        """Handle nothing more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for lane in self._lanes.values():
            self._let_go(_taken(lane))

    async def _work_off(self, partition: int) -> None:
        lane = self._lanes[partition]
        abandoned: int | None = None
        while True:
            waiting = [await lane.get(), *_taken(lane)]
            try:
                for batch in join([each.batch for each in waiting], self._most_records):
                    if batch.generation == abandoned:
                        continue
                    if self._is_leaving():
                        abandoned = batch.generation
                        continue
                    await self._handle(batch, partition)
                    if not batch.done:
                        abandoned = batch.generation
            except Exception as error:
                self._closed = True
                self._let_go(_taken(lane))
                await self._crash(error)
                raise
            finally:
                self._let_go(waiting)

    def _let_go(self, waiting: Iterable[_Waiting]) -> None:
        for batch, partition, arrival in waiting:
            arrival.leave(partition)
            self._waiting -= len(batch.records)
            self._waiting_bytes -= _bytes_of(batch)
        self._left.set()


def _taken(lane: asyncio.Queue[_Waiting]) -> list[_Waiting]:
    """Take all that waits in a lane."""
    return [lane.get_nowait() for _each in range(lane.qsize())]


def _bytes_of(batch: RecordBatch) -> int:
    return sum(len(record.value or b"") for record in batch.records)
