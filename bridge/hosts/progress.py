"""How the looks at each cloud's hosts are doing, for metrics and health."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.poller.progress import CycleCounters, CycleProgress


class HostsCounters(CycleCounters):
    """The counters of those who look at hosts, per cloud."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "vimfed_hosts")
        self.reports = self.counter("reports", "records about hosts that Kafka has acknowledged")


class HostsProgress(CycleProgress):
    """The progress of one who looks at a cloud's hosts."""

    what = "hosts of"

    def __init__(self, vim_id: str, interval: float, counters: HostsCounters) -> None:
        super().__init__(vim_id, interval, counters)
        self.by_state = dict.fromkeys(STATES, 0)
        """How many hosts are how, by the last answer."""
        self._counters = counters
        counters.reports.labels(vim_id)

    def wrote(self, records: int) -> None:
        """Note that Kafka has acknowledged records."""
        self._counters.reports.labels(self.vim_id).inc(records)


STATES = ("up", "down", "unknown")
"""unknown: the cell does not answer."""


class HostsCollector(Collector):
    """Gauges that are read from those who look at hosts when somebody asks."""

    def __init__(self, progresses: Callable[[], Iterable[HostsProgress]]) -> None:
        self._progresses = progresses

    def collect(self) -> Iterable[Metric]:
        """Return the gauges of all clouds."""
        hosts = GaugeMetricFamily(
            "vimfed_hosts_listed",
            "hosts that the cloud lists, by what it calls them",
            labels=["vim_id", "state"],
        )
        success = GaugeMetricFamily(
            "vimfed_hosts_last_success_timestamp_seconds",
            "when the cloud last said how its hosts are, since 1970; 0: never yet",
            labels=["vim_id"],
        )
        failing = GaugeMetricFamily(
            "vimfed_hosts_failing", "1 while the last look at its hosts failed", labels=["vim_id"]
        )
        interval = GaugeMetricFamily(
            "vimfed_hosts_interval_seconds", "seconds between two looks", labels=["vim_id"]
        )
        for progress in self._progresses():
            vim_id = progress.vim_id
            for state, count in progress.by_state.items():
                hosts.add_metric([vim_id, state], count)
            success.add_metric([vim_id], progress.succeeded_at or 0.0)
            failing.add_metric([vim_id], bool(progress.failing))
            interval.add_metric([vim_id], progress.interval)
        return [hosts, success, failing, interval]
