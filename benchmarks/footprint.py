"""What a cloud of so many VMs costs: CPU, memory, Kafka's bytes and disk.

    python -m benchmarks.footprint [--instances 1000 10000 100000] [--seconds 20]

For each size a Kafka, a worker with RocksDB and a publisher are started anew. Every VM is told of
once; then nothing comes for a while, then the notifications of an ordinary day, then those of a
peak (``TURNS``), each of which changes a row and is an event. They are written to the job's topic
as a bridge does: what a bridge takes for each, benchmarks.latency tells. What a million VMs need of
memory and disk is reckoned on the straight line through the two largest sizes. CPU is on no line:
batches grow with the rate.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import psutil

from benchmarks._measuring import bytes_under, cpu_seconds, topic_bytes
from tests.chaos.instance_load import Load
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.topics import count_records
from vimfed.local.kafka import LocalKafka

PARTITIONS = 8
DAY = "an ordinary day"
TURNS = {"idle": 0.0, DAY: 2 / 1000, "peak": 20 / 1000}
"""Notifications a second and VM. docs/scaling.md reckons the workers by the peak."""
CALM = 5.0
"""Seconds before the first turn, in which the processes end what filling them has begun."""
RECKONED = 1_000_000
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
PROCESSES = ("worker", "publisher")


class Cpu(NamedTuple):
    """Percent of a core in a turn; the fields are the columns, after VMs and turn."""

    rate: float
    """Notifications a second that came."""
    worker: float
    publisher: float
    kafka: float


class Space(NamedTuple):
    """What has to be kept; the fields are the columns, after VMs."""

    worker_mb: float
    """Memory; so the next one."""
    publisher_mb: float
    disk_mb: float
    """The worker's databases."""
    changelog_mb: float
    """A row of each VM on Kafka, compressed."""
    notifications_mb: float
    """On Kafka, of an hour of an ordinary day; so the next one."""
    events_mb: float


class Cost(NamedTuple):
    """Of a cloud."""

    instances: int
    cpu: dict[str, Cpu]
    """By turn."""
    space: Space


CPU_COLUMNS = ("VMs", "turn", "notifications/s", "worker, %", "publisher, %", "Kafka, %")
SPACE_COLUMNS = (
    "VMs",
    "worker, MB",
    "publisher, MB",
    "worker's disk, MB",
    "changelog, MB",
    "notifications, MB an hour",
    "events, MB an hour",
)


class Reading(NamedTuple):
    """What was used up to a moment."""

    at: float
    sent: int
    cpu: Sequence[float]
    """Seconds of worker, publisher and Kafka."""
    topics: Sequence[int]
    """Bytes of notifications and events."""


class Cloud:
    """A job that knows its VMs."""

    def __init__(self, stack: Stack, kafka: LocalKafka, load: Load) -> None:
        self._stack, self._kafka, self._load = stack, kafka, load
        self._pids = [stack.children[name].pid for name in PROCESSES]

    @classmethod
    async def filled(cls, stack: Stack, kafka: LocalKafka, instances: int) -> Self:
        """Start worker and publisher, and tell of each VM once."""
        stack.start_worker()
        stack.start("publisher")
        await stack.ready()
        load = Load(
            kafka.bootstrap, stack.names.notifications, PARTITIONS, instances=instances, rate=1
        )
        cloud = cls(stack, kafka, load)
        await asyncio.to_thread(load.fill)
        await cloud._all_published()
        await asyncio.sleep(CALM)
        return cloud

    async def turn(self, rate: float, seconds: float) -> tuple[Cpu, Sequence[float]]:
        """Let so many notifications a second come; return CPU, and bytes an hour by topic."""
        before = self._reading()
        if rate:
            self._load.go_on(rate)
        await asyncio.sleep(seconds)
        if rate:
            await asyncio.to_thread(self._load.stop)
            await self._all_published()
        after = self._reading()
        took, sent = after.at - before.at, after.sent - before.sent
        percent = [
            (late - early) / took * 100 for early, late in zip(before.cpu, after.cpu, strict=True)
        ]
        hourly = [
            (late - early) / sent * rate * 3600 if sent else 0.0
            for early, late in zip(before.topics, after.topics, strict=True)
        ]
        return Cpu(sent / took, *percent), hourly

    def space(self, changelog: int, hourly: Iterable[float]) -> Space:
        """Return what is kept now, and what was read of the topics, in MB."""
        databases = (self._stack.folder / "state").glob("worker-*")
        kept = (
            *(psutil.Process(pid).memory_info().rss for pid in self._pids),
            sum(bytes_under(each, "*") for each in databases),
            changelog,
            *hourly,
        )
        return Space(*(each / 1e6 for each in kept))

    def _reading(self) -> Reading:
        names = self._stack.names
        return Reading(
            time.monotonic(),
            self._load.count,
            [cpu_seconds(pid) for pid in (*self._pids, self._kafka.child.pid)],
            [
                topic_bytes(self._kafka, topic, PARTITIONS)
                for topic in (names.notifications, names.events)
            ],
        )

    async def _all_published(self) -> None:
        """Wait until DMaaP has an event for each notification."""
        stack = self._stack

        async def are_there() -> bool:
            there = await asyncio.to_thread(count_records, stack.bootstrap, stack.dmaap_topic)
            return there >= self._load.count

        await eventually(are_there, within=600, every=0.5)


