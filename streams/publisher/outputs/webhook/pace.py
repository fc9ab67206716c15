"""No more requests than a receiver allows."""

import asyncio
import time


class Pace:
    """Spreads requests evenly over each minute."""

    def __init__(self) -> None:
        self._gap = 0.0
        """Seconds between two requests."""
        self._next = 0.0
        """When the next request may be made (monotonic)."""

    def allow(self, per_minute: int | None) -> None:
        """Make so many requests a minute; None: as many as there are."""
        self._gap = 60.0 / per_minute if per_minute else 0.0

    async def turn(self) -> None:
        """Return when the next request may be made."""
        now = time.monotonic()
        mine = max(now, self._next)
        self._next = mine + self._gap
        if mine > now:
            await asyncio.sleep(mine - now)
