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


class CycleCounters:
    """The counters of all pollers of a kind, per cloud."""

    def __init__(self, registry: CollectorRegistry, kind: str) -> None:
        """``kind``: how the names of its metrics begin."""
        self._kind, self._registry = kind, registry
        self.requests = self.counter("requests", "requests to the compute API")
        self.failures = self.counter("failures", "cycles that failed, by why", "reason")
        self.cycles = Histogram(
            f"{kind}_cycle_seconds",
            "what a cycle took that succeeded",
            ["vim_id"],
            buckets=CYCLE_BUCKETS,
            registry=registry,
        )

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Return a counter of the kind, by cloud and ``labels``."""
        return Counter(f"{self._kind}_{name}", text, ("vim_id", *labels), registry=self._registry)


class PollerCounters(CycleCounters):
    """The counters of those who poll servers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "vimfed_poller")
        self.findings = self.counter("findings", "states and actions that Kafka has acknowledged")
        self.absences = self.counter(
            "absences",
            "known instances that were not listed, by what became of them",
            "outcome",
        )


class CycleProgress:
    """One cloud's poller. Each attribute has one writer, so plain attributes do across threads."""

    what = "polling"
    """What does not go on, as ``/readyz`` names it."""

    def __init__(self, vim_id: str, interval: float, counters: CycleCounters) -> None:
        self.vim_id = vim_id
        self.interval = interval
        self._started_at = time.time()
        self.succeeded_at: float | None = None
        """When the last good cycle ended, seconds since 1970."""
        self.failing = ""
        """Why the last cycle failed; empty where it succeeded."""
        self._reason = ""
        self._cycles = counters
        for each in (counters.requests, counters.cycles):
            each.labels(vim_id)

    def asked(self, requests: int) -> None:
        """Note that the API was asked, whatever it answered."""
        self._cycles.requests.labels(self.vim_id).inc(requests)

    def wrote(self, records: int) -> None:
        """Note that Kafka has acknowledged records."""
        raise NotImplementedError

    def succeeded(self, seconds: float) -> bool:
        """Note a good cycle; return whether it is the first, or the first after a failure."""
        self._cycles.cycles.labels(self.vim_id).observe(seconds)
        is_news = self.succeeded_at is None or self.failing != ""
        self.succeeded_at = time.time()
        self.failing = self._reason = ""
        return is_news

    def failed(self, reason: str, text: str) -> bool:
        """Note a failed cycle; return whether the reason is another than before."""
        self._cycles.failures.labels(self.vim_id, reason).inc()
        is_news = reason != self._reason
        self._reason, self.failing = reason, f"{reason}: {text}"
        return is_news

    def wrong(self, _stuck_after: float) -> str:
        """Return an empty string: no restart makes an API answer."""
        return ""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why what is known of the cloud grows old, where that is so."""
        return {f"{self.what} {self.vim_id}": self.trouble} if self.trouble else {}

    @property
    def flows(self) -> bool:
        """Whether what is known of the cloud is as new as it is to be."""
        return self.succeeded_at is not None and not self.trouble

    @property
    def lag(self) -> float:
        """Seconds since the last good cycle, where all is not well."""
        return 0.0 if self.flows else self.age

    @property
    def trouble(self) -> str:
        """Why it grows old, and how old it is; empty where all is well."""
        age = self.age
        why = self.failing
        if not why and age > STALE_INTERVALS * self.interval + STALE_AT_LEAST:
            why = "stuck: no cycle has ended"
        last = "never" if self.succeeded_at is None else f"{age:.0f} s ago"
        return why and f"{why}; last polled: {last}"

    @property
    def age(self) -> float:
        """Seconds since the last good cycle, or since the start."""
        return time.time() - (self.succeeded_at or self._started_at)


class PollerProgress(CycleProgress):
    """The progress of one who polls a cloud's servers."""

    def __init__(self, vim_id: str, interval: float, counters: PollerCounters) -> None:
        super().__init__(vim_id, interval, counters)
        self.listed = 0
        """Servers that the last cycle was shown."""
        self.absent = 0
        """Known instances that the API does not list, and that are still to be asked for."""
        self.compared_at: float | None = None
        """When a comparison with what is known last ended, seconds since 1970."""
        self.why_not_compared = ""
        """Why the last comparison had no result; empty where it had one."""
        self._counters = counters
        counters.findings.labels(vim_id)
        for outcome in OUTCOMES:
            counters.absences.labels(vim_id, outcome)

    def wrote(self, records: int) -> None:
        """Note that Kafka has acknowledged findings."""
        self._counters.findings.labels(self.vim_id).inc(records)

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

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why the cloud's states grow old, and why it was not compared, where that is so."""
        found = {self.what: self.trouble, "comparing": self.why_not_compared}
        return {f"{what} {self.vim_id}": why for what, why in found.items() if why}


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
