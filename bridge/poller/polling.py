"""What every poller of a cloud's API does: cycles in a thread of its own, with pauses between."""

import asyncio
import concurrent.futures
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from bridge.poller.api_error import CloudApiError
from bridge.poller.progress import CycleProgress
from bridge.progress import STOP_TIMEOUT
from vimfed.kafka.clients import OutgoingRecord
from vimfed.process.backoff import Backoff
from vimfed.settings import VimSettings

LOG = logging.getLogger(__name__)

T = TypeVar("T")

Write = Callable[[Sequence[OutgoingRecord]], concurrent.futures.Future[None]]
"""Starts to write records; the future is done when Kafka has acknowledged all of them."""

JITTER = 0.1
MIN_BACKOFF = 1.0
MAX_BACKOFF = 300.0
MAX_ASKED_FOR = 3600.0
"""A cloud is left alone no longer than this, whatever its Retry-After says."""
TICK = 0.5
_KEEPS_LOGIN = ("throttled", "failing", "slow")
"""Failures after which it would be no help to log in again."""


class StoppedError(Exception):
    """The poller was told to stop in the middle of a cycle."""


class Api(Protocol):
    """What is polled."""

    def take_requests(self) -> int:
        """Return how many requests it was sent since this was asked."""

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""


class Polling:
    """Runs ``cycle`` until it is stopped; an error of the cloud's only leads to another attempt."""

    longest_pause = 4
    """Intervals between two attempts that fail, at most."""

    def __init__(
        self,
        vim: VimSettings,
        interval: float,
        write: Write,
        progress: CycleProgress,
        what: str,
        polled: Api,
    ) -> None:
        """``interval``: seconds between two cycles.

        ``what``: what is polled, for the log; empty: the cloud's servers.
        """
        self.progress = progress
        self._vim = vim
        self._interval = interval
        self._write = write
        self._label = f"{vim.vim_id}: {what}".removesuffix(": ")
        """Names the cloud, and what is polled, in the log."""
        self._polled = polled
        self._stop = threading.Event()
        self._left = concurrent.futures.Future[None]()
        # A daemon: a request to a cloud that does not answer cannot be interrupted.
        self._thread = threading.Thread(target=self._run, name=f"{self._label} poller", daemon=True)

    def start(self) -> None:
        """Begin to poll; returns at once."""
        self._thread.start()

    async def stop(self) -> bool:
        """Stop; False where a request takes more than STOP_TIMEOUT. It is then left alone."""
        self._stop.set()
        await asyncio.wait([asyncio.wrap_future(self._left)], timeout=STOP_TIMEOUT)
        return self._left.done()

    def cycle(self) -> None:
        """Ask, and write what follows. Raises CloudApiError and StoppedError."""
        raise NotImplementedError

    def rest(self, took: float) -> float:
        """Return the seconds until the next cycle, after one that took so many."""
        return self._interval * random.uniform(1 - JITTER, 1 + JITTER) - took  # noqa: S311

    def _run(self) -> None:
        backoff = Backoff(MIN_BACKOFF, min(MAX_BACKOFF, self.longest_pause * self._interval))
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                self.cycle()
            except StoppedError:
                break
            except Exception as error:
                delay = max(backoff.pause(), _asked_for(error))
                self._failed(error, delay)
            else:
                took = time.monotonic() - begun
                if self.progress.succeeded(took):
                    LOG.info("cloud %s: polled in %.1f s", self._label, took)
                backoff.reset()
                delay = self.rest(took)
            self._stop.wait(max(delay, 0.0))
        self._polled.close()
        self._left.set_result(None)

    def _failed(self, error: Exception, delay: float) -> None:
        """Note a failed cycle; the log tells it once for each reason, until it changes."""
        if not (isinstance(error, CloudApiError) and error.reason in _KEEPS_LOGIN):
            self._polled.close()
        is_typed = isinstance(error, CloudApiError)
        reason = error.reason if isinstance(error, CloudApiError) else "bug"
        if self.progress.failed(reason, str(error)):
            LOG.warning(
                "cloud %s: not polled (%s), trying again in %.0f s and so on: %s",
                self._label,
                reason,
                delay,
                error,
                extra={"vim_id": self._vim.vim_id},
                exc_info=None if is_typed else error,
            )

    def _written(self, records: Sequence[OutgoingRecord]) -> None:
        """Write; return when Kafka has acknowledged all. Raises StoppedError."""
        if not records:
            return
        written = self._write(records)
        while True:
            try:
                written.result(TICK)
            except TimeoutError:
                if self._stop.is_set():
                    written.cancel()
                    raise StoppedError from None
            except concurrent.futures.CancelledError:  # the process ends
                raise StoppedError from None
            else:
                break
        self.progress.wrote(len(records))

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask the API, unless the poller is to stop. Raises CloudApiError and StoppedError."""
        if self._stop.is_set():
            raise StoppedError
        try:
            return ask()
        finally:
            self.progress.asked(self._polled.take_requests())


def _asked_for(error: Exception) -> float:
    """Return the seconds for which the cloud asked to be left alone."""
    return min(error.retry_after, MAX_ASKED_FOR) if isinstance(error, CloudApiError) else 0.0
