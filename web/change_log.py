"""The subscriptions topic as the HTTP API uses it: what it tells now, and changes of it."""

import asyncio
from time import monotonic

from streams.subscriptions.log import SubscriptionLog
from vimfed.kafka.aio import KafkaError
from web.http.errors import UnavailableError

KNOWN_WITHIN = 10.0
"""Seconds that Kafka has to tell what all workers have been told."""


class ChangeLog:
    """Reads and writes the topic for routes; where Kafka does not answer they answer 503."""

    def __init__(self, log: SubscriptionLog) -> None:
        self.log = log

    async def known(self) -> None:
        """Return once all has been read that was written so far. Raises UnavailableError."""
        try:
            async with asyncio.timeout(KNOWN_WITHIN):
                await self.log.known(monotonic())
        except TimeoutError:
            raise UnavailableError("Kafka does not answer") from None

    async def append(self, key: bytes, value: bytes | None, caller: tuple[str, bytes]) -> int:
        """Write a record; return when Kafka took it, in ms since 1970. Raises UnavailableError."""
        try:
            return await self.log.append(key, value, (caller,))
        except (KafkaError, OSError, TimeoutError) as error:
            raise UnavailableError(f"Kafka has not acknowledged the change: {error!r}") from error