async def measured(folder: Path, kafka: LocalKafka, instances: int, seconds: float) -> Cost:
    """Fill a job with VMs, and let it have each turn."""
    async with Stack(folder, kafka.bootstrap, [CLOUD]) as stack:
        cloud = await Cloud.filled(stack, kafka, instances)
        changelog = topic_bytes(kafka, stack.names.changelog, PARTITIONS)
        turns = {name: await cloud.turn(rate * instances, seconds) for name, rate in TURNS.items()}
        cpu = {name: spent for name, (spent, _hourly) in turns.items()}
        _spent, hourly = turns[DAY]
        return Cost(instances, cpu, cloud.space(changelog, hourly))


def reckoned(small: Cost, large: Cost, instances: int) -> Cost:
    """Return what so many VMs need of space, on the straight line through two measured sizes."""
    share = (instances - small.instances) / (large.instances - small.instances)
    pairs = zip(small.space, large.space, strict=True)
    return Cost(instances, {}, Space(*(low + share * (high - low) for low, high in pairs)))


def cpu_rows(cost: Cost) -> Iterable[str]:
    """Yield the lines of the table of CPU."""
    for turn, cpu in cost.cpu.items():
        cells = (
            f"{cost.instances:,}",
            turn,
            f"{cpu.rate:,.0f}",
            *map("{:.1f}".format, cpu[1:]),
        )
        yield f"| {' | '.join(cells)} |"


def space_row(cost: Cost, how: str) -> str:
    """Return the line of the table of space."""
    cells = (f"{cost.instances:,}{how}", *(f"{each:,.1f}" for each in cost.space))
    return f"| {' | '.join(cells)} |"


def heading(columns: Sequence[str]) -> str:
    """Return the first lines of a table."""
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


async def run(sizes: Sequence[int], seconds: float) -> None:
    """Measure each size and print the tables."""
    costs: list[tuple[Cost, str]] = []
    for instances in sizes:
        with tempfile.TemporaryDirectory() as name, new_kafka(Path(name) / "kafka") as kafka:
            folder = Path(name) / "job"
            folder.mkdir()
            costs.append((await measured(folder, kafka, instances, seconds), ""))
        print(costs[-1], file=sys.stderr)
    if len(costs) > 1:
        (small, _), (large, _) = costs[-2:]
        costs.append((reckoned(small, large, RECKONED), ", reckoned"))
    print(heading(CPU_COLUMNS))
    for cost, _how in costs:
        for line in cpu_rows(cost):
            print(line)
    print(f"\n{heading(SPACE_COLUMNS)}")
    for cost, how in costs:
        print(space_row(cost, how))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    asyncio.run(run(chosen.instances, chosen.seconds))


if __name__ == "__main__":
    main()
