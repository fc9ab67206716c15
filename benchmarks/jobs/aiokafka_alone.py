"""Plain aiokafka: no table, no changelog recovery, no guarantees; rows in RocksDB.

python -m benchmarks.jobs.aiokafka_alone BOOTSTRAP SOURCE EVENTS CHANGELOG FOLDER
"""

import asyncio
import functools
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.jobs.folding import fold_one
from streams.engine.partition_stores import PartitionStores


async def main(bootstrap: str, source: str, events: str, changelog: str, folder: str) -> None:
    """Consume, fold, send rows and events without waiting, commit, for ever."""
    stores = PartitionStores(Path(folder))
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id=f"{events}-group",
        auto_offset_reset="earliest",
        max_poll_records=500,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=128 * 1024)
    async with consumer, producer:
        async for record in consumer:
            store = stores.get(record.partition)
            read = functools.partial(store.get, record.key)
            row, told = fold_one(record.value, record.offset, read)
            for event in told:
                await producer.send(events, event, key=record.key, partition=record.partition)
            if row is not None:
                store.write({record.key: row}, record.offset)
                await producer.send(changelog, row, key=record.key, partition=record.partition)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
