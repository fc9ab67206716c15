"""The order in which what follows from a batch becomes durable.

A crash anywhere repeats the batch: events a second time with the same ids, nothing lost, the table
never ahead of its changelog. The steps are those of :meth:`BatchWriter.process`.
"""

import contextlib
import dataclasses
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from streams.core.fold import FoldedBatch, Surroundings, fold
from streams.core.quota import CloudQuota, quota_of_partition
from streams.core.transition import has_outlived
from streams.core.vm_alarms import AlarmedActions, has_alarms
from streams.engine.batched_transport import BatchedConsumer, RecordBatch
from streams.engine.row_table import RowTable
from streams.worker.row_indexes import RowIndexes
from streams.worker.table_writer import TableWriter
from vimfed.kafka.aio import AIOKafkaProducer, ConsumerRecord
from vimfed.kafka.appending import append_all
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import dead_letter_of
from vimfed.kafka.topics import TopicNames
from vimfed.model.records import SCHEMA_VERSION, decode_row, schema_headers
from vimfed.model.rows import Row, decode_row_of
from vimfed.model.times import utc_text
from vimfed.settings import KafkaSettings, WorkerSettings

LOG = logging.getLogger(__name__)

MAX_ROWS = 1000
"""So many rows change before they are written, and others have their turn on the event loop."""

Headers = tuple[tuple[str, bytes], ...]

EVENT_HEADERS: Headers = schema_headers(SCHEMA_VERSION)


class Steps(NamedTuple):
    """What a writer does by way of others; as it stands here nothing is traced."""

    append: Callable[[AIOKafkaProducer, Sequence[OutgoingRecord]], Awaitable[Any]] = append_all
    headers: Callable[
        [Sequence[ConsumerRecord], FoldedBatch, int],
        contextlib.AbstractContextManager[Iterable[Headers]],
    ] = lambda _records, _folded, _begun: contextlib.nullcontext(itertools.repeat(EVENT_HEADERS))
    """Of records, what was folded of them, and when that began (ns since 1970), the headers of each
    event; while the context is open, what follows is made durable."""


UNTRACED = Steps()


class BatchWriter:
    """Folds batches and makes what follows from them durable."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        limits: WorkerSettings,
        table: RowTable,
        writer: TableWriter,
        indexes: RowIndexes,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
        on_done: Callable[[int, FoldedBatch], None],
        steps: Steps = UNTRACED,
    ) -> None:
        self._kafka = kafka
        self._deleted_retention = limits.deleted_retention
        self._alerts_expire_after = limits.alerts_expire_after
        self._actions = AlarmedActions(
            frozenset(limits.action_failures), frozenset(limits.action_ends)
        )
        self._quota = quota_of_partition(limits.instances_per_cloud, kafka.partitions)
        self._names = TopicNames(kafka.topic_prefix)
        self._table = table
        self._writer = writer
        self._indexes = indexes
        self._index = indexes.instances
        self._consumer = consumer
        self._producer = producer
        self._on_done = on_done
        self._steps = steps
        self._alarmed: defaultdict[int, list[bytes]] = defaultdict(list)
        """By partition the rows whose alarms are to be cleared before they are removed."""

    async def process(self, batch: RecordBatch, partition: int) -> None:
        """Fold a batch, make what follows from it durable, and mark it done.

        It is not done where the partition may have another owner by now, who will process it.
        Raises KafkaError where something cannot be written or read: the process must end, and the
        batch will be processed again.
        """
        async with self._writer.lock(partition):
            await self._process(batch, partition)

    async def _process(self, batch: RecordBatch, partition: int) -> None:
        done = 0
        while done < len(batch.records):
            folded = await self._process_some(batch, partition, done)
            if folded is None:
                return
            done += folded.taken
            self._on_done(folded.taken, folded)

        # 5. Done: its offset may be committed.
        batch.done = True

    async def _process_some(
        self, batch: RecordBatch, partition: int, begin: int
    ) -> FoldedBatch | None:
        """Fold a batch from its record number ``begin`` on, and make what follows durable.

        The news of one host can change the rows of all its instances: what becomes too much for
        one step is left for the next. Return None where the partition may have another owner.
        """
        # 1. Compute events and rows. A row comes from RocksDB, then from the batch.
        begun = time.time_ns()
        records = batch.records[begin:] if begin else batch.records
        quota = CloudQuota(self._quota, partial(self._index.held, partition))
        folded = fold(
            records,
            partial(self._row, partition),
            self._deleted_retention,
            quota,
            self._surroundings(partition),
        )

        # 2. Fence: nobody else may own the partition.
        if not await self._owns(batch, partition):
            return None
        with self._steps.headers(records, folded, begun) as headers:
            is_durable = await self._make_durable(batch, partition, folded, headers)
        return folded if is_durable else None

    async def _make_durable(
        self, batch: RecordBatch, partition: int, folded: FoldedBatch, headers: Iterable[Headers]
    ) -> bool:
        """Return False where the partition may have another owner; ``headers``: of each event."""
        # 3. What cannot be handled, and the events: acknowledged before any row knows of them.
        told = zip(folded.events, headers, strict=False)
        await self._steps.append(
            self._producer,
            [
                *(self._dead_letter(record, error) for record, error in folded.rejected),
                *(
                    OutgoingRecord(self._names.events, partition, key, event, its_headers)
                    for (key, event), its_headers in told
                ),
            ],
        )

        # 4. The rows to the changelog, then to the table and the index. Once more the fence: a stop
        #    while we waited for the acknowledgements must not write an old row.
        if not await self._owns(batch, partition):
            return False
        rows = {
            **self._writer.overwritten_rows(partition),
            **self._outlived_rows(partition, folded.received_at),
            **folded.rows,
        }
        return await self._writer.put(partition, rows, batch.generation)

    def _row(self, partition: int, key: bytes) -> Row | None:
        row = self._table.partition(partition).get(key)
        return None if row is None else decode_row_of(key, row)

    def _surroundings(self, partition: int) -> Surroundings:
        return dataclasses.replace(
            self._indexes.surroundings(partition),
            actions=self._actions,
            alerts_expire_after=self._alerts_expire_after,
            alarmed=self._alarmed.pop(partition, ()),
            most_rows=MAX_ROWS,
        )

    async def _owns(self, batch: RecordBatch, partition: int) -> bool:
        owns = await self._consumer.owns(batch)
        if not owns:
            LOG.warning("partition %s: batch abandoned, it has a new owner", partition)
        return owns

    def _dead_letter(self, record: ConsumerRecord, error: str) -> OutgoingRecord:
        place = f"{record.topic}-{record.partition}@{record.offset}"
        LOG.warning("dead letter: %s: %s", place, error)
        return dead_letter_of(self._kafka, record, error, origin="notifications")

    def _outlived_rows(self, partition: int, now: str) -> dict[bytes, bytes | None]:
        """Return tombstones for the rows of instances that were deleted long enough before."""
        retention = timedelta(seconds=self._deleted_retention)
        try:
            before = utc_text(datetime.fromisoformat(now) - retention)
        except (ValueError, OverflowError):  # no bridge has stamped any of the batch
            return {}
        rows: dict[bytes, bytes | None] = {}
        for key in self._index.pop_deleted(partition, before):
            encoded = self._table.partition(partition).get(key)
            row = None if encoded is None else decode_row(encoded)
            if row is None or not has_outlived(row, now, self._deleted_retention):
                continue
            if has_alarms(row):  # the next batch clears them; then the row comes here again
                self._alarmed[partition].append(key)
            else:
                rows[key] = None
        return rows
