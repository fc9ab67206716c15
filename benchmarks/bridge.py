"""The bridge beside two other listeners, on the messages of the recorded trace.

    python -m benchmarks.bridge [--messages 40000] [--rounds 3]

RabbitMQ and Kafka are started for the run. Before each job the queue of one pool is filled with the
recorded run's messages, as often as it takes; then the job drains it:

- nothing: an oslo.messaging batch listener whose callback does nothing, the ceiling;
- bridge: ``vimfed bridge``, until Kafka has acknowledged every record;
- two bridges: the same, two processes in one pool;
- HTTP: an oslo.messaging listener that posts each message to an HTTP sink on this machine before it
  takes the next, as this job's predecessor did (a tenth of the messages).

The jobs take turns, so that what else the machine does hits all of them. Then oslo's own Notifier
sends 500 messages a second, and the time from the call of ``Notifier.info`` until the record lies
on Kafka (the broker's own stamp) is measured.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import psutil

from benchmarks.jobs.listeners import POOL
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.notifications import rabbit_sender
from tests.support.paths import DATA
from tests.support.sections import rabbit_cloud
from tests.support.topics import count_records, read_topic
from tests.support.traces import PLAIN
from vimfed.local.kafka import LocalKafka

RATE = 500
SECONDS = 30


class Rate(NamedTuple):
    """Messages per second, and per second of CPU time."""

    per_second: float
    per_cpu_second: float


class Bench:
    """The brokers and the folder of a run."""

    def __init__(self, folder: Path, kafka: LocalKafka, rabbitmq: RabbitMQ) -> None:
        self._folder = folder
        self._kafka = kafka
        self._rabbitmq = rabbitmq
        self._bridges = 0
        with gzip.open(DATA / f"{PLAIN}-trace.jsonl.gz", "rt") as lines:
            self._bodies = [json.loads(line)["body"].encode() for line in lines]

    def fill(self, count: int) -> None:
        """Put that many messages into the pool's queue."""
        with rabbit_sender(self._rabbitmq.url) as sender:
            sender.declare_pool(POOL)
            sender.send_all(self._bodies[n % len(self._bodies)] for n in range(count))
            eventually(lambda: sender.depth(POOL) == count, "the queue is filled", 60)

    def plain_listener(self, kind: str, count: int, *arguments: str) -> Rate:
        """Drain the queue with a listener that is not ours."""
        self.fill(count)
        done = subprocess.run(
            [*_JOB, kind, self._rabbitmq.url, str(count), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        told = json.loads(done.stdout)
        return Rate(count / told["seconds"], count / told["cpu_seconds"])

    def bridges(self, count: int, processes: int) -> Rate:
        """Drain it with bridges; from the first record on Kafka to the last, by Kafka's stamps."""
        prefix = self._prefix()
        idle_cpu = self._idle_cpu_seconds()
        self.fill(count)
        with self._running(prefix, processes) as running:
            topic = f"{prefix}.notifications"
            eventually(lambda: count_records(self._kafka.bootstrap, topic) >= count, "all", 300)
            cpu = sum(_cpu_seconds(bridge) - idle_cpu for bridge in running)
        stamps = [record.timestamp()[1] for record in read_topic(self._kafka.bootstrap, topic)]
        seconds = (max(stamps) - min(stamps)) / 1000
        return Rate(len(stamps) / seconds, count / cpu)

    def latencies(self) -> list[float]:
        """Return milliseconds from Notifier.info to the record; the first second is a warm-up."""
        prefix = self._prefix()
        topic = f"{prefix}.notifications"
        count = RATE * SECONDS
        with self._running(prefix, 1) as [bridge]:
            bridge.wait_until_connected("Owner_Region")
            subprocess.run(
                [*_JOB, "send", self._rabbitmq.url, str(SECONDS), str(RATE)],
                stderr=subprocess.DEVNULL,
                check=True,
            )
            eventually(lambda: count_records(self._kafka.bootstrap, topic) >= count, "all", 60)
        records = read_topic(self._kafka.bootstrap, topic)
        times = sorted(
            (json.loads(record.value() or b"")["payload"]["sent_ms"], record.timestamp()[1])
            for record in records
        )
        return [stamp - sent for sent, stamp in times[RATE:]]

    def _prefix(self) -> str:
        self._bridges += 1
        return f"run{self._bridges}"

    def _idle_cpu_seconds(self) -> float:
        """Return what a bridge's start costs, which is not work on messages."""
        with self._running(self._prefix(), 1) as [bridge]:
            bridge.wait_until_connected("Owner_Region")
            return _cpu_seconds(bridge)

    @contextmanager
    def _running(self, prefix: str, processes: int) -> Iterator[list[BridgeProcess]]:
        made = [
            BridgeProcess(
                self._folder / f"{prefix}-{number}",
                kafka={"bootstrap": self._kafka.bootstrap, "topic_prefix": prefix},
                vims=[rabbit_cloud(self._rabbitmq.url, pool=POOL)],
            )
            for number in range(processes)
        ]
        for bridge in made:
            bridge.start()
        yield made
        for bridge in made:
            bridge.stop()


_JOB = [sys.executable, "-m", "benchmarks.jobs.listeners"]


def _cpu_seconds(bridge: BridgeProcess) -> float:
    times = psutil.Process(bridge.child.pid).cpu_times()
    return times.user + times.system


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take the body and answer as Message Router does."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rates: dict[str, list[Rate]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(new_kafka(folder / "kafka"))
        rabbitmq = stack.enter_context(RabbitMQ(folder / "rabbitmq"))
        sink = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
        stack.callback(sink.shutdown)
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        bench = Bench(folder, kafka, rabbitmq)
        count, few = chosen.messages, chosen.messages // 10
        jobs: dict[str, Callable[[], Rate]] = {
            "a: oslo batch listener that does nothing": lambda: bench.plain_listener(
                "nothing", count
            ),
            "b: this bridge, one process": lambda: bench.bridges(count, 1),
            "b: this bridge, two processes": lambda: bench.bridges(count, 2),
            "c: oslo listener, an HTTP POST per message": lambda: bench.plain_listener(
                "post", few, str(sink.server_port)
            ),
        }
        for turn in range(chosen.rounds):
            for name, job in jobs.items():
                rate = job()
                print(f"round {turn + 1}: {name}: {rate.per_second:,.0f}/s", file=sys.stderr)
                rates.setdefault(name, []).append(rate)
        latencies = bench.latencies()
    print("| listener | messages/s | messages per CPU second |\n|---|---|---|")
    for name, measured in rates.items():
        per_second = median(rate.per_second for rate in measured)
        print(
            f"| {name} | {per_second:,.0f} | "
            f"{median(rate.per_cpu_second for rate in measured):,.0f} |"
        )
    cuts = quantiles(latencies, n=1000)
    print(
        f"\nFrom Notifier.info to the record on Kafka at {RATE}/s: p50 {cuts[499]:.1f} ms, "
        f"p99 {cuts[989]:.1f} ms, p99.9 {cuts[998]:.1f} ms, most {max(latencies):.1f} ms"
    )


if __name__ == "__main__":
    main()
