"""An idiomatic Faust agent with a RocksDB table, as Faust's documentation shows it.

python -m benchmarks.jobs.plain_faust BOOTSTRAP SOURCE EVENTS CHANGELOG FOLDER
"""

import functools
import logging
import sys

import faust

from benchmarks.jobs.folding import fold_one


def main(bootstrap: str, source: str, events: str, _changelog: str, folder: str) -> None:
    """Run the agent for ever."""
    app = faust.App(
        f"{events}-group",
        broker=f"kafka://{bootstrap}",
        store="rocksdb://",
        datadir=folder,
        topic_partitions=4,
        topic_replication_factor=1,
        topic_disable_leader=True,
        table_standby_replicas=0,
        key_serializer="raw",
        value_serializer="raw",
        stream_buffer_maxsize=4096,
        broker_max_poll_records=500,
        producer_max_batch_size=128 * 1024,
        web_enabled=False,
    )
    notifications = app.topic(source, key_type=bytes, value_type=bytes)
    told_events = app.topic(events, key_type=bytes, value_type=bytes)
    table = app.Table(
        "instances",
        key_type=bytes,
        value_type=bytes,
        partitions=4,
        options={"driver": "rocksdict", "block_cache_size": 16 << 20, "max_open_files": 200},
    )

    @app.agent(notifications)
    async def fold(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            key = event.key
            read = functools.partial(table.get, key)
            row, told = fold_one(event.value, event.message.offset, read)
            for each in told:
                await told_events.send(key=key, value=each)
            if row is not None:
                table[key] = row

    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    faust.Worker(app, override_logging=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
