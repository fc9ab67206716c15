"""How each cloud's Prometheus is doing, for metrics and health."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.poller.progress import CycleCounters, CycleProgress
from vimfed.telemetry.prometheus import PassedOver


class PrometheusCounters(CycleCounters):
    """The counters of those who ask a Prometheus, per cloud."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "vimfed_prometheus")
        self.records = self.counter("records", "records with samples that Kafka has acknowledged")
        self.passed_over = self.counter(
            "passed_over", "series of answers that are no samples, by why", "reason"
        )


class PrometheusProgress(CycleProgress):
    """The progress of one who asks a cloud's Prometheus."""

    what = "Prometheus of"

    def __init__(self, vim_id: str, interval: float, counters: PrometheusCounters) -> None:
        super().__init__(vim_id, interval, counters)
        self.faults: Mapping[str, str] = {}
        """Why queries were not answered in the last cycle, by meter; the others were."""
        self._counters = counters
        counters.records.labels(vim_id)
        for reason in get_args(PassedOver):
            counters.passed_over.labels(vim_id, reason)

    def wrote(self, records: int) -> None:
        """Note that Kafka has acknowledged records."""
        self._counters.records.labels(self.vim_id).inc(records)

    def passed_over(self, counts: Counter[PassedOver]) -> None:
        """Note series that are no samples."""
        for reason, count in counts.items():
            self._counters.passed_over.labels(self.vim_id, reason).inc(count)

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why samples are missing, of all queries or of some, where that is so."""
        of_queries = {
            f"{self.what} {self.vim_id}, query {meter}": why for meter, why in self.faults.items()
        }
        return {**super().troubles, **of_queries}


class PrometheusCollector(Collector):
    """Gauges that are read from those who ask a Prometheus when somebody asks."""

    def __init__(self, progresses: Callable[[], Iterable[PrometheusProgress]]) -> None:
        self._progresses = progresses

    def collect(self) -> Iterable[Metric]:
        """Return the gauges of all clouds."""
        success = _gauge(
            "last_success_timestamp_seconds",
            "when Prometheus was last asked for samples, since 1970; 0: never yet",
        )
        failing = _gauge("failing", "1 while the last cycle failed")
        faults = _gauge("failing_queries", "queries that were not answered in the last cycle")
        interval = _gauge("interval_seconds", "seconds between two cycles")
        for progress in self._progresses():
            vim_id = [progress.vim_id]
            success.add_metric(vim_id, progress.succeeded_at or 0.0)
            failing.add_metric(vim_id, bool(progress.failing))
            faults.add_metric(vim_id, len(progress.faults))
            interval.add_metric(vim_id, progress.interval)
        return [success, failing, faults, interval]


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vimfed_prometheus_{name}", text, labels=["vim_id"])
