"""The gate before an output: closed while the output is paused."""

import asyncio
import contextlib
import time

from streams.subscriptions.log import SubscriptionLog
from streams.subscriptions.switches import OutputSwitches

LOOK_EVERY = 0.3
"""Seconds between two looks whether a paused output is resumed."""


class OutputGate:
    """Tells whether an output is paused, as far as the subscriptions topic has been read."""

    def __init__(self, output: str, switches: OutputSwitches, log: SubscriptionLog) -> None:
        self._output = output
        self._switches = switches
        self._log = log

    @property
    def paused_at(self) -> str:
        """Since when it is paused; empty: it is not."""
        return self._switches.paused_at(self._output)

    @property
    def opened_at(self) -> int:
        """When it was last resumed, in ms since 1970, also before this process began; or 0."""
        return self._switches.resumed_at(self._output)

    async def look(self) -> None:
        """Return after some tenths of a second; the topic is read meanwhile, where Kafka is."""
        await asyncio.sleep(LOOK_EVERY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._log.known(time.monotonic() - LOOK_EVERY)
