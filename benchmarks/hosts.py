"""How soon the VMs of hosts that die are told to be unavailable, and how queries do meanwhile.

    python -m benchmarks.hosts [--instances 100000] [--hosts 2000] [--die 100] [--fast]

A local Kafka, two ``vimfed worker`` processes, one notification per instance, one report per host.
Then some hosts die at once: their reports are written, and the events that follow are counted on
their topic. Meanwhile clients ask at a steady rate for single instances, for 100 in a state, and
for /healthz.
"""

import argparse
import asyncio
import random
import tempfile
import time
import uuid
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import aiohttp
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.queries import (
    OWNER,
    PARTITIONS,
    REGION,
    STATES,
    VIM_ID,
    Ask,
    at_rate,
    fill,
    host_name,
    row,
    wait_for,
)
from tests.e2e.stack import Stack
from tests.support.brokers import new_kafka
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import arrival_time, report_records
from vimfed.nova.host_report import HostReport
from vimfed.settings import KafkaSettings

WORKERS = ("one", "two")


def reports_of(stack: Stack, hosts: Iterable[int], *, are_up: bool) -> list[OutgoingRecord]:
    """Return the records of a report of each host."""
    kafka = KafkaSettings(topic_prefix=stack.prefix, partitions=PARTITIONS)
    now = arrival_time()
    return [
        record
        for host in hosts
        for record in report_records(
            kafka,
            VIM_ID,
            HostReport(host=host_name(host), is_up=are_up),
            source="poller",
            timestamp=now,
            received_at=now,
        )
    ]


def write(stack: Stack, records: Iterable[OutgoingRecord]) -> None:
    """Write records and wait until all are acknowledged."""
    settings = {"bootstrap.servers": stack.bootstrap, "queue.buffering.max.messages": 10**6}
    producer = Producer(settings)
    for record in records:
        producer.produce(record.topic, record.value, record.key, record.partition)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the reports could not be written")


class Told:
    """How many events lie on their topic."""

    def __init__(self, stack: Stack) -> None:
        self._topic = stack.names.events
        self._consumer = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": "told"})

    def count(self) -> int:
        """Return the number of events."""
        places = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        marks = [self._consumer.get_watermark_offsets(place, timeout=10) for place in places]
        return sum(high for _low, high in marks)

    async def reached(self, count: int, within: float = 120.0) -> float:
        """Return at which time there were so many events."""
        deadline = time.monotonic() + within
        while await asyncio.to_thread(self.count) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.count()} events of {count} after {within:.0f} s")
            await asyncio.sleep(0.02)
        return time.monotonic()


def _questions(instance_ids: list[str]) -> dict[str, Ask]:
    async def single(session: aiohttp.ClientSession, url: str) -> int:
        path = f"/api/multicloud/v1/{OWNER}/{REGION}/instances/{random.choice(instance_ids)}"
        async with session.get(url + path) as response:
            await response.read()
            return response.status

    async def page(session: aiohttp.ClientSession, url: str) -> int:
        body = {"states": [random.choice(STATES)], "limit": 100}
        async with session.post(f"{url}/{VIM_ID}/check_vim_status", json=body) as response:
            await response.read()
            return response.status

    async def healthy(session: aiohttp.ClientSession, url: str) -> int:
        async with session.get(url + "/healthz") as response:
            await response.read()
            return response.status

    return {"one instance": single, "check_vim_status, 100": page, "/healthz": healthy}


async def ask_all(
    title: str,
    session: aiohttp.ClientSession,
    stack: Stack,
    ids: list[str],
    arguments: argparse.Namespace,
) -> None:
    """Ask each question at a rate for a while, and print how long the answers took."""
    rate, seconds = arguments.rate, arguments.seconds
    urls = [f"http://127.0.0.1:{stack.ports[name]}" for name in WORKERS]
    questions = _questions(ids)
    asked = (at_rate(session, urls, rate, seconds, ask) for ask in questions.values())
    for name, (latencies, refused) in zip(questions, await asyncio.gather(*asked), strict=True):
        print(row(f"{title}: {name}, {rate}/s", latencies, refused))


async def run(arguments: argparse.Namespace, folder: Path, bootstrap: str) -> None:
    """Fill, let hosts die, and let them come back."""
    instances, hosts = arguments.instances, arguments.hosts
    ids = [str(uuid.uuid4()) for _ in range(instances)]
    cloud = {"cloud_owner": OWNER, "cloud_region_id": REGION}
    async with Stack(folder, bootstrap, [cloud]) as stack, aiohttp.ClientSession() as session:
        for name in WORKERS:
            stack.start_worker(name)
            await stack.ready(name, within=120)
        await stack.serving(*WORKERS, within=120)
        fill(stack, ids, hosts)
        await wait_for(stack, instances)
        told = Told(stack)
        write(stack, reports_of(stack, range(hosts), are_up=True))
        dying = random.sample(range(hosts), arguments.die)
        events = sum(number % hosts in set(dying) for number in range(instances)) + len(dying)
        print(f"{instances} VMs on {hosts} hosts, of which {len(dying)} die: {events} events\n")
        print("| | p50 ms | p99 ms | refused |\n|---|---|---|---|")
        ask = partial(ask_all, session=session, stack=stack, ids=ids, arguments=arguments)
        await ask("at rest")
        took = {}
        for title, are_up in (("they die", False), ("they are back", True)):
            before = told.count()
            asking = asyncio.create_task(ask(title))
            await asyncio.sleep(1)
            records = reports_of(stack, dying, are_up=are_up)
            begun = time.monotonic()
            await asyncio.to_thread(write, stack, records)
            took[title] = await told.reached(before + events) - begun
            await asking
        for title, seconds in took.items():
            print(f"\n{title}: all events after {seconds:.2f} s")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--die", type=int, default=100)
    parser.add_argument("--rate", type=int, default=20, help="queries of each kind a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--fast", action="store_true", help="10,000 VMs on 100 hosts, 10 die")
    arguments = parser.parse_args()
    if arguments.fast:
        arguments.instances, arguments.hosts, arguments.die = 10_000, 100, 10
        arguments.seconds = 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with new_kafka(folder / "kafka") as kafka:
            asyncio.run(run(arguments, folder, kafka.bootstrap))


if __name__ == "__main__":
    main()
