"""Recognise databases on disk that do not belong to the changelog's history.

A Kafka that was set up anew, another cluster, or a data directory that was copied: recovery would
add a changelog to rows that never were in it, or find its offset beyond the end and give up. Such a
database is moved aside, and the partition is rebuilt from the changelog. So is one that is damaged.
"""

import logging
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.instances_table import is_older
from streams.partition_stores import PartitionStore, PartitionStores
from vimfed.kafka import client_options
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)


async def set_foreign_data_aside(kafka: KafkaSettings, changelog: str, folder: Path) -> list[Path]:
    """Move databases in ``folder`` aside that are damaged or do not fit the topic ``changelog``.

    Returns where they lie now. Must be called before the table opens them.
    """
    stores = PartitionStores(folder)
    present = [
        partition for partition in range(kafka.partitions) if stores.path(partition).exists()
    ]
    foreign, written = [], {}
    for partition in present:
        try:
            store = stores.get(partition)
        except Exception as error:  # RocksDB's errors have no other type
            if not str(error).startswith("Corruption"):
                raise
            LOG.warning("%s is damaged: %s", stores.path(partition), error)
            foreign.append(partition)
            continue
        if store.changelog_offset is not None:
            written[partition] = store.changelog_offset
        elif next(store.items(), None) is not None:
            foreign.append(partition)
    if written:  # aiokafka cannot stop a consumer that has not done anything yet
        async with AIOKafkaConsumer(**client_options(kafka)) as consumer:
            for partition, offset in written.items():
                source = TopicPartition(changelog, partition)
                if not await _fits(consumer, source, stores.get(partition), offset):
                    foreign.append(partition)
    stores.close_all()
    return [_move_aside(stores.path(partition)) for partition in foreign]


async def _fits(
    consumer: AIOKafkaConsumer, partition: TopicPartition, store: PartitionStore, offset: int
) -> bool:
    """Return whether the last changelog record that a database holds is the one that is there."""
    end = (await consumer.end_offsets([partition]))[partition]
    if offset >= end:
        return False
    consumer.assign([partition])
    consumer.seek(partition, offset)
    record = await consumer.getone(partition)
    return record.offset > offset or _holds(store, record)  # beyond: it was compacted away


def _holds(store: PartitionStore, record: ConsumerRecord) -> bool:
    """Return whether the database holds what the record says, or something newer."""
    row = store.get(record.key)
    if record.value is None or row is None:
        return row is None and record.value is None
    return row == record.value or is_older(record.value, row)


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.foreign-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    path.rename(aside)
    LOG.warning(
        "%s is damaged, or does not fit the changelog's history: moved to %s, and rebuilt from the "
        "changelog. It can be deleted",
        path,
        aside,
    )
    return aside
