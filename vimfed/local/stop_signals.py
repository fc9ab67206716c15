"""SIGTERM and SIGINT as a flag to look at."""

import signal
import time


class StopSignals:
    """Whether a signal to stop has come since this was made.

    A flag and not a threading.Event: setting one from a handler can deadlock with the main thread's
    own wait for it.
    """

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, *_: object) -> None:
        self.received = True

    def wait(self, seconds: float) -> bool:
        """Sleep, at most until a signal comes; return whether one has come."""
        deadline = time.monotonic() + seconds
        while not self.received and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return self.received
