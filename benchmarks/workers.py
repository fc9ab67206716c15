"""The stream worker beside other ways to run the same core, on the same records, in one run.

    python -m benchmarks.workers [--copies 40] [--job NAME]...

Jobs: ``aiokafka`` (no guarantees), ``faust`` (a plain agent with a RocksDB table), ``worker``
(ours, all guarantees on), ``quix`` (Quix Streams, stateful, in an environment of its own that this
program makes). Each reads the recorded run of nova, multiplied with instance ids of their own, from
one topic of a local Kafka, reads and writes a row per instance, and tells the events. A job's time
is that from its first event on its topic to its last; its CPU time is that of the whole process.
"""

import argparse
import sys
import tempfile
import time
import venv
from pathlib import Path
from subprocess import check_call
from typing import Any

import msgspec
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.core.fold import fold
from tests.support.brokers import new_kafka
from tests.support.core_truth import Record
from tests.support.folded_table import LATER
from tests.support.traces import PLAIN, notifications
from vimfed.kafka.partitions import partition_of
from vimfed.local.child import Child
from vimfed.model.keys import instance_key
from vimfed.nova.oslo import instance_id_of
from vimfed.process.ports import free_ports

PARTITIONS = 4
PREFIX = "bench"
SOURCE = f"{PREFIX}.notifications"
QUIX_ENVIRONMENT = Path(".cache") / "quix-environment"
QUIX_PACKAGES = ("quixstreams==3.28.1", f"msgspec=={msgspec.__version__}")
JOBS = ("aiokafka", "faust", "worker", "quix")

_encode = msgspec.json.Encoder().encode


def multiplied(copies: int) -> list[Record]:
    """Return the recorded run ``copies`` times, each copy with instance ids of its own."""
    run = [
        (instance_id_of(notification.payload), notification.vim_id, _encode(notification))
        for notification in notifications(PLAIN)
    ]
    records: list[Record] = []
    for copy in range(copies):
        for instance_id, vim_id, value in run:
            own_id = f"{copy:08x}{instance_id[8:]}" if instance_id else ""
            key = instance_key(vim_id, own_id)
            own_value = value.replace(instance_id.encode(), own_id.encode()) if own_id else value
            partition = partition_of(key, PARTITIONS)
            records.append(Record(SOURCE, partition, len(records), key, own_value, {}, LATER))
    return records


def fill(bootstrap: str, records: list[Record]) -> None:
    """Create the source topic and write the records into it."""
    create(bootstrap, SOURCE)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 10**6}
    )
    for record in records:
        producer.produce(SOURCE, record.value, record.key, record.partition)
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the source topic could not be filled")


def create(bootstrap: str, topic: str, **config: str) -> None:
    """Create a topic with the job's partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, PARTITIONS, 1, config={"max.message.bytes": "4000000", **config})
    admin.create_topics([new])[topic].result(30)


class Progress:
    """How many records lie on a topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "progress"})

    def records(self) -> int:
        """Return the number of records on the topic now."""
        total = 0
        for partition in range(PARTITIONS):
            place = TopicPartition(self._topic, partition)
            low, high = self._consumer.get_watermark_offsets(place, timeout=10)
            total += high - low
        return total

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def command_of(job: str, bootstrap: str, folder: Path) -> tuple[list[str], str]:
    """Return the command that runs a job, and the topic on which it tells its events."""
    if job == "worker":
        config = folder / "vimfed.toml"
        config.write_text(
            f'state_dir = "{folder}"\n[kafka]\nbootstrap = "{bootstrap}"\n'
            f'topic_prefix = "{PREFIX}"\npartitions = {PARTITIONS}\n'
            f"[web]\nport = {free_ports(1)[0]}\n"
        )
        command = [sys.executable, "-m", "vimfed", "--config", str(config), "worker"]
        return command, f"{PREFIX}.events"
    events, changelog = f"{PREFIX}.{job}.events", f"{PREFIX}.{job}.changelog"
    create(bootstrap, events)
    create(bootstrap, changelog, **{"cleanup.policy": "compact"})
    python = str(quix_python()) if job == "quix" else sys.executable
    module = {"aiokafka": "aiokafka_alone", "faust": "plain_faust", "quix": "quix"}[job]
    arguments = [bootstrap, SOURCE, events, changelog, str(folder)]
    return [python, "-m", f"benchmarks.jobs.{module}", *arguments], events


def quix_python() -> Path:
    """Return the Python that has Quix Streams, made when it is first needed."""
    python = QUIX_ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(QUIX_ENVIRONMENT, with_pip=True)
        check_call([python, "-m", "pip", "install", "--quiet", *QUIX_PACKAGES])
    return python


def measure(job: str, bootstrap: str, folder: Path, expected: int) -> tuple[float, float]:
    """Run a job until it has told ``expected`` events; return its wall and its CPU seconds."""
    folder.mkdir()
    command, events = command_of(job, bootstrap, folder)
    child = Child(command, log=folder / "log")
    child.spawn()
    progress = Progress(bootstrap, events)
    begun = None
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                told = progress.records()
            except Exception:
                told = 0
            now = time.monotonic()
            if told and begun is None:
                begun = now
            if begun is not None and told >= expected:
                return now - begun, sum(psutil.Process(child.pid).cpu_times()[:2])
            if not child.running or now > deadline:
                raise RuntimeError(f"{job} told {told} of {expected}: {child.last_log_line()}")
            time.sleep(0.02)
    finally:
        progress.close()
        child.stop()


def main() -> None:
    """Run the jobs one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--job", action="append", choices=JOBS)
    arguments = parser.parse_args()
    records: list[Any] = multiplied(arguments.copies)
    expected = len(fold(records, lambda _key: None).events)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with new_kafka(folder / "kafka") as kafka:
            fill(kafka.bootstrap, records)
            print(f"{len(records)} records, {expected} events")
            print("| job | records/s | records per CPU second |\n|---|---|---|")
            for job in arguments.job or JOBS:
                wall, cpu = measure(job, kafka.bootstrap, folder / job, expected)
                print(f"| {job} | {len(records) / wall:,.0f} | {len(records) / cpu:,.0f} |")


if __name__ == "__main__":
    main()
