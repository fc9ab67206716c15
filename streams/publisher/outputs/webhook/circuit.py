"""When a receiver that fails is left alone, and when it is asked again.

Closed: requests go. Open: none does until a pause is over, which grows from failure to failure.
Then one request tries; what becomes of it closes or opens the circuit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.publisher.delivery import MAX_RETRY_AFTER
from vimfed.process.backoff import Backoff

OPENS_AFTER = 5
"""Requests that fail one after the other before the circuit opens."""
FIRST_PAUSE = 1.0
MAX_PAUSE = 60.0


class CircuitOpenError(Exception):
    """No request is made now.

    ``pause`` is for how many seconds; None: until the one that tries has ended.
    """

    def __init__(self, pause: float | None) -> None:
        super().__init__(pause)
        self.pause = pause


class Circuit:
    """Whether requests to one receiver may be made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        self._failures = 0
        """One after the other, the last ones."""
        self._until: float | None = None
        """Until when no request is made; None while the circuit is closed."""
        self._asked_until = 0.0
        """Until when the receiver has asked for no request."""
        self._is_trying = False
        """Whether the request is under way that tries."""

    @property
    def is_open(self) -> bool:
        """Whether no request is made but one that tries."""
        return self._until is not None

    @property
    def pause(self) -> float:
        """Seconds until a request may be made."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    @contextmanager
    def request(self) -> Iterator[None]:
        """Surround a request. Raises CircuitOpenError where it may not be made."""
        if self._until is None:
            yield
            return
        if self.pause > 0:
            raise CircuitOpenError(self.pause)
        if self._is_trying:
            raise CircuitOpenError(None)
        self._is_trying = True
        try:
            yield
        finally:
            self._is_trying = False

    def succeeded(self) -> bool:
        """Note that the receiver has answered as it should; return whether this closes the circuit.

        It does not while the receiver has asked for no request: others were under way then.
        """
        was_open = self.is_open
        self._failures = 0
        self._backoff.reset()
        self._until = self._asked_until if self._clock() < self._asked_until else None
        return was_open and not self.is_open

    def failed(self, retry_after: float | None) -> bool:
        """Note that it has not; return whether the circuit has opened by this.

        ``retry_after``: seconds for which the receiver asks to be left alone, if it does.
        """
        was_open = self.is_open
        self._failures += 1
        now = self._clock()
        if self._is_trying or (self._failures >= OPENS_AFTER and not was_open):
            self._until = now + self._backoff.pause()
        if retry_after is not None:
            asked = now + min(MAX_RETRY_AFTER, retry_after)
            self._asked_until = max(self._asked_until, asked)
            self._until = max(self._until or 0.0, self._asked_until)
        return self.is_open and not was_open
