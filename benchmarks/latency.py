"""From nova to DMaaP: the latency of the whole path, beside the predecessor's.

    python -m benchmarks.latency [--seconds 30] [--rate 500]

RabbitMQ and one Kafka, the job's and DMaaP's at once, are started for the run. First oslo's own
Notifier sends VM actions at a steady rate through bridge, worker and publisher, one process of
each; measured is the time from the call of ``Notifier.info`` until the broker has appended the
record to each topic on the way, by the broker's own clock (in whole milliseconds). Beside it the
predecessor's path: a listener that posts each notification to an HTTP sink on this machine before
it takes the next, until the sink has it. The first seconds of both, in which everything is new, do
not count.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import psutil
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks._measuring import cpu_seconds
from benchmarks.jobs.listeners import POOL
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.notifications import rabbit_sender
from tests.support.sections import rabbit_cloud
from tests.support.topics import count_records, read_topic
from vimfed.local.kafka import LocalKafka

WARM_UP = 5
"""Seconds of sending that do not count."""
PARTITIONS = 8
IDLE = 10
"""Seconds in which there is nothing to do."""
PROCESSES = ("bridge", "worker", "publisher")


class CpuTime(NamedTuple):
    """What a process has taken."""

    idle_percent: float
    """Of a core, where there was nothing to do."""
    ms_a_notification: float


def cloud(rabbitmq: RabbitMQ) -> dict[str, Any]:
    """Return the settings of the one cloud."""
    return rabbit_cloud(rabbitmq.url, cloud_owner="CloudOwner", cloud_region_id="RegionOne")


def create_dmaap_topic(stack: Stack) -> None:
    """Create DMaaP's topic, so that the broker stamps each record when it appends it."""
    config = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    new = NewTopic(stack.dmaap_topic, PARTITIONS, 1, config=config)
    admin.create_topics([new])[stack.dmaap_topic].result(30)


async def arrived(stack: Stack, count: int, within: float) -> None:
    """Wait until DMaaP has as many records."""

    async def all_there() -> bool:
        there = await asyncio.to_thread(count_records, stack.bootstrap, stack.dmaap_topic)
        return there >= count

    await eventually(all_there, within=within, every=0.5)


async def send(rabbitmq: RabbitMQ, seconds: int, rate: int) -> None:
    """Notify at a steady rate, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.jobs.vm_actions", rabbitmq.url]
    process = await asyncio.create_subprocess_exec(*command, str(seconds), str(rate))
    if await process.wait():
        raise RuntimeError("not every notification could be sent")


def counted(sent_and_arrived: list[tuple[float, float]]) -> list[float]:
    """Return the latencies in ms of what was sent after the warming up."""
    begun = min(sent for sent, _arrived in sent_and_arrived)
    return [arrived - sent for sent, arrived in sent_and_arrived if sent >= begun + WARM_UP * 1000]


def cpu_of_each(stack: Stack) -> dict[str, float]:
    """Return the CPU time that each of our processes has taken until now."""
    return {name: cpu_seconds(stack.children[name].pid) for name in PROCESSES}


async def through_the_job(
    folder: Path, kafka: LocalKafka, rabbitmq: RabbitMQ, seconds: int, rate: int
) -> tuple[dict[str, list[float]], dict[str, CpuTime], float]:
    """Return the latencies in ms from Notifier.info to each of the topics on the way.

    And the CPU time of each of our processes, and for how much of the time of sending, in percent,
    all cores of the machine were busy.
    """
    count = (WARM_UP + seconds) * rate
    async with Stack(folder, kafka.bootstrap, [cloud(rabbitmq)]) as stack:
        create_dmaap_topic(stack)
        stack.start("bridge")
        stack.start_worker()
        stack.start("publisher")
        await stack.bridge_connected()
        await stack.ready()
        before = cpu_of_each(stack)
        await asyncio.sleep(IDLE)
        begun = cpu_of_each(stack)
        psutil.cpu_percent()  # the next one tells what is since this one
        await send(rabbitmq, WARM_UP + seconds, rate)
        busy = psutil.cpu_percent()
        await arrived(stack, count, 60)
        ended = cpu_of_each(stack)
        topics = {
            "bridge: to the notifications topic": stack.names.notifications,
            "worker: to the events topic": stack.names.events,
            "publisher: to DMaaP's Kafka": stack.dmaap_topic,
        }
        latencies = {}
        for name, topic in topics.items():
            records = read_topic(kafka.bootstrap, topic)
            if len(records) != count:
                raise RuntimeError(f"{topic}: {len(records)} records of {count} notifications")
            latencies[name] = counted(
                [(sent_ms(record.value() or b""), record.timestamp()[1]) for record in records]
            )
        cpu = {
            name: CpuTime(
                (begun[name] - before[name]) / IDLE * 100,
                (ended[name] - begun[name]) / count * 1000,
            )
            for name in PROCESSES
        }
    return latencies, cpu, busy


def sent_ms(value: bytes) -> float:
    """Return when the notification was sent of which a record on any of the topics tells."""
    told = json.loads(value)
    sent: float = told.get("payload", told)["metadata"]["sent_ms"]
    return sent


class Sink(ThreadingHTTPServer):
    """Takes posted notifications, as Message Router does, and keeps when each came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent_and_arrived: list[tuple[float, float]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Note when the notification has come, and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Sink)
        self.server.sent_and_arrived.append((sent_ms(body), time.time() * 1000))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


