"""How much of a worker's time readers may take while the stream is behind.

Requests and the stream share one loop. While the stream keeps up, requests take what they need.
Once notifications wait, queries take their share alone, in the order in which they came; those that
would wait for too long are told so. Pushed notifications have a limit of their own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from web.http.errors import UnavailableError
from web.http.routes import route_of

T = TypeVar("T")

SHARE, MIN_TIME = 0.05, 0.03
"""What queries may take while the stream is behind (see Budget)."""
BURST = 0.5
OVERHEAD = 0.0003
"""Seconds that a request takes outside of its handler: reading it, and sending the answer."""
PATIENCE = 10.0
"""Seconds that a request may wait for its turn."""
RETRY_AFTER = 10
"""Seconds after which such a request may come again: to refuse it costs a third of a query."""
MAX_WAITING = 2500
LOOK_EVERY = 0.05
TICK = 0.01


class Budget:
    """Seconds of work that may be done: a share of the process's CPU time, and besides, for a
    stream that waits for Kafka leaves the process's time to others, ``least`` of the time that
    passes. ``burst`` can be saved up.
    """

    def __init__(self, share: float, least: float, burst: float) -> None:
        self._share = share
        self._least = least
        self._burst = burst
        self._credit = burst
        self._earned = self._earnings()

    @property
    def credit(self) -> float:
        """What may be done now, in seconds; less than 0 where too much was done."""
        before, self._earned = self._earned, self._earnings()
        self._credit = min(self._burst, self._credit + self._earned - before)
        return self._credit

    def spend(self, seconds: float) -> None:
        """Note work, or give back what was noted."""
        self._credit -= seconds

    def forgive(self) -> None:
        """Forget what was done too much."""
        self._credit = max(0.0, self.credit)

    def _earnings(self) -> float:
        return self._share * time.process_time() + self._least * time.monotonic()


class FairShare:
    """Lets requests wait for their turn; ``is_behind`` tells whether notifications wait."""

    def __init__(self, is_behind: Callable[[], bool]) -> None:
        self._is_behind = is_behind
        self._behind = False
        self._looked_at = float("-inf")
        self._budget = Budget(SHARE, MIN_TIME, BURST)
        self._usual = 0.001
        """What a request takes on average, in seconds."""
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def share(self) -> Middleware:
        """Return the middleware. It answers 503 to those whose turn does not come."""

        @web.middleware
        async def share(request: web.Request, handler: Handler) -> web.StreamResponse:
            route = route_of(request)
            if route is None or route.role not in ("reader", "peer"):
                return await handler(request)
            if route.role == "reader":  # a peer asks for one who has waited there
                self._budget.spend(OVERHEAD)
                await self._admitted()
            if route.media_type == "text/event-stream":
                return await handler(request)
            estimate = self._usual
            self._budget.spend(estimate)
            work = _Timed(handler(request))
            try:
                return await work
            finally:
                self._budget.spend(work.seconds - estimate)
                self._usual += (work.seconds - self._usual) / 20

        return share

    @property
    def behind(self) -> bool:
        """Whether notifications wait, as of a moment ago."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_EVERY:
            self._looked_at, self._behind = now, self._is_behind()
        return self._behind

    async def _admitted(self) -> None:
        """Return when it is a request's turn. Raises UnavailableError."""
        if self._may_begin() and not self._waiting:
            return
        if self._waiting >= MAX_WAITING:
            raise UnavailableError(
                "the worker is behind, and too many requests wait", retry_after=RETRY_AFTER
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE), self._turn:
                while not self._may_begin():  # noqa: ASYNC110 - what is awaited is time
                    await asyncio.sleep(TICK)
        except TimeoutError:
            raise UnavailableError(
                "the worker is behind, and other requests go first", retry_after=RETRY_AFTER
            ) from None
        finally:
            self._waiting -= 1

    def _may_begin(self) -> bool:
        if not self.behind:
            self._budget.forgive()  # it was spare time
            return True
        return self._budget.credit > 0


class _Timed(Generic[T]):
    """Awaits something and sums up the CPU time that it takes, in seconds."""

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        thrown: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                awaited = steps.send(None) if thrown is None else steps.throw(thrown)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.seconds += time.thread_time() - began
            thrown = None
            try:
                yield awaited
            except BaseException as error:  # the loop's: into what is awaited
                thrown = error
