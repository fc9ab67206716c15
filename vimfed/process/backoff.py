"""Pauses between attempts."""

import random


class Backoff:
    """Pauses that are doubled with each failure, up to a maximum, with jitter.

    Between half of a pause and all of it: clients that failed together do not come back together.
    """

    def __init__(self, first: float, most: float) -> None:
        """Both in seconds."""
        self._first, self._most = first, most
        self._pause = first

    def pause(self) -> float:
        """Return how long to wait now, in seconds; the next pause is longer."""
        pause = self._pause
        self._pause = min(2 * pause, self._most)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Begin with the first pause again: an attempt has succeeded."""
        self._pause = self._first
