"""For how long an event loop was busy at a time: nothing else of its process had its turn then."""

import asyncio
import selectors
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class LoopRounds(Collector):
    """A histogram of the rounds of the event loops that it makes.

    A round goes from when the loop wakes until it waits again. It is noted where the loop waits, so
    that it costs no wake-up.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._counts = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop whose rounds are counted."""
        return asyncio.SelectorEventLoop(_TimedSelector(self.took))

    def took(self, seconds: float) -> None:
        """Count a round."""
        self._seconds += seconds
        self._counts[bisect_left(BUCKETS, seconds)] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the histogram."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            self._name,
            self._text,
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._seconds,
        )


class _TimedSelector(selectors.DefaultSelector):
    def __init__(self, took: Callable[[float], None]) -> None:
        super().__init__()
        self._took = took
        self._woke = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._took(time.monotonic() - self._woke)
        ready = super().select(timeout)
        self._woke = time.monotonic()
        return ready
