"""The order in which what follows from a batch becomes durable.

A crash anywhere repeats the batch: events a second time with the same ids, nothing lost, the table
never ahead of its changelog. The steps are those of :meth:`BatchWriter.process`.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from streams.batched_transport import BatchedConsumer, RecordBatch
from streams.fold import FoldedBatch, fold
from streams.instance_index import InstanceIndex
from streams.instances_table import InstancesTable
from streams.transition import decode_row, has_outlived
from vimfed.appending import Appended, append_all
from vimfed.dead_letter import dead_letter_of
from vimfed.kafka import OutgoingRecord
from vimfed.keys import split_instance_key
from vimfed.records import InstanceState
from vimfed.settings import KafkaSettings
from vimfed.times import utc_text
from vimfed.topics import TopicNames

LOG = logging.getLogger(__name__)


class ForeignWriteError(Exception):
    """Somebody else wrote into the changelog of a partition that we own.

    One of the two was stopped for longer than its session. Which rows are the newer ones shows in
    the changelog alone, so the process must end, and recover from it.
    """


class BatchWriter:
    """Folds batches and makes what follows from them durable."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        deleted_retention: float,
        table: InstancesTable,
        index: InstanceIndex,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
        on_done: Callable[[int, FoldedBatch], None],
    ) -> None:
        self._kafka = kafka
        self._deleted_retention = deleted_retention
        self._names = TopicNames(kafka.topic_prefix)
        self._table = table
        self._index = index
        self._consumer = consumer
        self._producer = producer
        self._on_done = on_done

    async def process(self, batch: RecordBatch, partition: int) -> None:
        """Fold a batch, make what follows from it durable, and mark it done.

        It is not done where the partition may have another owner by now, who will process it.
        Raises KafkaError where something cannot be written, and ForeignWriteError: the process
        must end, and the batch will be processed again.
        """
        # 1. Compute events and rows. An instance's row comes from RocksDB, then from the batch.
        store = self._table.partition(partition)

        def read_row(key: bytes) -> InstanceState | None:
            row = store.get(key)
            return None if row is None else decode_row(row)

        folded = fold(batch.records, read_row, self._deleted_retention)

        # 2. Fence: nobody else may own the partition.
        if not await self._owns(batch, partition):
            return

        # 3. What cannot be handled, and the events: acknowledged before any row knows of them.
        await append_all(
            self._producer,
            [
                *(self._dead_letter(record, error) for record, error in folded.rejected),
                *(
                    OutgoingRecord(self._names.events, partition, key, event)
                    for key, event in folded.events
                ),
            ],
        )

        # 4. The rows to the changelog, where they must continue what we know of it. Once more the
        #    fence: a stop while we waited for the acknowledgements must not write an old row.
        if not await self._owns(batch, partition):
            return
        rows = {
            **self._overwritten_rows(partition),
            **self._outlived_rows(partition, folded.received_at),
            **folded.rows,
        }
        changelog = (self._names.changelog, partition)
        appended = (
            await append_all(
                self._producer, [OutgoingRecord(*changelog, key, row) for key, row in rows.items()]
            )
        ).get(changelog)
        if appended is not None:
            self._check_ours(partition, appended)

            # 5. The rows and the changelog offset to RocksDB in one write; then the index.
            self._table.write(partition, rows, appended.next_offset - 1)
            for key, row in rows.items():
                if row is None:
                    self._index.remove(partition, *split_instance_key(key))
                else:
                    self._index.put(partition, row)

        # 6. Done: its offset may be committed.
        batch.done = True
        self._on_done(len(batch.records), folded)

    async def _owns(self, batch: RecordBatch, partition: int) -> bool:
        owns = await self._consumer.owns(batch)
        if not owns:
            LOG.warning("partition %s: batch abandoned, it has a new owner", partition)
        return owns

    def _check_ours(self, partition: int, appended: Appended) -> None:
        expected = self._table.changelog_end[partition]
        if appended.first_offset != expected or not appended.contiguous:
            raise ForeignWriteError(
                f"{self._names.changelog}-{partition}: expected to write at {expected}, "
                f"wrote at {appended.first_offset}"
            )

    def _dead_letter(self, record: ConsumerRecord, error: str) -> OutgoingRecord:
        place = f"{record.topic}-{record.partition}@{record.offset}"
        LOG.warning("dead letter: %s: %s", place, error)
        return dead_letter_of(self._kafka, record, error)

    def _overwritten_rows(self, partition: int) -> dict[bytes, bytes | None]:
        """Return the rows that the changelog must be told again (see InstancesTable)."""
        store = self._table.partition(partition)
        return {key: store.get(key) for key in self._table.overwritten[partition]}

    def _outlived_rows(self, partition: int, now: str) -> dict[bytes, bytes | None]:
        """Return tombstones for the rows of instances that were deleted long enough before."""
        retention = timedelta(seconds=self._deleted_retention)
        try:
            before = utc_text(datetime.fromisoformat(now) - retention)
        except (ValueError, OverflowError):  # no bridge has stamped any of the batch
            return {}
        outlived = self._index.pop_deleted(partition, before)
        return {key: None for key in outlived if self._is_outlived(partition, key, now)}

    def _is_outlived(self, partition: int, key: bytes, now: str) -> bool:
        row = self._table.partition(partition).get(key)
        return row is not None and has_outlived(decode_row(row), now, self._deleted_retention)
