"""How a worker is doing, as metrics, and whether only a restart can help it."""

import logging
from collections import Counter as Tally
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.core.fold import FoldedBatch
from streams.engine.standstill import Place, StandstillWatch
from vimfed.process.metrics import delay_histogram
from vimfed.process.trace_carriers import Exemplar

LOG = logging.getLogger(__name__)

BATCH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MAX_EVENT_TYPES = 200
"""So many event types that are passed over are counted by name; a cloud can make up any number."""


class WorkerCounters:
    """What the worker has done since it started."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._records = counter("vimfed_worker_records", "notification records processed")
        self._events = counter("vimfed_worker_events", "events told")
        self._rejected = counter(
            "vimfed_worker_dead_letters", "records that went to the dead-letter topic"
        )
        self._reconciled = counter(
            "vimfed_worker_reconciled",
            "events that a poller found before any notification told of them",
            "vim_id",
        )
        self._outcomes = counter(
            "vimfed_worker_outcomes", "notifications by what came of them", "outcome"
        )
        self._passed = counter(
            "vimfed_worker_passed", "notifications passed over, by event type", "event_type"
        )
        self._seconds = Histogram(
            "vimfed_worker_batch_seconds",
            "from the start of a batch until all that follows from it was durable",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._delays = delay_histogram(
            registry,
            "vimfed_worker_delay_seconds",
            "from when Kafka took the oldest notification of a batch until its row was durable",
        )
        self._named: set[str] = set()

    def took(self, seconds: float, delay: float, exemplar: Exemplar | None = None) -> None:
        """Note how long a batch took, and how long its oldest notification has waited in all.

        ``exemplar`` names a trace of the batch.
        """
        self._seconds.observe(seconds, exemplar)
        self._delays.observe(delay, exemplar)

    def processed(self, records: int, folded: FoldedBatch) -> None:
        """Count a batch whose consequences are durable."""
        self._records.inc(records)
        self._events.inc(len(folded.events))
        self._rejected.inc(len(folded.rejected))
        for vim_id, count in folded.reconciled.items():
            self._reconciled.labels(vim_id).inc(count)
        for repaired in folded.repaired:
            LOG.info("polling found what no notification had told: %s", repaired)
        for outcome, count in folded.outcomes.items():
            self._outcomes.labels(outcome).inc(count)
        for event_type, count in self._bounded(folded.passed).items():
            self._passed.labels(event_type).inc(count)

    def _bounded(self, passed: Mapping[str, int]) -> Tally[str]:
        bounded: Tally[str] = Tally()
        for event_type, count in passed.items():
            if len(self._named) < MAX_EVENT_TYPES:
                self._named.add(event_type)
            bounded[event_type if event_type in self._named else "other"] += count
        return bounded


class WatchedWorker(Protocol):
    """What is read of a worker to say how it does; partitions are those that it owns."""

    @property
    def partitions(self) -> Collection[int]:
        """The partitions."""

    @property
    def rows(self) -> int:
        """How many rows they have."""

    @property
    def rebalances(self) -> int:
        """How many rebalances there were."""

    @property
    def recovery_seconds(self) -> float:
        """How long the last recovery took."""

    @property
    def membership_age(self) -> float:
        """Seconds since the membership was confirmed."""

    @property
    def is_processing(self) -> bool:
        """Whether records flow."""

    @property
    def expired_unread(self) -> Mapping[int, int]:
        """By partition, how many notifications were removed before they were read."""

    @property
    def instances(self) -> Mapping[str, Sequence[int]]:
        """By cloud, how many instances each partition with some has."""

    @property
    def quota(self) -> int:
        """How many instances one cloud may have; 0: any number."""

    @property
    def quota_of_partition(self) -> float:
        """How many instances of one cloud a partition may have."""

    def undone(self, partition: int) -> int | None:
        """Return the offset of the first notification that is not done."""

    def lag(self, partition: int) -> int:
        """Return how many notifications are not done."""

    def oldest_undone_seconds(self, partition: int) -> float:
        """Return how long the oldest notification that was read has waited."""


class WorkerHealth(Collector):
    """Gauges that are read when somebody asks, and the watch over progress."""

    def __init__(self, worker: WatchedWorker, stuck_after: float) -> None:
        """``stuck_after``: seconds after which a partition with lag stands still."""
        self._worker = worker
        self._watch = StandstillWatch(stuck_after)

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        worker = self._worker
        lag = GaugeMetricFamily(
            "vimfed_worker_lag", "records of a partition that are not done", labels=["partition"]
        )
        for partition in sorted(worker.partitions):
            lag.add_metric([str(partition)], worker.lag(partition))
        yield lag
        expired = CounterMetricFamily(
            "vimfed_worker_expired_unread",
            "notifications that retention has removed before they were read",
            labels=["partition"],
        )
        for partition, count in sorted(worker.expired_unread.items()):
            expired.add_metric([str(partition)], count)
        yield expired

        def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, text, value=value)

        yield gauge(
            "vimfed_worker_oldest_unprocessed_seconds",
            "since Kafka took the oldest notification that this process has read and not processed",
            max(map(worker.oldest_undone_seconds, worker.partitions), default=0.0),
        )
        yield gauge(
            "vimfed_worker_partitions", "partitions that this worker owns", len(worker.partitions)
        )
        yield gauge("vimfed_worker_rows", "rows in the partitions that it owns", worker.rows)
        yield from self._quotas()
        yield CounterMetricFamily("vimfed_worker_rebalances", "rebalances", value=worker.rebalances)
        yield gauge(
            "vimfed_worker_recovery_seconds", "what the last recovery took", worker.recovery_seconds
        )
        yield gauge(
            "vimfed_worker_membership_age_seconds",
            "since the consumer group's coordinator last confirmed our membership",
            worker.membership_age,
        )

    def _quotas(self) -> Iterable[Metric]:
        worker = self._worker
        instances = GaugeMetricFamily(
            "vimfed_worker_instances",
            "instances of a cloud in the partitions that this worker owns",
            labels=["vim_id"],
        )
        used = GaugeMetricFamily(
            "vimfed_worker_quota_used_ratio",
            "what a cloud has used of its quota in the fullest of them; at 1 no new ones are taken",
            labels=["vim_id"],
        )
        for vim_id, sizes in sorted(worker.instances.items()):
            instances.add_metric([vim_id], sum(sizes))
            used.add_metric([vim_id], max(sizes, default=0) / worker.quota_of_partition)
        yield instances
        yield used
        yield GaugeMetricFamily(
            "vimfed_worker_instances_quota",
            "instances that one cloud may have; 0: any number",
            value=worker.quota,
        )

    def wrong(self) -> dict[str, str]:
        """Return why this worker needs a restart: a partition with lag stands still.

        It does not while Kafka is away, nor while partitions are assigned or recovered.
        """
        worker = self._worker
        places = {}
        if worker.is_processing:
            places = {
                partition: Place(worker.undone(partition), worker.lag(partition))
                for partition in worker.partitions
            }
        return {
            f"partition {partition}": (
                f"{places[partition].lag} records wait, and none was done for {seconds:.0f} s"
            )
            for partition, seconds in self._watch.look(places).items()
        }
