"""Turns: of one neighbour's work only so much is under way at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets ``most`` of each neighbour's tasks go on at once; the others wait in line."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[str, tuple[asyncio.Semaphore, int]] = {}
        """By neighbour: its turns, and how many tasks have one or wait for it."""

    @asynccontextmanager
    async def turn(self, neighbour: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it."""
        turns, tasks = self._lines.get(neighbour, (asyncio.Semaphore(self._most), 0))
        self._lines[neighbour] = turns, tasks + 1
        try:
            async with turns:
                yield
        finally:
            turns, tasks = self._lines.pop(neighbour)
            if tasks > 1:
                self._lines[neighbour] = turns, tasks - 1
