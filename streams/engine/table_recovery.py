"""Faust's recovery of tables, in batches, and made to reach its end.

Recovery reads the changelogs of the partitions that a worker takes over, and of those of which it
keeps a copy (standby). Each override says what upstream does (faust-streaming 0.15.3) and why that
is not enough here.
"""

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any, Literal, cast

import faust.tables
from aiokafka.errors import IllegalStateError
from faust.tables import recovery as upstream
from faust.types import TP, CollectionT, Message
from mode.services import Service, WaitArgT
from mode.utils.queues import ThrowableQueue
from mode.utils.times import Seconds

from streams.engine.batched_transport import RecordBatch
from streams.engine.row_table import RowTable

MAX_WAITING = 4
"""Batches that may wait to be applied before reading pauses."""


class _EndOfRecovery(asyncio.Event):
    """Tells that no recovery is under way.

    Upstream clears this signal right after giving it: who begins to wait in between waits for ever.
    """

    def __init__(self, recovery: "Recovery") -> None:
        super().__init__()
        self._recovery = recovery

    def tell(self) -> None:
        """Wake those who wait."""
        self.set()
        self.clear()

    async def wait(self) -> Literal[True]:
        """Return once no recovery is under way."""
        while self._recovery.in_recovery:
            await super().wait()
        return True


class Recovery(upstream.Recovery):
    """Recovery that applies batches without a hole, and begins again where a step took too long."""

    logger = upstream.logger
    tables: "TableManager"
    num_samples_required_for_estimate = 10
    completed_generation = 0
    """The consumer group's generation whose recovery was completed last."""
    is_handing_over = False
    """Whether rows that have been recovered are being handed over, which may take a while."""

    @property
    def signal_recovery_end(self) -> _EndOfRecovery:
        """Event that wakes who waits for the end of the recovery."""
        if self._signal_recovery_end is None:
            self._signal_recovery_end = _EndOfRecovery(self)
        return cast(_EndOfRecovery, self._signal_recovery_end)

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Apply what is read of the changelogs.

        Upstream takes each record for itself, some thousand in a second, and goes on after an error
        as if the record had been applied.
        """
        queue = self.tables.changelog_queue
        while not self.should_stop:
            try:
                async with asyncio.timeout(1):
                    event = await queue.get()
            except TimeoutError:
                pass
            else:
                await self._apply(event.message)
            self._tell_progress()
            await asyncio.sleep(0)  # a queue that has more gives it without a turn for others

    def _add(self, table: CollectionT, tp: TP, offsets: Counter[TP]) -> None:
        """Begin where the table stands.

        Upstream keeps what it knew of a table that says nothing. This one says nothing where its
        rows are too old to be gone on from: it is read from the start.
        """
        cast(RowTable, table).drop_outdated(tp.partition)
        offsets.pop(tp, None)
        super()._add(table, tp, offsets)

    async def _apply(self, message: Message) -> None:
        """Apply a batch of one partition, without what has been applied already.

        Where changes are missing before it, because they were dropped when the flow was suspended,
        reading begins again behind the last one that was applied.
        """
        tp, batch = message.tp, cast(RecordBatch, message.value)
        is_active = tp in self.active_tps
        if not (is_active or tp in self.standby_tps):
            return
        if batch.generation != self.app.consumer_generation_id:
            return  # every rebalance reads again from where the table stands
        table = cast(RowTable, self.tp_to_table[tp])
        offsets = self.active_offsets if is_active else self.standby_offsets
        if table.drop_fallen_back(tp.partition):
            offsets[tp] = -1
        known = offsets.get(tp)
        applied = -1 if known is None else known
        if batch.start > applied + 1:
            self.log.info("%s-%s: nothing read from %s on: reading again", *tp, applied + 1)
            with contextlib.suppress(IllegalStateError):  # it has just been taken away
                await self.app.consumer.seek_wait({tp: applied + 1})
            return
        records = [record for record in batch.records if record.offset > applied]
        if batch.next_offset > applied + 1:
            table.apply(tp.partition, records, batch.next_offset)
            offsets[tp] = batch.next_offset - 1
            if is_active and records:
                self._note_speed(tp, len(records))

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Hand over what has been recovered, and resume the streams.

        Upstream does not tell the tables for which assignment.
        """
        self.completed_generation = generation_id
        self.is_handing_over = True
        try:
            await super().on_recovery_completed(generation_id)
        finally:
            self.is_handing_over = False

    def _note_speed(self, tp: TP, count: int) -> None:
        """Note what upstream estimates the remaining time of a recovery from, and logs."""
        now = time.monotonic()
        self._active_events_received_at[tp] = self._last_flush_at = now
        if self._last_active_event_processed_at is not None:
            self._processing_times.append((now - self._last_active_event_processed_at) / count)
            if len(self._processing_times) > self.num_samples_required_for_estimate:
                self._processing_times.popleft()
        self._last_active_event_processed_at = now

    def _tell_progress(self) -> None:
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.tell()
        if not (self.tables.standbys_ready or self.standby_remaining_total()):
            self.tables.on_standbys_ready()

    async def _wait(self, coro: WaitArgT, timeout: Seconds | None = None) -> None:  # noqa: ASYNC109
        """Wait for a step; raise RebalanceAgain where it must begin again from the first.

        Upstream takes a timeout, as of a process that was frozen or a Kafka that was away, for the
        end of the app: recovery is never tried again. And it ends the process where a step fails
        because a further assignment has changed, in the middle of it, what it works on.
        """
        signal = self.signal_recovery_start
        try:
            result = await self.wait_first(coro, signal, timeout=timeout)  # type: ignore[arg-type]
        except Exception as error:
            if not signal.is_set():
                raise
            self.log.info("a step of the recovery is void, partitions are assigned anew: %r", error)
            raise upstream.RebalanceAgain from None
        if not result.stopped:
            if signal.is_set():
                raise upstream.RebalanceAgain
            return
        if self.should_stop:
            raise upstream.ServiceStopped
        self.log.warning("a step of the recovery took more than %s s: beginning again", timeout)
        signal.set()
        raise upstream.RebalanceAgain


class TableManager(faust.tables.TableManager):
    """The table manager with the recovery above."""

    logger = upstream.logger
    _recovery: Recovery | None = None

    async def on_start(self) -> None:
        """Begin at once: the topics are subscribed to when this has been done.

        Upstream waits a second first, in which tables may still be added. Ours are there before the
        app starts; for the agents the subscription waits by itself.
        """
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    @property
    def changelog_queue(self) -> ThrowableQueue[Any]:
        """The queue of batches to apply; upstream's takes as many as the streams' queues."""
        if self._changelog_queue is None:
            self._changelog_queue = self.app.FlowControlQueue(maxsize=MAX_WAITING)
        return self._changelog_queue
