"""Recognise databases on disk that do not belong to the changelog's history.

A Kafka that was set up anew, another cluster, or a data directory that was copied: recovery would
add a changelog to rows that never were in it, or find its offset beyond the end and give up. Such a
database is moved aside, and the partition is rebuilt from the changelog.
"""

import logging
import time
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.partition_stores import PartitionStore, PartitionStores
from vimfed.kafka import client_options
from vimfed.records import InstanceState
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

_decode_row = msgspec.json.Decoder(InstanceState).decode


async def set_foreign_data_aside(kafka: KafkaSettings, changelog: str, folder: Path) -> list[Path]:
    """Move the databases in ``folder`` aside that do not fit the topic ``changelog``.

    Returns where they lie now. Must be called before the table opens them.
    """
    stores = PartitionStores(folder)
    present = [
        partition for partition in range(kafka.partitions) if stores.path(partition).exists()
    ]
    if not present:
        return []
    async with AIOKafkaConsumer(**client_options(kafka)) as consumer:
        foreign = [
            partition
            for partition in present
            if not await _fits(consumer, TopicPartition(changelog, partition), stores)
        ]
    stores.close_all()
    return [_move_aside(stores.path(partition)) for partition in foreign]


async def _fits(
    consumer: AIOKafkaConsumer, partition: TopicPartition, stores: PartitionStores
) -> bool:
    """Return whether the last changelog record that a database holds is the one that is there."""
    store = stores.get(partition.partition)
    offset = store.changelog_offset
    if offset is None:
        return next(store.items(), None) is None
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
    return (
        row == record.value
        or _decode_row(row).source_offset > _decode_row(record.value).source_offset
    )


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.foreign-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    path.rename(aside)
    LOG.warning(
        "%s does not fit the changelog's history: moved to %s, and rebuilt from the changelog. "
        "It can be deleted",
        path,
        aside,
    )
    return aside
