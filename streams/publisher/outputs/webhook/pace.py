"""No more requests than a receiver allows."""

import asyncio
import time
from collections.abc import Callable


class Pace:
    """Spreads requests evenly over each minute."""

    def __init__(self) -> None:
        self._gap = 0.0
        """Seconds between two requests."""
        self._next = 0.0
        """When the next request may be made (monotonic)."""
        self._line = asyncio.Lock()
        """Held by who waits for the next turn: who has not come to wait for it loses none."""

    def allow(self, per_minute: int | None) -> None:
        """Make so many requests a minute; None: as many as there are."""
        self._gap = 60.0 / per_minute if per_minute else 0.0

    async def turn(self, is_over: Callable[[float], bool]) -> bool:
        """Return when the next request may be made.

        False, and at once, where ``is_over`` says of that moment (monotonic) that it is too late.
        """
        async with self._line:
            mine = max(time.monotonic(), self._next)
            if is_over(mine):
                return False
            if (pause := mine - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._next = mine + self._gap
            return True
