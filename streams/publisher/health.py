"""How a publisher is doing, as metrics, and whether only a restart can help it."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.engine.batched_transport import TP, BatchedConsumer
from streams.engine.standstill import Place, StandstillWatch
from streams.publisher.delivery import Delivery, Gate
from streams.subscriptions.log import SubscriptionLog
from vimfed.kafka.aio import KafkaError, TopicPartition
from vimfed.process.metrics import delay_histogram
from vimfed.process.trace_carriers import Exemplar
from vimfed.settings import WorkerSettings

ENDS_EVERY = 1.0
"""Seconds between two questions where the partitions end."""


class PublisherCounters:
    """What the publisher of one output has done since it started."""

    def __init__(self, registry: CollectorRegistry, output: str) -> None:
        def counter(name: str, text: str) -> Counter:
            family = Counter(name, text, ["output"], registry=registry)
            return family.labels(output)

        self._published = counter(
            "vimfed_publisher_published", "messages that DMaaP has acknowledged"
        )
        self._passed = counter("vimfed_publisher_passed", "records that no subscription wants")
        self._retries = counter(
            "vimfed_publisher_retries", "failed attempts that are to be made again"
        )
        self._dead_letters = counter("vimfed_publisher_dead_letters", "messages that were given up")
        self._delays = delay_histogram(
            registry,
            "vimfed_publisher_delay_seconds",
            "from when Kafka took the oldest record of a batch until the output had the batch",
            "output",
        ).labels(output)
        self.replays: set[int] = set()
        """Partitions of which something is being sent again."""

    @contextmanager
    def replaying(self, partition: int) -> Iterator[None]:
        """Note that something of a partition is being sent again while the block runs."""
        self.replays.add(partition)
        try:
            yield
        finally:
            self.replays.discard(partition)

    def delivered(self, count: int) -> None:
        """Count messages that DMaaP has."""
        self._published.inc(count)

    def took(self, delay: float, exemplar: Exemplar | None = None) -> None:
        """Note for how long the oldest record of a batch has waited, in seconds.

        ``exemplar`` names a trace of the batch.
        """
        self._delays.observe(delay, exemplar)

    def passed(self, count: int) -> None:
        """Count records that are not wanted."""
        self._passed.inc(count)

    def retried(self) -> None:
        """Count an attempt that is to be made again."""
        self._retries.inc()

    def given_up(self, count: int) -> None:
        """Count messages that went to the dead-letter topic."""
        self._dead_letters.inc(count)


class PublisherHealth(Collector):
    """Gauges that are read when somebody asks, and the watch over progress."""

    def __init__(
        self,
        output: str,
        consumer: BatchedConsumer,
        delivery: Delivery,
        counters: PublisherCounters,
        gate: Gate,
        worker: WorkerSettings,
        retention: float,
    ) -> None:
        """``retention`` is for how long Kafka keeps what the output is to get, in seconds."""
        self._output = output
        self._retention = retention
        self._consumer = consumer
        self._delivery = delivery
        self._counters = counters
        self._gate = gate
        self._watch = StandstillWatch(worker.stuck_after)
        self._session_timeout = worker.session_timeout
        self._ends: Mapping[TopicPartition, int] = {}

    async def watch_ends(self, log: SubscriptionLog) -> None:
        """Keep knowing where the partitions end.

        The consumer itself hears of it only while it fetches, and not while DMaaP is away.
        """
        while True:
            try:
                self._ends = await log.ends([TopicPartition(*tp) for tp in self._partitions()])
            except KafkaError:
                self._ends = {}
            self.wrong()  # it notes which partitions have moved on, also while nobody asks
            await asyncio.sleep(ENDS_EVERY)

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        lag = GaugeMetricFamily(
            "vimfed_publisher_lag",
            "records of a partition that are not done",
            labels=["output", "partition"],
        )
        for tp in sorted(self._partitions()):
            lag.add_metric([self._output, str(tp.partition)], self._lag(tp))
        yield lag
        expired = CounterMetricFamily(
            "vimfed_publisher_expired_unread",
            "records that retention has removed before they were read",
            labels=["output", "partition"],
        )
        for tp in sorted({*self._partitions(), *self._consumer.expired}):
            lost = self._consumer.expired[tp]
            expired.add_metric([self._output, str(tp.partition)], lost)
        yield expired

        def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
            family = GaugeMetricFamily(name, text, labels=["output"])
            family.add_metric([self._output], value)
            return family

        failing_since = self._delivery.failing_since
        yield gauge(
            "vimfed_publisher_failing_seconds",
            "for how long the output has taken nothing; 0 while it takes messages",
            0.0 if failing_since is None else time.monotonic() - failing_since,
        )
        yield gauge(
            "vimfed_publisher_paused", "whether the output is paused", bool(self._gate.paused_at)
        )
        yield gauge(
            "vimfed_publisher_replays",
            "partitions of which something is being sent again",
            len(self._counters.replays),
        )
        yield gauge(
            "vimfed_publisher_circuit_open",
            "1 while nothing is sent to the output, a webhook, but a request that tries; else 0",
            float(self._delivery.is_circuit_open),
        )
        yield gauge(
            "vimfed_publisher_oldest_undelivered_seconds",
            "since Kafka took the oldest record that this process has read and not delivered",
            max(map(self._consumer.oldest_undone_seconds, self._partitions()), default=0.0),
        )
        yield gauge(
            "vimfed_publisher_retention_seconds",
            "for how long Kafka keeps what the output is to get",
            self._retention,
        )

    def ready(self) -> dict[str, str]:
        """Return why nothing is delivered."""
        wrong = {}
        if self._consumer.membership.age > self._session_timeout:
            wrong["kafka"] = "has not confirmed our membership of the consumer group"
        if self._delivery.failing_since is not None:
            is_open = "the circuit is open: " if self._delivery.is_circuit_open else ""
            wrong[f"output {self._output}"] = f"{is_open}{self._delivery.failure}"
        if self._gate.paused_at:
            wrong[f"output {self._output}"] = (
                f"paused at {self._gate.paused_at}; vimfed output resume {self._output} lets it "
                f"go on; Kafka keeps what waits for {self._retention:.0f} s"
            )
        return wrong

    def wrong(self) -> dict[str, str]:
        """Return why this publisher needs a restart: a partition stands, and for nobody else."""
        # A batch of which an output has taken some already moves on, however long it takes.
        places = {
            tp.partition: Place(self._reached(tp), self._lag(tp)) for tp in self._partitions()
        }
        excused = (
            self._delivery.failing_since is not None
            or bool(self._gate.paused_at or self._counters.replays)
            or bool(self._consumer.leaderless())
        )
        stuck = self._watch.look(places, is_excused=excused)
        return {
            f"partition {partition}": (
                f"{places[partition].lag} records wait, and none was done for {seconds:.0f} s"
            )
            for partition, seconds in stuck.items()
        }

    def _reached(self, tp: TP) -> int | None:
        """Return a number that changes as a partition moves on."""
        undone, taken = self._consumer.undone(tp), self._delivery.reached.get(tp.partition)
        if undone is None:
            return None
        # What waits for its turn moves on with whatever the output takes: a slow one takes from one
        # partition after the other.
        others = self._delivery.handled if tp.partition in self._delivery.under_way else 0
        return max(undone, undone if taken is None else taken) + others

    def _partitions(self) -> list[TP]:
        return [
            TP(tp.topic, tp.partition)
            for tp in self._consumer.assignment()
            if tp.topic in self._consumer.sources
        ]

    def _lag(self, tp: TP) -> int:
        undone, end = self._consumer.undone(tp), self._ends.get(TopicPartition(*tp))
        return 0 if undone is None or end is None else max(0, end - undone)
