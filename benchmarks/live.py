"""What many clients cost a worker that has all hands full.

    python -m benchmarks.live [--clients 2000] [--slow 200] [--copies 20] [--rounds 3]

In each round the same worker processes the recorded run of nova, multiplied with instance ids of
their own: alone; with clients that follow all live events, ``--slow`` of whom read nothing until
they are cut off; and with clients that ask check_vim_status without a pause. The records lie on the
topic before the worker, frozen meanwhile, may begin. Worker, clients and Kafka share the machine,
so the figure that counts is that per second of the worker's CPU time.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil
from confluent_kafka import Producer

from benchmarks.workers import PARTITIONS, Progress, multiplied
from streams.core.fold import fold
from tests.support.brokers import new_kafka
from tests.support.core_truth import Record
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.local.child import Child
from vimfed.process.ports import free_ports
from vimfed.settings import KafkaSettings


class Run(NamedTuple):
    """What one run took."""

    seconds: float
    cpu: float
    before: float
    """Resident memory in MB, before the first record."""
    most: float
    told: dict[str, float]


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
    bootstrap: str,
    folder: Path,
    records: list[Record],
    expected: int,
    job: Sequence[str],
    slow: int,
) -> Run:
    """Let a worker process the records beside a job of clients, none where that is empty."""
    folder.mkdir()
    prefix = f"live-{folder.name}"
    kafka = KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix, partitions=PARTITIONS)
    asyncio.run(ensure_topics(kafka))
    (port,) = free_ports(1)
    config = folder / "vimfed.toml"
    config.write_text(
        f'state_dir = "{folder}"\n[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "{prefix}"\n'
        f"partitions = {PARTITIONS}\n[web]\nport = {port}\n[worker]\nsession_timeout = 30\n"
        '[[vims]]\ncloud_owner = "Benchmark"\ncloud_region_id = "one"\n'
    )
    vimfed = [sys.executable, "-m", "vimfed", "--config", str(config)]
    worker = Child([*vimfed, "worker"], log=folder / "worker.log")
    module, *options = job or [""]
    command = [sys.executable, "-m", f"benchmarks.jobs.{module}", str(port), *options]
    clients = Child(command, log=folder / "clients.log")
    progress = Progress(bootstrap, f"{prefix}.events")
    worker.spawn()
    try:
        asyncio.run(ready(port))
        if job:
            clients.spawn()
            while clients.last_log_line() != "connected":
                if not clients.running:
                    raise RuntimeError(f"the clients have ended: {clients.last_log_line()}")
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
        told = {}
        if job:
            asyncio.run(cut_off(port, slow))
            most = max(most, process.memory_info().rss / 1e6)
            clients.terminate()
            clients.wait(20)
            told = json.loads(clients.last_log_line())
        return Run(seconds, cpu, before, most, told)
    finally:
        progress.close()
        clients.stop()
        worker.stop()


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    records: list[Any] = multiplied(arguments.copies)
    expected = len(fold(records, lambda _key: None).events)
    print(f"{len(records)} records, {expected} events")
    print("| beside | records/s | records per CPU second | MB before | MB at most | told |")
    print("|---|---|---|---|---|---|")
    clients = str(arguments.clients)
    jobs = {
        "nobody": [],
        "listeners": ["event_listeners", clients, str(arguments.slow)],
        "askers": ["query_clients", clients],
    }
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with new_kafka(folder / "kafka") as kafka:
            for number in range(arguments.rounds):
                for beside, job in jobs.items():
                    own = folder / f"{number}-{beside}"
                    slow = arguments.slow if beside == "listeners" else 0
                    done = run(kafka.bootstrap, own, records, expected, job, slow)
                    rates[beside].append(len(records) / done.cpu)
                    print(
                        f"| {beside} | {len(records) / done.seconds:,.0f} "
                        f"| {rates[beside][-1]:,.0f} | {done.before:.0f} | {done.most:.0f} "
                        f"| {done.told or ''} |"
                    )
    medians = {beside: statistics.median(each) for beside, each in rates.items()}
    for beside in ("listeners", "askers"):
        share = medians[beside] / medians["nobody"]
        print(f"beside {beside}: {share:.2f} of the records per CPU second")


if __name__ == "__main__":
    main()
