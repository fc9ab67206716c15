"""Many small writes into Kafka as few large ones: what comes during one shares the next.

A write takes a round trip, whatever it holds; one a request would allow some hundred requests a
second.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from vimfed.kafka.clients import OutgoingRecord
from web.http.errors import UnavailableError

MAX_BYTES = 64 * 2**20
"""Of records that wait or are being written."""
TIMEOUT = 10.0
"""Seconds that a caller waits for the acknowledgement."""

Write = Callable[[Sequence[OutgoingRecord]], Awaitable[None]]
"""Returns when all records are acknowledged, and does not fail."""


class GroupCommit:
    """Writes records in the order in which they come; one event loop, any number of callers."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._next: list[OutgoingRecord] = []
        self._next_done = asyncio.Event()
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None

    async def commit(self, records: Sequence[OutgoingRecord]) -> None:
        """Return when all records are acknowledged.

        Raises UnavailableError where that takes too long; the records are written even so, as soon
        as Kafka takes them, unless the process ends before.
        """
        if not records:
            return
        if self._bytes > MAX_BYTES:
            raise UnavailableError("too much waits for Kafka already")
        self._bytes += _size(records)
        self._next.extend(records)
        done = self._next_done
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        try:
            async with asyncio.timeout(TIMEOUT):
                await done.wait()
        except TimeoutError:
            raise UnavailableError("Kafka has not acknowledged it") from None

    async def close(self) -> None:
        """Give up what is not written."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing

    async def _write_all(self) -> None:
        while self._next:
            records, done = self._next, self._next_done
            self._next, self._next_done = [], asyncio.Event()
            await self._write(records)
            self._bytes -= _size(records)
            done.set()
        self._writing = None


def _size(records: Sequence[OutgoingRecord]) -> int:
    return sum(len(record.value or b"") for record in records)
