"""Rows to the changelog, and what it has acknowledged to the table: never the other way round."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from streams.core.revision import TOMBSTONE_HEADER, revision_of
from streams.engine.batched_transport import BatchedConsumer
from streams.engine.changelog_reader import read_range
from streams.engine.row_table import RowTable
from vimfed.kafka.aio import AIOKafkaProducer, TopicPartition
from vimfed.kafka.appending import Appended, append_all
from vimfed.kafka.clients import OutgoingRecord, new_consumer
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)


class TableWriter:
    """Writes the rows of a table's partitions that are ours."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        table: RowTable,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
        on_written: Callable[[int, Mapping[bytes, bytes | None]], None],
    ) -> None:
        """``on_written`` is called with a partition and the rows that the table has got.

        A row that is None was deleted.
        """
        self._kafka = kafka
        self._table = table
        self._changelog: str = table.changelog_topic_name
        self._consumer = consumer
        self._producer = producer
        self._on_written = on_written
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, partition: int) -> asyncio.Lock:
        """Return what is held around :meth:`put`, and around all that its rows follow from.

        Who writes to a partition's changelog knows where that ends.
        """
        return self._locks[partition]

    async def mend(self, partition: int) -> None:
        """Write rows again over which somebody else has written older ones.

        Raises KafkaError where something cannot be written or read: the process must end.
        """
        async with self.lock(partition):
            generation = self._table.generation
            if partition in self._table.active and await self._consumer.is_member(generation):
                await self.put(partition, self.overwritten_rows(partition), generation)

    def overwritten_rows(self, partition: int) -> dict[bytes, bytes | None]:
        """Return the rows that the changelog must be told again (see RowTable)."""
        store = self._table.partition(partition)
        return {key: store.get(key) for key in store.overwritten}

    async def put(self, partition: int, rows: dict[bytes, bytes | None], generation: int) -> bool:
        """Write rows to the changelog, and what it has acknowledged to table and index.

        They must continue what we know of the changelog. Where somebody else has written to it, one
        of us was stopped for longer than its session. If the coordinator still confirms that we are
        the member, our rows are the newer ones: those of the same keys are written once more.

        Return False where the partition may have another owner: nothing is written to the table
        then, since recovery tells what became of it. Raises KafkaError, as :meth:`mend` does.
        """
        changelog = (self._changelog, partition)
        while rows:
            appended = (
                await append_all(
                    self._producer,
                    [
                        OutgoingRecord(*changelog, key, row, self._headers(partition, key, row))
                        for key, row in rows.items()
                    ],
                )
            )[changelog]
            foreign: set[bytes] = set()
            expected = self._table.changelog_end.get(partition, -1)
            if appended.first_offset != expected or not appended.contiguous:
                LOG.warning(
                    "%s-%s: expected to write at %s, wrote at %s: another worker has written, too",
                    *changelog,
                    expected,
                    appended.first_offset,
                )
                if not await self._consumer.is_member_since(time.monotonic(), generation):
                    LOG.warning("partition %s: abandoned, it has a new owner", partition)
                    return False
                foreign = await self._foreign_keys(partition, expected, appended)
            if partition not in self._table.active:  # released while we waited
                return False
            self._table.write(partition, rows, appended.next_offset - 1)
            self._on_written(partition, rows)
            store = self._table.partition(partition)
            rows = {key: store.get(key) for key in foreign}
        return True

    async def _foreign_keys(self, partition: int, begin: int, appended: Appended) -> set[bytes]:
        """Return the keys of the changelog records from ``begin`` on that may not be ours."""
        source = TopicPartition(self._changelog, partition)
        async with new_consumer(self._kafka) as consumer:
            records = await read_range(consumer, source, begin, appended.next_offset)
        ours = range(appended.first_offset, appended.next_offset if appended.contiguous else 0)
        return {record.key for record in records if record.offset not in ours}

    def _headers(
        self, partition: int, key: bytes, row: bytes | None
    ) -> tuple[tuple[str, bytes], ...]:
        """Return the headers of a row's changelog record: a tombstone's say what it deletes."""
        known = None if row is not None else self._table.partition(partition).get(key)
        return () if known is None else ((TOMBSTONE_HEADER, b"%d" % revision_of(known)),)