async def as_the_predecessor(rabbitmq: RabbitMQ, seconds: int, rate: int) -> list[float]:
    """Return the latencies in ms from Notifier.info to the HTTP sink."""
    count = (WARM_UP + seconds) * rate
    with rabbit_sender(rabbitmq.url) as sender:
        sender.declare_pool(POOL)
    with Sink() as sink:
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        command = [sys.executable, "-m", "benchmarks.jobs.listeners", "post", rabbitmq.url]
        listener = await asyncio.create_subprocess_exec(
            *command, str(count), str(sink.server_port), stdout=subprocess.DEVNULL
        )
        await send(rabbitmq, WARM_UP + seconds, rate)
        async with asyncio.timeout(600):
            if await listener.wait():
                raise RuntimeError("the predecessor's listener failed")
        sink.shutdown()
    return counted(sink.sent_and_arrived)


def row(name: str, latencies: list[float]) -> str:
    """Return a line of the table."""
    cuts = quantiles(latencies, n=1000)
    return (
        f"| {name} | {cuts[499]:.1f} | {cuts[989]:.1f} | {cuts[998]:.1f} | {max(latencies):.1f} |"
    )


async def measure(folder: Path, seconds: int, rate: int) -> None:
    """Run everything and print what came of it."""
    (folder / "job").mkdir()
    load = os.getloadavg()[0]
    with new_kafka(folder / "kafka") as kafka, RabbitMQ(folder / "rabbitmq") as rabbitmq:
        ours, cpu, busy = await through_the_job(folder / "job", kafka, rabbitmq, seconds, rate)
        theirs = await as_the_predecessor(rabbitmq, seconds, rate)
    print(f"{rate} notifications a second for {seconds} s; load average before it: {load:.1f}")
    print(f"the machine's cores were busy for {busy:.0f} % of it")
    print("| from Notifier.info | p50 ms | p99 ms | p99.9 ms | most ms |\n|---|---|---|---|---|")
    for name, latencies in {**ours, "predecessor: to the HTTP sink": theirs}.items():
        print(row(name, latencies))
    print("| process | idle, % of a core | ms of CPU a notification |\n|---|---|---|")
    for process, took in cpu.items():
        print(f"| {process} | {took.idle_percent:.2f} | {took.ms_a_notification:.2f} |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=500)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(measure(Path(name), chosen.seconds, chosen.rate))


if __name__ == "__main__":
    main()
