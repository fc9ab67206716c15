"""Recognise databases on disk that cannot be gone on from, at the start of a worker.

A Kafka that was set up anew, another cluster, or a data directory that was copied: recovery would
add a changelog to rows that never were in it, or find its offset beyond the end and give up. Such a
database is moved aside, and the partition is rebuilt from the changelog. So is one that is damaged.
One that has not followed the changelog for so long that it may have missed a deletion is removed.
"""

import logging
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.engine.changelog_reader import read_first
from streams.engine.partition_stores import PartitionStore, PartitionStores, StoreError
from streams.engine.row_table import is_stale
from vimfed.kafka.clients import new_consumer
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

FETCH_MAX_WAIT_MS = 10
"""aiokafka fetches on at a partition's end; the next partition waits until that is answered."""


async def set_foreign_data_aside(
    kafka: KafkaSettings, changelog: str, stores: PartitionStores
) -> list[Path]:
    """Move databases aside that are damaged or do not fit the topic ``changelog``.

    Returns where they lie now. Those that are outdated are removed, and so is what an earlier start
    has moved aside, after some days. Must be called before the table opens ``stores``.
    """
    for path in stores.remove_useless():
        LOG.info("removed %s", path)
    present = [
        partition for partition in range(kafka.partitions) if stores.path(partition).exists()
    ]
    foreign, written = [], {}
    for partition in present:
        try:
            store = stores.get(partition)
        except StoreError as error:
            if not str(error.__cause__).startswith("Corruption"):
                raise
            LOG.warning("%s is damaged: %s", stores.path(partition), error.__cause__)
            foreign.append(partition)
            continue
        if stores.is_outdated(partition):
            LOG.info("%s is outdated: removed", stores.path(partition))
            stores.remove(partition)
        elif store.changelog_offset is not None:
            written[partition] = store.changelog_offset
        elif next(store.items(), None) is not None:
            foreign.append(partition)
    if written:  # aiokafka cannot stop a consumer that has not done anything yet
        async with new_consumer(kafka, fetch_max_wait_ms=FETCH_MAX_WAIT_MS) as consumer:
            for partition, offset in written.items():
                source = TopicPartition(changelog, partition)
                if not await _fits(consumer, source, stores.get(partition), offset):
                    foreign.append(partition)
    stores.close_all()
    return [_move_aside(stores, partition) for partition in foreign]


async def _fits(
    consumer: AIOKafkaConsumer, partition: TopicPartition, store: PartitionStore, offset: int
) -> bool:
    """Return whether the last changelog record that a database holds is the one that is there."""
    end = (await consumer.end_offsets([partition]))[partition]
    if offset >= end:
        return False
    record = await read_first(consumer, partition, offset, end)
    # There may be none, or a later one: it was compacted away.
    return record is None or record.offset > offset or _holds(store, record)


def _holds(store: PartitionStore, record: ConsumerRecord) -> bool:
    """Return whether the database holds what the record says, or something newer."""
    row = store.get(record.key)
    if row is None:
        return record.value is None
    return row == record.value or is_stale(record, row)


def _move_aside(stores: PartitionStores, partition: int) -> Path:
    aside = stores.move_aside(partition)
    LOG.warning(
        "%s is damaged, or does not fit the changelog's history: moved to %s, and rebuilt from the "
        "changelog. It is deleted after a week",
        stores.path(partition),
        aside,
    )
    return aside
