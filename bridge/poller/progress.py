"""How each cloud's poller is doing: written by the poller, read by metrics and health."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CYCLE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OUTCOMES = ("deleted", "there", "unanswered")
"""What can become of a known instance that the cloud does not list."""
STALE_INTERVALS = 5
STALE_AT_LEAST = 60.0
"""A cycle may last for so many intervals and seconds before it counts as stuck."""


class PollerCounters:
    """The pollers' counters, per cloud."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            labels = ("vim_id", *labels)
            return Counter(name, text, labels, registry=registry)

        self.requests = counter("vimfed_poller_requests", "requests to the compute API")
        self.findings = counter(
            "vimfed_poller_findings", "states and actions that Kafka has acknowledged"
        )
        self.absences = counter(
            "vimfed_poller_absences",
            "known instances that were not listed, by what became of them",
            "outcome",
        )
        self.failures = counter("vimfed_poller_failures", "cycles that failed, by why", "reason")
        self.cycles = Histogram(
            "vimfed_poller_cycle_seconds",
            "what a cycle took that succeeded",
            ["vim_id"],
            buckets=CYCLE_BUCKETS,
            registry=registry,
        )


class PollerProgress:
    """One cloud's poller. Each attribute has one writer, so plain attributes do across threads."""

    def __init__(self, vim_id: str, interval: float, counters: PollerCounters) -> None:
        self.vim_id = vim_id
        self.interval = interval
        self.listed = 0
        """Servers that the last cycle was shown."""
        self._started_at = time.time()
        self.absent = 0
        """Known instances that the API does not list, and that are still to be asked for."""
        self.compared_at: float | None = None
        """When a comparison with what is known last ended, seconds since 1970."""
        self.why_not_compared = ""
        """Why the last comparison had no result; empty where it had one."""
        self.succeeded_at: float | None = None
        """When the last good cycle ended, seconds since 1970."""
        self.failing = ""
        """Why the last cycle failed; empty where it succeeded."""
        self._reason = ""
        self._counters = counters
        for each in (counters.requests, counters.findings, counters.cycles):
            each.labels(vim_id)
        for outcome in OUTCOMES:
            counters.absences.labels(vim_id, outcome)

    def asked(self, requests: int) -> None:
        """Note that the API was asked, whatever it answered."""
        self._counters.requests.labels(self.vim_id).inc(requests)

    def wrote(self, findings: int) -> None:
        """Note that Kafka has acknowledged findings."""
        self._counters.findings.labels(self.vim_id).inc(findings)

    def found_absent(self, outcome: str, servers: int) -> None:
        """Note what became of known instances that were not listed."""
        self._counters.absences.labels(self.vim_id, outcome).inc(servers)

    def compared(self) -> None:
        """Note that the table has been compared with the cloud."""
        self.absent = 0
        self.compared_at = time.time()
        self.why_not_compared = ""

    def not_compared(self, why: str) -> bool:
        """Note a comparison without a result; return whether the reason is another than before."""
        self.absent = 0
        is_news = why != self.why_not_compared
        self.why_not_compared = why
        return is_news

    def succeeded(self, seconds: float) -> bool:
        """Note a good cycle; return whether it is the first, or the first after a failure."""
        self._counters.cycles.labels(self.vim_id).observe(seconds)
        is_news = self.succeeded_at is None or self.failing != ""
        self.succeeded_at = time.time()
        self.failing = self._reason = ""
        return is_news

    def failed(self, reason: str, text: str) -> bool:
        """Note a failed cycle; return whether the reason is another than before."""
        self._counters.failures.labels(self.vim_id, reason).inc()
        is_news = reason != self._reason
        self._reason, self.failing = reason, f"{reason}: {text}"
        return is_news

    def wrong(self, _stuck_after: float) -> str:
        """Return an empty string: no restart makes an API answer."""
        return ""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why the cloud's states grow old, and why it was not compared, where that is so."""
        found = {"polling": self.trouble, "comparing": self.why_not_compared}
        return {f"{what} {self.vim_id}": why for what, why in found.items() if why}

    @property
    def flows(self) -> bool:
        """Whether the cloud's states are as new as they are to be."""
        return self.succeeded_at is not None and not self.trouble

    @property
    def trouble(self) -> str:
        """Why the cloud's states grow old, and how old they are; empty where all is well."""
        age = time.time() - (self.succeeded_at or self._started_at)
        why = self.failing
        if not why and age > STALE_INTERVALS * self.interval + STALE_AT_LEAST:
            why = "stuck: no cycle has ended"
        last = "never" if self.succeeded_at is None else f"{age:.0f} s ago"
        return why and f"{why}; last polled: {last}"


class PollerCollector(Collector):
    """Gauges that are read from the pollers when somebody asks."""

    def __init__(self, progresses: Callable[[], Iterable[PollerProgress]]) -> None:
        self._progresses = progresses

    def collect(self) -> Iterable[Metric]:
        """Return the gauges of all polled clouds."""
        success = _gauge(
            "vimfed_poller_last_success_timestamp_seconds",
            "when the cloud was last polled completely, since 1970: its states' age; 0: never yet",
        )
        failing = _gauge("vimfed_poller_failing", "1 while the last cycle failed")
        listed = _gauge("vimfed_poller_servers", "servers that the last good cycle was shown")
        compared = _gauge(
            "vimfed_poller_last_comparison_timestamp_seconds",
            "when the table was last compared with the cloud, since 1970; 0: never yet",
        )
        absent = _gauge(
            "vimfed_poller_absent", "known instances that are not listed, and still to be asked for"
        )
        interval = _gauge("vimfed_poller_interval_seconds", "seconds between two cycles")
        for progress in self._progresses():
            vim_id = progress.vim_id
            success.add_metric([vim_id], progress.succeeded_at or 0.0)
            failing.add_metric([vim_id], bool(progress.failing))
            listed.add_metric([vim_id], progress.listed)
            compared.add_metric([vim_id], progress.compared_at or 0.0)
            absent.add_metric([vim_id], progress.absent)
            interval.add_metric([vim_id], progress.interval)
        return [success, failing, listed, compared, absent, interval]


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["vim_id"])
