"""The bridge beside other listeners, on the messages of the recorded trace.

    python -m benchmarks.bridge [--messages 15000] [--rounds 3]

RabbitMQ and Kafka are started for the run. Before each job its queue is filled with the recorded
run's messages, as often as it takes; then the job drains it:

- nothing: an oslo.messaging batch listener whose callback does nothing, the ceiling;
- bridge: ``vimfed bridge``, until Kafka has acknowledged every record;
- two bridges: the same, two processes in one pool;
- ceilometer: its notification agent, of one worker and of two, until its events are on Kafka;
- HTTP: an oslo.messaging listener that posts each message to an HTTP sink on this machine before it
  takes the next, as this job's predecessor did (a tenth of the messages).

The jobs take turns, so that what else the machine does hits all of them. What writes to Kafka is
measured from when all of its processes listen to the last record, by Kafka's stamps. RabbitMQ and
Kafka share the cores with it: where the three columns of CPU add up to all of them, nothing is left
that another process could use.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import NamedTuple

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks._measuring import cpu_seconds
from benchmarks.jobs import ceilometer
from benchmarks.jobs.listeners import POOL
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.notifications import EXCHANGE, QUEUE, rabbit_sender
from tests.support.paths import DATA
from tests.support.sections import rabbit_cloud
from tests.support.topics import count_records, read_topic
from tests.support.traces import PLAIN
from vimfed.local.kafka import LocalKafka
from vimfed.nova import oslo
from vimfed.nova.service_notification import SERVICE_TYPES


class CpuTime(NamedTuple):
    """Seconds that the processes of a job and the brokers have taken."""

    job: float
    rabbitmq: float
    kafka: float

    def since(self, before: "CpuTime") -> "CpuTime":
        """Return what they have taken since then."""
        return CpuTime(*(late - early for late, early in zip(self, before, strict=True)))


class Rate(NamedTuple):
    """What a job did; the fields are the columns of the table."""

    per_second: float
    per_cpu_second: float
    job_cpu: float
    """Percent of a core; so the next ones."""
    rabbitmq_cpu: float
    kafka_cpu: float


COLUMNS = (
    "messages/s",
    "messages per CPU second",
    "listener's CPU, %",
    "RabbitMQ's CPU, %",
    "Kafka's CPU, %",
)


def rate(count: int, seconds: float, took: CpuTime) -> Rate:
    """Return the rate of so many messages."""
    return Rate(count / seconds, count / took.job, *(each / seconds * 100 for each in took))


class Queue(NamedTuple):
    """What a job drains; each kind of job has an exchange of its own: it fills no other queue."""

    exchange: str
    name: str


class Job(NamedTuple):
    """Processes that bring each message of a queue to a topic of Kafka."""

    queue: Queue
    topic: str
    """Below the prefix of a run."""
    consumers: int
    """So many has the queue when all of the processes listen."""
    running: Callable[[str], AbstractContextManager[Sequence[int]]]
    """Starts the processes with a prefix of topics, yields their ids, and ends them."""


class Bench:
    """The brokers and the folder of a run."""

    def __init__(self, folder: Path, kafka: LocalKafka, rabbitmq: RabbitMQ) -> None:
        self._folder = folder
        self._kafka = kafka
        self._rabbitmq = rabbitmq
        self._runs = 0
        with gzip.open(DATA / f"{PLAIN}-trace.jsonl.gz", "rt") as lines:
            bodies = (json.loads(line)["body"].encode() for line in lines)
            # Without these nine: what nova says of a service is a record for each partition.
            self._bodies = [
                body for body in bodies if oslo.decode(body).event_type not in SERVICE_TYPES
            ]

    def fill(self, count: int, queue: Queue) -> None:
        """Put that many messages into a queue."""
        with rabbit_sender(self._rabbitmq.url, exchange=queue.exchange) as sender:
            sender.declare_pool(queue.name)
            sender.send_all(self._bodies[n % len(self._bodies)] for n in range(count))
            eventually(lambda: sender.depth(queue.name) == count, "the queue is filled", 60)

    def plain(self, kind: str, count: int, *arguments: str) -> Rate:
        """Drain a pool's queue with a listener that writes nothing to Kafka."""
        self.fill(count, POOLED)
        before = self._cpu_time([])
        done = subprocess.run(
            [*_LISTENER, kind, self._rabbitmq.url, str(count), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        told = json.loads(done.stdout)
        took = self._cpu_time([]).since(before)._replace(job=told["cpu_seconds"])
        return rate(count, told["seconds"], took)

    def drain(self, job: Job, count: int) -> Rate:
        """Drain a queue with a job that writes a record for each message."""
        self._runs += 1
        prefix = f"run{self._runs}"
        topic = f"{prefix}.{job.topic}"
        self.fill(count, job.queue)
        with (
            rabbit_sender(self._rabbitmq.url, exchange=job.queue.exchange) as sender,
            job.running(prefix) as pids,
        ):
            eventually(lambda: sender.consumers(job.queue.name) >= job.consumers, "all listen", 60)
            begun, before = time.time() * 1000, self._cpu_time(pids)
            eventually(lambda: count_records(self._kafka.bootstrap, topic) >= count, "all", 300)
            took = self._cpu_time(pids).since(before)
        stamps = [record.timestamp()[1] for record in read_topic(self._kafka.bootstrap, topic)]
        counted = [stamp for stamp in stamps if stamp > begun]
        return rate(len(counted), (max(counted) - begun) / 1000, took)

    def bridges(self, processes: int) -> Job:
        """Return bridges of one pool."""

        @contextmanager
        def running(prefix: str) -> Iterator[list[int]]:
            bridges = [
                BridgeProcess(
                    self._folder / f"{prefix}-{number}",
                    kafka={
                        "bootstrap": self._kafka.bootstrap,
                        "topic_prefix": prefix,
                        "retention": {"unused": True},  # as many records as messages
                    },
                    vims=[rabbit_cloud(self._rabbitmq.url, pool=POOL)],
                )
                for number in range(processes)
            ]
            for bridge in bridges:
                bridge.start()
            yield [bridge.child.pid for bridge in bridges]
            for bridge in bridges:
                bridge.stop()

        return Job(POOLED, "notifications", processes, running)

    def ceilometer(self, workers: int) -> Job:
        """Return ceilometer's notification agent."""

        @contextmanager
        def running(prefix: str) -> Iterator[list[int]]:
            config = {"message.timestamp.type": "LogAppendTime"}
            topic = NewTopic(f"{prefix}.{ceilometer.TOPIC}", PARTITIONS, 1, config=config)
            admin = AdminClient({"bootstrap.servers": self._kafka.bootstrap})
            admin.create_topics([topic])[topic.topic].result(30)
            agent = ceilometer.notification_agent(
                self._folder / prefix,
                rabbitmq=self._rabbitmq.url,
                exchange=UNPOOLED.exchange,
                kafka=self._kafka.bootstrap,
                prefix=prefix,
                workers=workers,
            )
            agent.spawn()
            yield [agent.pid]
            agent.stop()

        return Job(UNPOOLED, ceilometer.TOPIC, workers, running)

    def _cpu_time(self, pids: Sequence[int]) -> CpuTime:
        brokers = self._rabbitmq.child.pid, self._kafka.child.pid
        return CpuTime(sum(map(cpu_seconds, pids)), *map(cpu_seconds, brokers))


POOLED = Queue(EXCHANGE, POOL)
UNPOOLED = Queue("ceilometer", QUEUE)
"""ceilometer knows no pools: its queues are named as nova's topics."""
PARTITIONS = 8
_LISTENER = [sys.executable, "-m", "benchmarks.jobs.listeners"]


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
    parser.add_argument("--messages", type=int, default=15_000)
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
            "a: oslo batch listener that does nothing": lambda: bench.plain("nothing", count),
            "b: this bridge, one process": lambda: bench.drain(bench.bridges(1), count),
            "b: this bridge, two processes": lambda: bench.drain(bench.bridges(2), count),
            "c: ceilometer's agent, one worker": lambda: bench.drain(bench.ceilometer(1), count),
            "c: ceilometer's agent, two workers": lambda: bench.drain(bench.ceilometer(2), count),
            "d: oslo listener, an HTTP POST per message": lambda: bench.plain(
                "post", few, str(sink.server_port)
            ),
        }
        for turn in range(chosen.rounds):
            for name, job in jobs.items():
                found = job()
                print(f"round {turn + 1}: {name}: {found.per_second:,.0f}/s", file=sys.stderr)
                rates.setdefault(name, []).append(found)
    print(f"| listener | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name, measured in rates.items():
        cells = (f"{median(figures):,.0f}" for figures in zip(*measured, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
