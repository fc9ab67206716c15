"""What became of the samples, as metrics of a worker."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.core.metering import Metered
from vimfed.kafka.expiry import ExpiredUnread


class SampleCounters:
    """What a worker has done with samples since it started."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._samples = counter("vimfed_samples", "samples that came, whatever of them", "vim_id")
        self._late = counter(
            "vimfed_samples_late", "samples of intervals that had been closed: left out", "vim_id"
        )
        self._refused = counter(
            "vimfed_samples_refused", "samples that were not taken, by reason", "vim_id", "reason"
        )
        self._repeated = counter(
            "vimfed_samples_repeated",
            "samples that were read again after a takeover, and had been measured before it",
            "vim_id",
        )
        self._measured = counter("vimfed_measurements", "measurements made", "vim_id")
        self._expired = counter(
            "vimfed_samples_expired_unread",
            "records of samples that retention has removed before they were read",
            "partition",
        )

    def metered(self, metered: Metered) -> None:
        """Count what is durable."""
        _add(self._samples, metered.samples)
        _add(self._late, metered.late)
        _add(self._repeated, metered.repeated)
        _add(self._measured, metered.measured)
        for (vim_id, reason), count in metered.refused.items():
            self._refused.labels(vim_id, reason).inc(count)

    def expired(self, expired: ExpiredUnread) -> None:
        """Count what nobody can read any more."""
        self._expired.labels(str(expired.partition)).inc(expired.lost)


def _add(counter: Counter, by_cloud: Tally[str]) -> None:
    for vim_id, count in by_cloud.items():
        counter.labels(vim_id).inc(count)


class SamplesLag(Collector):
    """How far a worker is behind the samples, read when somebody asks."""

    def __init__(self, lags: Callable[[], Mapping[int, int]]) -> None:
        """``lags`` returns by partition that is followed how many records are not done."""
        self._lags = lags

    def collect(self) -> Iterable[Metric]:
        """Return the gauge."""
        lag = GaugeMetricFamily(
            "vimfed_samples_lag", "records of samples that are not done", labels=["partition"]
        )
        for partition, records in sorted(self._lags().items()):
            lag.add_metric([str(partition)], records)
        yield lag
