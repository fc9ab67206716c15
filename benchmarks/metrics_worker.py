"""What samples cost a worker, and how late events are beside them.

    python -m benchmarks.metrics_worker [--instances 10000] [--rate 500] [--backlog 2] [--minutes 3]

One worker with RocksDB on a Kafka of its own, 8 partitions. Notifications are written at a steady
rate all the time. An instance has 30 samples a minute (those of benchmarks/samples.py), which come
as the bridge writes them: of ceilometer's pollsters, host by host, a message for each meter, so
that a record holds the one or two samples of an instance's meter; of a plug-in that pushes them, a
record holds all 30. In turns:

- backlog: samples of some minutes lie on Kafka before the worker starts;
- notifications alone;
- steady: the samples of a minute in each minute. What is counted begins when the first interval has
  been closed; from then on each minute has its measurements;
- notifications alone once more, when all intervals are closed.

Late is an event by what lies between Kafka's taking of the notification and of the event. CPU is
that of a process, in percent of one core; what notifications alone take of it is no share of the
rest, for where there is less time they are handled in larger batches. What a topic takes is what
its segments hold, compressed; this Kafka does not compact, so that a changelog shows all that was
written.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks._measuring import bytes_under, cpu_seconds, topic_bytes
from benchmarks.failover import delays
from benchmarks.samples import METERS
from tests.chaos.instance_load import VIM_ID, Load
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from vimfed.alerts.subject import Subject
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.sample_records import sample_records
from vimfed.local.kafka import LocalKafka
from vimfed.model.samples import Sample
from vimfed.model.times import text_of_second
from vimfed.settings import KafkaSettings

PARTITIONS = 8
CLOUD = {
    "cloud_owner": "CloudOwner",
    "cloud_region_id": "RegionOne",
    "samples": {"pushed": True},
}
MINUTE = 60
CLOSED_AFTER = 2 * MINUTE
"""Seconds after the first sample of a minute: its interval, and the grace."""
ON_A_HOST = 20
"""Instances whose samples are polled at once."""
SAMPLES = "vimfed_samples"
"""The worker's counter of samples that it has taken."""
MB = 1e6
NEVER_COMPACT = {"log.cleaner.backoff.ms": str(24 * 3600 * 1000)}


def polled() -> list[list[int]]:
    """Return by message of a pollster which of METERS it brings of an instance."""
    by_name: dict[str, list[int]] = {}
    for number, (name, _device, _kind) in enumerate(METERS):
        by_name.setdefault(name, []).append(number)
    return list(by_name.values())


MESSAGES = {"pollsters": polled(), "pushed": [list(range(len(METERS)))]}
"""By who sends the samples of an instance: those of each message."""


class Samples:
    """Writes the samples of a cloud's instances as the bridge does."""

    def __init__(self, stack: Stack, instance_ids: list[str], sender: str) -> None:
        self._kafka = KafkaSettings(topic_prefix=stack.prefix, partitions=PARTITIONS)
        self._hosts = [
            instance_ids[start : start + ON_A_HOST]
            for start in range(0, len(instance_ids), ON_A_HOST)
        ]
        self._messages = MESSAGES[sender]
        self._chance = random.Random(1)
        self._producer = Producer(
            {
                "bootstrap.servers": stack.bootstrap,
                "compression.type": self._kafka.compression,
                "linger.ms": 10,  # as bridge.batch_interval
                "queue.buffering.max.messages": 10**6,
                "log_level": 0,
            }
        )

    def write_at_once(self, begin: int, minutes: int) -> None:
        """Write the samples of some minutes; ``begin`` in seconds since 1970."""
        for minute in range(minutes):
            for number in range(len(self._hosts)):
                self._write(begin + minute * MINUTE, number)
        if self._producer.flush(120):
            raise RuntimeError("the backlog could not be written")

    async def write_in_time(self, begin: int, minutes: int) -> None:
        """Write each sample when its time has come."""
        for minute in range(begin, begin + minutes * MINUTE, MINUTE):
            for number in range(len(self._hosts)):
                at = minute + self._second_of(number)
                await asyncio.sleep(max(0.0, at - time.time()))
                self._write(minute, number)
        self._producer.flush(60)

    def _second_of(self, number: int) -> float:
        """Return when in a minute a host is polled."""
        return number * (MINUTE - 2) / len(self._hosts)

    def _write(self, minute: int, number: int) -> None:
        """Write what is polled of a host in a minute."""
        at = minute + int(self._second_of(number))
        for message in self._messages:
            for record in self._records(message, number, at):
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    headers=list(record.headers),
                )
            self._producer.poll(0)

    def _records(self, message: list[int], number: int, at: int) -> Iterator[OutgoingRecord]:
        yield from sample_records(
            self._kafka,
            VIM_ID,
            {
                Subject(instance_id): [self._sample(meter, each, at) for meter in message]
                for each, instance_id in enumerate(self._hosts[number])
            },
            source="oslo",
            received_at=text_of_second(at + 1),
        )

    def _sample(self, number: int, instance: int, at: int) -> Sample:
        meter, device, kind = METERS[number]
        size = 1000 ** (number % 3 + 1)
        counted = at % 10**6 * size if kind == "cumulative" else 0
        return Sample(
            meter=meter,
            volume=float(instance * 7919 + counted + self._chance.randrange(size)),
            at=text_of_second(at),
            kind=kind,
            unit="B",
            device=device,
            vcpus=2,
        )


