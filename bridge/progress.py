"""How each cloud's listener is doing: written by the listener, read by metrics and health."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LABELS = ("vim_id", "bus")
"""Of every metric here."""
DEPTH_EVERY = 10.0
"""Seconds between two looks how much waits in a cloud's queue."""
DEPTH_TIMEOUT = 3.0
"""Seconds that a cloud's broker has to answer such a look."""
MAX_HOSTS = 1000
"""Hosts of which a listener remembers that they were told of."""
STOP_TIMEOUT = 7.0
"""Seconds that a listener has to leave; the process has to be gone within ten."""


class Progress:
    """One cloud's listener. Each attribute has one writer, so plain attributes do across threads.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self, vim_id: str, counters: "Counters", bus: str = "") -> None:
        self.vim_id = vim_id
        self.bus = bus
        """Which of the cloud's message buses; empty where it can have but one."""
        self.connected = False
        self.away = ""
        """Why the last attempt to listen ended; empty before there was one."""
        self.alive_at = time.monotonic()
        """When the listener last showed that it looks for messages."""
        self.handled_at = 0.0
        """When the batch in flight last showed that somebody takes care of it."""
        self.message_at = time.monotonic()
        """When the cloud's last message came; at first, when the listener was made."""
        self.in_flight = 0
        """Messages received whose acknowledgement by Kafka is awaited."""
        self.waiting_since: float | None = None
        """When the oldest of them was received."""
        self.queue_depth: int | None = None
        """Messages that wait in the cloud's queue or topics; None while nobody knows."""
        self.hosts_at: dict[str, float] = {}
        """When news of a host were last written, the newest last."""
        self._refused = 0
        self._counters = counters

    def received(self, count: int) -> None:
        """Note messages that are now on the way to Kafka."""
        now = time.monotonic()
        self.alive_at = self.handled_at = self.message_at = self.waiting_since = now
        self.in_flight = count
        self._counters.received.labels(self.vim_id, self.bus).inc(count)

    def written(self, forwarded: int, dead_lettered: int, passed_over: int = 0) -> None:
        """Note that Kafka has acknowledged them; those that it refused are dead letters, too.

        ``passed_over``: how many were not written, as nobody uses them.
        """
        refused, self._refused = self._refused, 0
        self._counters.forwarded.labels(self.vim_id, self.bus).inc(forwarded - refused)
        self._counters.dead_letters.labels(self.vim_id, self.bus).inc(dead_lettered + refused)
        self._counters.passed_over.labels(self.vim_id, self.bus).inc(passed_over)
        self.settled()

    def told_of(self, hosts: Iterable[str]) -> None:
        """Note that Kafka has acknowledged news of hosts."""
        now = time.monotonic()
        for host in hosts:
            self.hosts_at.pop(host, None)
            self.hosts_at[host] = now
        for host in list(self.hosts_at)[:-MAX_HOSTS]:
            del self.hosts_at[host]

    def settled(self) -> None:
        """Note that nothing is on the way any more, written or given back to the cloud."""
        self.in_flight = 0
        self.waiting_since = None

    def refused(self) -> None:
        """Note a record of the write in progress that Kafka refuses for ever."""
        self._refused += 1

    def expired(self, count: int) -> None:
        """Note records that a cloud's Kafka has removed before they were read."""
        self._counters.expired.labels(self.vim_id, self.bus).inc(count)

    def retried(self) -> None:
        """Note that the write in progress has to be tried again."""
        self._counters.retries.labels(self.vim_id, self.bus).inc()

    @property
    def waiting_seconds(self) -> float:
        """Age of the oldest message that is not acknowledged; 0 where there is none."""
        since = self.waiting_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def flows(self) -> bool:
        """Whether the listener is connected."""
        return self.connected

    @property
    def lag(self) -> float:
        """Age of the oldest message that is not acknowledged, or seconds without a connection."""
        return self.waiting_seconds if self.connected else time.monotonic() - self.alive_at

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why the listener is not connected; nothing where it is."""
        if self.connected:
            return {}
        name = f"listening {self.vim_id}" + (f", bus {self.bus}" if self.bus else "")
        return {name: self.away or "not connected yet"}

    def wrong(self, stuck_after: float) -> str:
        """Return why this listener needs a restart; empty where it does not.

        A cloud that is down is no reason: a restart would not bring it back. Nor is Kafka's
        absence: the listener waits for it on purpose.
        """
        now = time.monotonic()
        if self.connected and now - self.alive_at > stuck_after:
            return f"connected, but has not looked for messages for {now - self.alive_at:.0f} s"
        if self.waiting_since is not None and now - self.handled_at > stuck_after:
            return f"nobody has taken care of a batch for {now - self.handled_at:.0f} s"
        return ""


class Counters:
    """The bridge's counters, per cloud and message bus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, LABELS, registry=registry)

        self.received = counter("vimfed_bridge_received", "messages received from the cloud")
        self.forwarded = counter(
            "vimfed_bridge_forwarded",
            "records acknowledged on the topics of notifications and samples",
        )
        self.dead_letters = counter(
            "vimfed_bridge_dead_letters", "records acknowledged on the dead-letter topic"
        )
        self.passed_over = counter(
            "vimfed_bridge_passed_over", "messages that no worker uses, and that are not forwarded"
        )
        self.retries = counter("vimfed_bridge_retries", "attempts to write that Kafka did not take")
        self.expired = counter(
            "vimfed_bridge_expired_unread",
            "records that a cloud's Kafka removed before they were read: lost",
        )

    def show(self, vim_id: str, bus: str = "") -> None:
        """Make a source's counters visible from the beginning, at zero."""
        for counter in (
            self.received,
            self.forwarded,
            self.dead_letters,
            self.passed_over,
            self.retries,
            self.expired,
        ):
            counter.labels(vim_id, bus)


class ProgressCollector(Collector):
    """Gauges that are read from the listeners when somebody asks."""

    def __init__(self, progresses: Callable[[], Iterable[Progress]]) -> None:
        self._progresses = progresses

    def collect(self) -> Iterable[Metric]:
        """Return the gauges of all clouds."""
        now = time.monotonic()
        in_flight = _gauge(
            "vimfed_bridge_in_flight", "messages whose acknowledgement by Kafka is awaited"
        )
        oldest = _gauge(
            "vimfed_bridge_oldest_unacknowledged_seconds", "age of the oldest message in flight"
        )
        silence = _gauge(
            "vimfed_bridge_last_message_seconds",
            "seconds since the cloud's last message (before the first: since the start)",
        )
        connected = _gauge(
            "vimfed_bridge_connected", "1 while the listener is connected to its cloud"
        )
        depth = _gauge(
            "vimfed_bridge_queue_depth",
            "messages that wait in the cloud's own queue, as far as it is known",
        )
        for progress in self._progresses():
            labels = [progress.vim_id, progress.bus]
            if progress.queue_depth is not None:
                depth.add_metric(labels, progress.queue_depth)
            in_flight.add_metric(labels, progress.in_flight)
            oldest.add_metric(labels, progress.waiting_seconds)
            silence.add_metric(labels, now - progress.message_at)
            connected.add_metric(labels, progress.connected)
        return [in_flight, oldest, silence, connected, depth]


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=LABELS)
