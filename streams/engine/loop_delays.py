"""By how much an event loop comes late: something of its process kept others waiting so long."""

import asyncio
import time

from prometheus_client import CollectorRegistry, Histogram

EVERY = 0.02
"""Seconds between two looks while the loop is busy; a pause is seen with up to so much of it
missing."""
IDLE_EVERY = 0.25
"""The same while it is not: fifty looks a second are a third of an idle worker's CPU time."""
BUSY = 0.1
"""Part of the time for which a busy loop's thread computes."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class LoopDelays:
    """A histogram of the delays of a timer."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str) -> None:
        self._delays = Histogram(name, text, buckets=BUCKETS, registry=registry)

    async def watch(self) -> None:
        """Look again and again until it is cancelled."""
        loop = asyncio.get_running_loop()
        every = EVERY
        while True:
            begun, computed = loop.time(), time.thread_time()
            await asyncio.sleep(every)
            passed = loop.time() - begun
            self._delays.observe(max(0.0, passed - every))
            is_busy = time.thread_time() - computed > BUSY * passed
            every = EVERY if is_busy else IDLE_EVERY