class State(NamedTuple):
    """What processes and files have come to at a time."""

    at: float
    """Seconds since 1970."""
    samples: float
    """That the worker has taken."""
    worker: float
    """CPU seconds."""
    kafka: float
    """CPU seconds."""
    topics: list[int]
    """Bytes of the topics of ``Watched.topics``."""


class Turn(NamedTuple):
    """What was done, from when to when."""

    what: str
    begun: State
    ended: State

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended.at - self.begun.at

    def each_second(self, figure: str) -> float:
        """Return what a figure of State has grown in a second."""
        grown: float = getattr(self.ended, figure) - getattr(self.begun, figure)
        return grown / self.seconds


class Watched:
    """One worker and its Kafka, and what they are seen to do."""

    def __init__(self, stack: Stack, kafka: LocalKafka) -> None:
        self._stack, self._kafka = stack, kafka
        names = stack.names
        self.topics = [names.samples, names.meters_changelog, names.measurements]
        self.turns: list[Turn] = []

    async def state(self) -> State:
        """Return how far everything is now."""
        metrics = text_string_to_metric_families(await self._stack.text("/metrics"))
        taken = (each for family in metrics if family.name == SAMPLES for each in family.samples)
        return State(
            time.time(),
            sum(each.value for each in taken if each.name == f"{SAMPLES}_total"),
            cpu_seconds(self._stack.children["worker"].pid),
            cpu_seconds(self._kafka.child.pid),
            [topic_bytes(self._kafka, topic, PARTITIONS) for topic in self.topics],
        )

    async def until(self, is_reached: Callable[[State], bool]) -> State:
        """Return the first state that is as wanted."""

        async def reached() -> State | None:
            state = await self.state()
            return state if is_reached(state) else None

        state = await eventually(reached, within=900, every=0.2)
        assert state is not None
        return state

    async def take_turn(self, what: str, seconds: float) -> None:
        """See what is done in some seconds."""
        begun = await self.state()
        await asyncio.sleep(seconds)
        self.turns.append(Turn(what, begun, await self.state()))

    def table_bytes(self, table: str) -> int:
        """Return what the worker's database of a table takes on the disk."""
        folders = (self._stack.folder / "state").glob(f"worker-*/**/{table}-*.rocksdb")
        return sum(bytes_under(folder, "*") for folder in folders)


