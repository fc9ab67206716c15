"""How long requests take, and how many cannot be answered completely."""

import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Histogram

from web.http.routes import route_name

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class RequestMetrics:
    """Observes requests by route and status; the share of 503 follows from their counts."""

    def __init__(self, registry: CollectorRegistry, name: str) -> None:
        self._seconds = Histogram(
            name,
            "time from a request's head to its answer",
            ["route", "status"],
            buckets=BUCKETS,
            registry=registry,
        )

    @property
    def observe(self) -> Middleware:
        """Return the middleware; outermost, so that it sees errors as they are answered."""

        @web.middleware
        async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
            begun = time.monotonic()
            response = await handler(request)
            if isinstance(response, web.Response):  # a stream takes as long as its client stays
                seconds = time.monotonic() - begun
                self._seconds.labels(route_name(request), str(response.status)).observe(seconds)
            return response

        return observe
