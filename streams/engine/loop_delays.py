"""By how much an event loop comes late: something of its process kept others waiting so long."""

import asyncio

from prometheus_client import CollectorRegistry, Histogram

EVERY = 0.02
"""Seconds between two looks; a pause is seen with up to so much of it missing."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class LoopDelays:
    """A histogram of the delays of a timer. A look costs some 10 µs."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str) -> None:
        self._delays = Histogram(name, text, buckets=BUCKETS, registry=registry)

    async def watch(self) -> None:
        """Look again and again until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            self._delays.observe(max(0.0, loop.time() - due))