def report(watched: Watched, late: list[tuple[float, float]], sender: str, instances: int) -> None:
    """Print how the turns of a run went."""
    print(f"\n{instances} instances, {len(METERS)} meters each, samples by {sender}:\n")
    print(
        "| turn | s | samples/s | worker's CPU, % | Kafka's CPU, % "
        "| event late: p50 ms | p99 ms | most ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for turn in watched.turns:
        ms = [delay * 1000 for taken, delay in late if turn.begun.at <= taken <= turn.ended.at]
        cuts = quantiles(ms, n=100)
        print(
            f"| {turn.what} | {turn.seconds:.0f} | {turn.each_second('samples'):,.0f} "
            f"| {turn.each_second('worker') * 100:.1f} | {turn.each_second('kafka') * 100:.1f} "
            f"| {cuts[49]:.0f} | {cuts[98]:.0f} | {max(ms):.0f} |"
        )


def report_bytes(watched: Watched) -> None:
    """Print what the steady turn has written, and what the databases take at the end."""
    turn = next(turn for turn in watched.turns if turn.what == "steady")
    print("\n| topic | MB a minute |\n|---|---|")
    sizes = zip(watched.topics, turn.begun.topics, turn.ended.topics, strict=True)
    for topic, before, after in sizes:
        name = topic.split(".")[-1].split("-", 1)[-1]
        print(f"| {name} | {(after - before) / MB / turn.seconds * MINUTE:.2f} |")
    for table in ("meters", "instances"):
        print(f"\nThe worker's database of {table}: {watched.table_bytes(table) / MB:.1f} MB")


async def work_off(
    stack: Stack, watched: Watched, samples: Samples, load: Load, minutes: int
) -> None:
    """Start a worker that finds a backlog, and see it through."""
    # All of its intervals are over: the last ones are closed as soon as nothing more comes.
    begin = int(time.time()) - CLOSED_AFTER - minutes * MINUTE
    await asyncio.to_thread(samples.write_at_once, begin, minutes)
    backlog = len(load.instance_ids) * len(METERS) * minutes
    load.start()
    stack.start_worker()
    await stack.ready()
    begun = await watched.until(lambda state: state.samples > 0)
    ended = await watched.until(lambda state: state.samples == backlog)
    watched.turns.append(Turn("backlog", begun, ended))


async def run_steady(watched: Watched, samples: Samples, minutes: int) -> None:
    """See what the samples of some minutes cost, when each comes in its time."""
    begin = int(time.time()) + 1
    warm_up = CLOSED_AFTER // MINUTE
    writing = asyncio.create_task(samples.write_in_time(begin, warm_up + minutes))
    await asyncio.sleep(begin + CLOSED_AFTER - time.time())
    await watched.take_turn("steady", minutes * MINUTE)
    await writing
    # Until what is open is closed, and a partition was told the time for it.
    await asyncio.sleep(CLOSED_AFTER + 15)


async def run(folder: Path, sender: str, chosen: argparse.Namespace) -> None:
    """Run everything with the samples of one sender, and print what came of it."""
    with new_kafka(folder / "kafka", properties=NEVER_COMPACT) as kafka:
        async with Stack(folder, kafka.bootstrap, [CLOUD]) as stack:
            stack.start_worker()
            await stack.ready()
            stack.children["worker"].stop()  # It has made the topics.
            load = Load(
                kafka.bootstrap,
                stack.names.notifications,
                PARTITIONS,
                instances=chosen.instances,
                rate=chosen.rate,
            )
            samples = Samples(stack, load.instance_ids, sender)
            watched = Watched(stack, kafka)
            await work_off(stack, watched, samples, load, chosen.backlog)
            await asyncio.sleep(15)
            await watched.take_turn("notifications alone", MINUTE)
            if chosen.minutes and sender == "pollsters":
                await run_steady(watched, samples, chosen.minutes)
                await watched.take_turn("notifications alone again", MINUTE)
            load.stop()
            await asyncio.sleep(2)
            report(watched, delays(stack), sender, chosen.instances)
            if any(turn.what == "steady" for turn in watched.turns):
                report_bytes(watched)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, default=10000)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--backlog", type=int, default=2, help="minutes of samples")
    parser.add_argument("--minutes", type=int, default=3, help="of the steady turn; 0: none")
    parser.add_argument("--senders", nargs="+", choices=MESSAGES, default=list(MESSAGES))
    parser.add_argument("--keep", type=Path, help="a new folder for logs and data")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for sender in chosen.senders:
            folder = (chosen.keep or Path(name)) / sender
            folder.mkdir(parents=True)
            asyncio.run(run(folder, sender, chosen))


if __name__ == "__main__":
    main()
