"""Equal stretches of time, one after the other, at whose end something is told."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Windows:
    """Any thread may use them; what belongs to a window is changed under ``lock``.

    ``over`` is called, under the lock, when a window of ``seconds`` has ended: by who calls
    ``turn`` after that, or by a thread of its own where ``watch`` has been called in it.
    """

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._seconds = seconds
        self._over = over
        self.lock = threading.RLock()
        self.since = datetime.now(UTC)
        """When this one began."""
        self._ends = time.monotonic() + seconds
        self._timer: threading.Timer | None = None

    def turn(self) -> None:
        """End the window if it is over."""
        if time.monotonic() >= self._ends:
            self.end()

    def watch(self) -> None:
        """See to it that this window ends in time."""
        with self.lock:
            if self._timer is None:
                left = max(0.0, self._ends - time.monotonic())
                self._timer = threading.Timer(left, self.end)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """End the window now; the next one begins."""
        with self.lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._over()
            self.since = datetime.now(UTC)
            self._ends = time.monotonic() + self._seconds
