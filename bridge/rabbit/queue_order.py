"""Whether what RabbitMQ delivers once more still comes in the queue's order.

A queue gives back what a lost consumer had, before everything else and in its old order. As long as
nobody else consumed, nothing newer can have been handled meanwhile: the order is the queue's, and
the senders' clocks need not be asked. Another consumer may have handled what is newer.
"""

import time
from collections.abc import Callable

UNSEEN_LIMIT = 20.0
"""Seconds without a look at the queue after which another consumer may have come and gone."""


class QueueOrder:
    """What one listener knows of its queue's consumers, over all of its sessions.

    The redelivered messages at the beginning of a session are in the queue's order if the session
    before had the queue for itself, and had either got past what was given back to it, or could
    say the same of that. Nothing is known of what was before the process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` counts seconds."""
        self._clock = clock
        self._looked_at = clock()
        self._alone = False
        self._in_order = False
        self._got_fresh = False

    def begin(self, consumers: int) -> None:
        """Note that a session begins on a queue that has so many consumers without it."""
        continues = self._seen_lately() and self._alone and self._in_order
        self._alone = consumers == 0
        self._in_order = self._alone and continues
        self._got_fresh = False

    def look(self, consumers: int | None) -> None:
        """Note how many consumers the queue has, ours among them; None: it could not be told."""
        if not self._seen_lately() or consumers != 1:
            self._alone = False

    def can_be_late(self, *, redelivered: bool) -> bool:
        """Return whether the session's next message can come after what is newer."""
        if not redelivered:
            self._got_fresh = True
            return False
        if self._got_fresh:
            self._alone = False  # another consumer, or our own last one, has given it back just now
            return True
        return not self._in_order

    def written(self) -> None:
        """Note that everything is written which the session has asked about."""
        self._in_order = self._in_order or self._got_fresh

    def _seen_lately(self) -> bool:
        before, self._looked_at = self._looked_at, self._clock()
        return self._looked_at - before < UNSEEN_LIMIT
