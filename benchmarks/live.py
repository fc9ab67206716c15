"""What many listeners to the live events cost a worker that has all hands full.

    python -m benchmarks.live [--clients 2000] [--slow 200] [--copies 20] [--rounds 2]

In each round the same worker processes the recorded run of nova, multiplied with instance ids of
their own, once alone and once with clients that follow all events; ``--slow`` of them read nothing
after they have connected, until they are cut off. The records lie on the topic before the worker,
frozen meanwhile, may begin. Worker, clients and Kafka share the machine, so the figure that counts
is that per second of the worker's CPU time.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil
from confluent_kafka import Producer

from benchmarks.workers import PARTITIONS, Progress, multiplied
from streams.fold import fold
from tests.brokers import new_kafka
from tests.core_truth import Record
from vimfed.child import Child
from vimfed.kafka import ensure_topics
from vimfed.ports import free_ports
from vimfed.settings import KafkaSettings


class Run(NamedTuple):
    """What one run took."""

    seconds: float
    cpu: float
    before: float
    """Resident memory in MB, before the first record."""
    most: float
    sent: dict[str, float]


def fill(bootstrap: str, topic: str, records: list[Record]) -> None:
    """Write the records."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 10**6}
    )
    for record in records:
        producer.produce(topic, record.value, record.key, record.partition)
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the topic could not be filled")


async def ready(port: int) -> None:
    """Wait until the worker answers."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


async def cut_off(port: int, clients: int) -> None:
    """Wait until so many clients are cut off."""
    deadline = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                if f"vimfed_web_live_cut_total {clients}.0" in await answer.text():
                    return
            await asyncio.sleep(1)
    raise RuntimeError("the slow readers are not cut off")


def run(
    bootstrap: str, folder: Path, records: list[Record], expected: int, clients: int, slow: int
) -> Run:
    """Let a worker process the records while clients listen."""
    folder.mkdir()
    prefix = f"live-{folder.name}"
    kafka = KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix, partitions=PARTITIONS)
    asyncio.run(ensure_topics(kafka))
    (port,) = free_ports(1)
    config = folder / "vimfed.toml"
    config.write_text(
        f'state_dir = "{folder}"\n[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "{prefix}"\n'
        f"partitions = {PARTITIONS}\n[web]\nport = {port}\n[worker]\nsession_timeout = 30\n"
    )
    vimfed = [sys.executable, "-m", "vimfed", "--config", str(config)]
    worker = Child([*vimfed, "worker"], log=folder / "worker.log")
    job = [sys.executable, "-m", "benchmarks.jobs.event_listeners"]
    listeners = Child([*job, str(port), str(clients), str(slow)], log=folder / "listeners.log")
    progress = Progress(bootstrap, f"{prefix}.events")
    worker.spawn()
    try:
        asyncio.run(ready(port))
        if clients:
            listeners.spawn()
            while listeners.last_log_line() != "connected":
                time.sleep(0.1)
        worker.freeze()
        fill(bootstrap, f"{prefix}.notifications", records)
        process = psutil.Process(worker.pid)
        cpu, before = sum(process.cpu_times()[:2]), process.memory_info().rss / 1e6
        most = before
        worker.thaw()
        began = time.monotonic()
        while progress.records() < expected:
            most = max(most, process.memory_info().rss / 1e6)
            time.sleep(0.05)
        seconds = time.monotonic() - began
        cpu = sum(process.cpu_times()[:2]) - cpu
        sent = {}
        if clients:
            asyncio.run(cut_off(port, slow))
            most = max(most, process.memory_info().rss / 1e6)
            listeners.terminate()
            listeners.wait(20)
            sent = json.loads(listeners.last_log_line())
        return Run(seconds, cpu, before, most, sent)
    finally:
        progress.close()
        listeners.stop()
        worker.stop()


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    records = multiplied(arguments.copies)
    expected = len(fold(records, lambda _key: None).events)
    print(f"{len(records)} records, {expected} events")
    print("| clients | records/s | records per CPU second | MB before | MB at most |")
    print("|---|---|---|---|---|")
    rates: dict[int, list[float]] = {0: [], arguments.clients: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with new_kafka(folder / "kafka") as kafka:
            for number in range(arguments.rounds):
                for clients, per_cpu in rates.items():
                    own = folder / f"{number}-{clients}"
                    slow = min(arguments.slow, clients)
                    done = run(kafka.bootstrap, own, records, expected, clients, slow)
                    per_cpu.append(len(records) / done.cpu)
                    print(
                        f"| {clients} | {len(records) / done.seconds:,.0f} | {per_cpu[-1]:,.0f} "
                        f"| {done.before:.0f} | {done.most:.0f} | {done.sent or ''}"
                    )
    alone, listened = map(statistics.median, rates.values())
    print(f"per CPU second, with clients: {listened / alone:.2f} of what it is alone")


if __name__ == "__main__":
    main()
