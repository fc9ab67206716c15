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

from web.errors import UnavailableError
from web.routes import route_of

T = TypeVar("T")

SHARE = 0.1
"""Of the time, that queries may take while the stream is behind."""
BURST = 0.5
"""Seconds of work that may be saved up."""
OVERHEAD = 0.0003
"""Seconds that a request takes outside of its handler: reading it, and sending the answer."""
PATIENCE = 5.0
"""Seconds that a request may wait for its turn."""
MOST_WAITING = 2500
LOOK_EVERY = 0.05


class FairShare:
    """Lets requests wait for their turn; ``is_behind`` tells whether notifications wait."""

    def __init__(self, is_behind: Callable[[], bool]) -> None:
        self._is_behind = is_behind
        self._behind = False
        self._looked_at = float("-inf")
        self._credit = BURST
        """Seconds of work that may be done at once."""
        self._earned_at = time.monotonic()
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
                await self._admitted()
            if route.media_type == "text/event-stream":
                return await handler(request)
            estimate = self._usual
            self._credit -= estimate
            work = _Timed(handler(request))
            try:
                return await work
            finally:
                spent = work.seconds + OVERHEAD
                self._credit -= spent - estimate
                self._usual += (spent - self._usual) / 20

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
        if self._waiting >= MOST_WAITING:
            raise UnavailableError("the worker is behind, and too many requests wait")
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE), self._turn:
                while not self._may_begin():  # noqa: ASYNC110 - what is awaited is time
                    await asyncio.sleep(max(0.001, -self._credit / SHARE))
        except TimeoutError:
            raise UnavailableError("the worker is behind, and other requests go first") from None
        finally:
            self._waiting -= 1

    def _may_begin(self) -> bool:
        now = time.monotonic()
        earned = (now - self._earned_at) * SHARE
        self._credit, self._earned_at = min(BURST, self._credit + earned), now
        if not self.behind:
            self._credit = max(self._credit, 0.0)  # what was taken of spare time is no debt
            return True
        return self._credit > 0


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
