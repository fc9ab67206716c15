"""What a cloud of so many VMs costs: CPU, memory, Kafka's bytes and disk.

    python -m benchmarks.footprint [--instances 1000 10000 100000] [--seconds 30]

For each size a Kafka, a worker with RocksDB and a publisher are started anew. Every VM is told of
once; then notifications come at a peak's rate, 20 a second for each 1,000 VMs (docs/scaling.md),
each of which changes a row and is an event. They are written to the job's topic as a bridge does:
what a bridge takes for each, benchmarks.latency tells. The last line reckons a million VMs on the
straight line through the two largest sizes: too much for CPU, which grows less where batches do.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks._measuring import bytes_under, cpu_seconds, topic_bytes
from tests.chaos.instance_load import Load
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.topics import count_records
from vimfed.local.kafka import LocalKafka

PARTITIONS = 8
RATE = 20 / 1000
"""Notifications a second and VM, at the peak."""
RECKONED = 1_000_000
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}


class Cost(NamedTuple):
    """Of a cloud; the fields are the columns."""

    instances: float
    rate: float
    """Notifications a second, at the peak."""
    worker_mb: float
    publisher_mb: float
    worker_cpu: float
    """Percent of a core at that rate; so the next ones."""
    publisher_cpu: float
    kafka_cpu: float
    disk_mb: float
    """The worker's databases."""
    changelog_mb: float
    notifications_mb: float
    """What they are on Kafka for an hour of that rate; so the next one."""
    events_mb: float


COLUMNS = (
    "VMs",
    "notifications/s",
    "worker, MB",
    "publisher, MB",
    "worker's CPU, %",
    "publisher's CPU, %",
    "Kafka's CPU, %",
    "worker's disk, MB",
    "changelog, MB",
    "notifications, MB an hour",
    "events, MB an hour",
)


async def measured(folder: Path, kafka: LocalKafka, instances: int, seconds: float) -> Cost:
    """Fill a job with VMs, and let it have a peak."""
    rate = instances * RATE
    async with Stack(folder, kafka.bootstrap, [CLOUD]) as stack:
        stack.start_worker()
        stack.start("publisher")
        await stack.ready()
        names = stack.names
        load = Load(
            kafka.bootstrap, names.notifications, PARTITIONS, instances=instances, rate=rate
        )
        await asyncio.to_thread(load.start)
        await _all_published(stack, instances)
        pids = [
            child.pid
            for child in (stack.children["worker"], stack.children["publisher"], kafka.child)
        ]
        topics = (names.changelog, names.notifications, names.events)
        filled = topic_bytes(kafka, topics[0], PARTITIONS)
        before = [topic_bytes(kafka, topic, PARTITIONS) for topic in topics]
        cpu_before = [cpu_seconds(pid) for pid in pids]
        begun, count = time.monotonic(), load.count
        await asyncio.sleep(seconds)
        load.end()
        await asyncio.to_thread(load.stop)
        took = time.monotonic() - begun
        await _all_published(stack, load.count)
        worker_cpu, publisher_cpu, kafka_cpu = (
            (cpu_seconds(pid) - early) / took * 100
            for pid, early in zip(pids, cpu_before, strict=True)
        )
        after = [topic_bytes(kafka, topic, PARTITIONS) for topic in topics]
        hourly = [
            (late - early) / (load.count - count) * rate * 3600 / 1e6
            for early, late in zip(before, after, strict=True)
        ]
        worker_mb, publisher_mb, _kafka = (
            psutil.Process(pid).memory_info().rss / 1e6 for pid in pids
        )
        databases = (stack.folder / "state").glob("worker-*")
        disk = sum(bytes_under(each, "*") for each in databases) / 1e6
        return Cost(
            instances=instances,
            rate=rate,
            worker_mb=worker_mb,
            publisher_mb=publisher_mb,
            worker_cpu=worker_cpu,
            publisher_cpu=publisher_cpu,
            kafka_cpu=kafka_cpu,
            disk_mb=disk,
            changelog_mb=filled / 1e6,
            notifications_mb=hourly[1],
            events_mb=hourly[2],
        )


async def _all_published(stack: Stack, count: int) -> None:
    """Wait until DMaaP has so many events."""

    async def are_there() -> bool:
        there = await asyncio.to_thread(count_records, stack.bootstrap, stack.dmaap_topic)
        return there >= count

    await eventually(are_there, within=600, every=0.5)


def reckoned(small: Cost, large: Cost, instances: int) -> Cost:
    """Return the cost of so many VMs on the straight line through two that were measured."""
    share = (instances - small.instances) / (large.instances - small.instances)
    return Cost(*(one + share * (other - one) for one, other in zip(small, large, strict=True)))


def row(cost: Cost, what: str = "") -> str:
    """Return a line of the table."""
    cells = [f"{cost.instances:,.0f}{what}", *(f"{each:,.1f}" for each in cost[1:])]
    return f"| {' | '.join(cells)} |"


async def run(sizes: Sequence[int], seconds: float) -> None:
    """Measure each size and print the table."""
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    costs = []
    for instances in sizes:
        with tempfile.TemporaryDirectory() as name, new_kafka(Path(name) / "kafka") as kafka:
            folder = Path(name) / "job"
            folder.mkdir()
            costs.append(await measured(folder, kafka, instances, seconds))
        print(row(costs[-1]), flush=True)
    if len(costs) > 1:
        print(row(reckoned(costs[-2], costs[-1], RECKONED), ", reckoned"))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    asyncio.run(run(chosen.instances, chosen.seconds))


if __name__ == "__main__":
    main()
