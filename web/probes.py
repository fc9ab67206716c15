"""What supervisors and Prometheus ask a worker, without a login."""

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from streams.worker.worker import StreamWorker
from vimfed.process.metrics import health_response, metrics_response
from web.auth.caller import CALLER
from web.http.errors import json_response
from web.http.routes import Route
from web.queries.own_partitions import OwnPartitions


class Healthy(msgspec.Struct, frozen=True, kw_only=True):
    """All is well."""

    status: str = "ok"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Queries are answered."""

    status: str = "ready"
    owners: dict[str, list[int]] | msgspec.UnsetType = msgspec.UNSET
    """The partitions of each worker, by its URL; only who has logged in is told, where one must."""
    degraded: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Which workers, by their URLs, cannot be asked since their certificates are not verified, and
    why: queries that need them get a 503. Who has not logged in, where one must, is told how many.
    """


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """Something is wrong."""

    status: str = "failing"
    wrong: dict[str, str]
    """Which part, and why."""


class Probes:
    """The handlers of ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(
        self,
        worker: StreamWorker,
        own: OwnPartitions,
        unverified: Callable[[], Mapping[str, str]],
    ) -> None:
        """``unverified``: by their URLs, why workers' certificates are not verified."""
        self._worker = worker
        self._own = own
        self._unverified = unverified

    def routes(self) -> list[Route]:
        """Return all routes; metrics are not among them where they have a port of their own."""
        probes = self._health_routes()
        if self._worker.settings.web.monitoring_port:
            return probes
        return [
            *probes,
            Route(
                method="GET",
                paths=("/metrics",),
                handler=self.metrics,
                role="anyone",
                answers={200: None},
                media_type="text/plain",
            ),
        ]

    def _health_routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                paths=("/healthz",),
                handler=self.healthz,
                role="anyone",
                answers={200: Healthy, 503: Failing},
            ),
            Route(
                method="GET",
                paths=("/readyz",),
                handler=self.readyz,
                role="anyone",
                answers={200: Ready, 503: Failing},
            ),
        ]

    async def healthz(self, _request: web.Request) -> web.Response:
        """Say whether this worker is alive, or needs a restart, and why."""
        return health_response(self._worker.health.wrong)

    async def metrics(self, request: web.Request) -> web.Response:
        """Show the metrics in Prometheus' format, or in OpenMetrics' where that is asked for."""
        return metrics_response(self._worker.registry, request)

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether this worker answers queries; if not, which part is not ready, and why.

        Who has logged in, where that is asked for, is told which workers own what.
        """
        wrong = self._own.not_ready()
        if wrong:
            return health_response(lambda: wrong)
        unverified = dict(self._unverified())
        if request[CALLER].role == "anyone":
            text = f"the certificates of {len(unverified)} cannot be verified; the log names them"
            return json_response(Ready(degraded={"workers": text} if unverified else msgspec.UNSET))
        degraded = unverified or msgspec.UNSET
        owners = {url: sorted(own) for url, own in self._own.known_owners().items()}
        return json_response(Ready(owners=owners, degraded=degraded))
