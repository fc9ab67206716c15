"""Metrics in Prometheus' text format, and the small HTTP endpoint that shows them with the health.

Conventions: one registry per process (never the library's global one, which tests would share),
names begin with ``vimfed_<process>_``, counters end in ``_total``, times are seconds.
"""

import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from importlib.metadata import version

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import (
    CollectorRegistry,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from vimfed.errors import OperatorError
from vimfed.process.connections import ConnectionRunner, http_problem, problem
from vimfed.process.host_names import AllowedHosts, host_name
from vimfed.settings import GatewaySettings, WebSettings, is_loopback

LOG = logging.getLogger(__name__)

DELAY_BUCKETS = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    60.0,
    600.0,
    3600.0,
    86400.0,
)
MAX_CONNECTIONS = 200
"""Connections to a monitoring endpoint: fewer than the files that a process may open."""
Check = Callable[[], dict[str, str]]
"""Returns what is wrong: the part's name and why; empty when all is well."""


def new_registry() -> CollectorRegistry:
    """Return a registry that holds the process's own figures (memory, CPU, files) and version."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    build = Info("vimfed_build", "the version that runs", registry=registry)
    build.info({"version": version("vim-event-federation")})
    return registry


def delay_histogram(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    """Return a histogram of seconds that a record has waited: milliseconds to days."""
    return Histogram(name, text, labels, buckets=DELAY_BUCKETS, registry=registry)


class Readiness(Collector):
    """``vimfed_ready``, for alerts: 1 while ``/readyz`` answers 200."""

    def __init__(self, check: Check) -> None:
        self._check = check

    def collect(self) -> Iterable[Metric]:
        """Return the gauge."""
        ready = not self._check()
        yield GaugeMetricFamily("vimfed_ready", "1 while /readyz answers 200", value=ready)


def metrics_response(registry: CollectorRegistry, request: web.Request) -> web.Response:
    """Return the answer to ``GET /metrics``: in OpenMetrics' format, which has exemplars, where it
    is asked for."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


def _nothing() -> dict[str, str]:
    return {}


def health_response(check: Check, degraded: Check = _nothing) -> web.Response:
    """Return 200 ``{"status": "ok"}``, or 503 with what is wrong.

    What is ``degraded`` does not keep the process from its work; a 200 names it, too.
    """
    wrong = check()
    if not wrong:
        lesser = degraded()
        return web.json_response({"status": "ok", **({"degraded": lesser} if lesser else {})})
    text = json.dumps({"status": "failing", "wrong": wrong})
    return web.Response(status=503, text=text, content_type="application/json")


def _refusing(allowed: AllowedHosts | None) -> Middleware:
    """Return the middleware that answers errors as every server of ours does.

    ``allowed``: the names by which it may be asked; None: by any. On loopback only a browser asks
    by another one, for a page whose site's name leads there; elsewhere Prometheus does, by the name
    of a service, and the network keeps strangers out.
    """

    @web.middleware
    async def refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
        authority = request.headers.get("Host", "localhost")
        if allowed is not None and not allowed.is_own(authority):
            return problem(
                f"ask 127.0.0.1 or localhost, not {host_name(authority)}; name a host of ours in "
                "web.allowed_hosts",
                403,
            )
        try:
            return await handler(request)
        except web.HTTPException as error:
            return http_problem(request, error)
        except Exception:
            LOG.exception("%s %s failed", request.method, request.path)
            return problem("an error of ours; the log says more", 500)

    return refusing


class MonitoringServer:
    """Serves ``/metrics``, ``/healthz`` (is a restart needed?) and ``/readyz`` (does it work?).

    It runs in the process's own event loop: where that hangs, nothing answers, as it should be.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        live: Check,
        ready: Check,
        degraded: Check = _nothing,
        allowed_hosts: Sequence[str] = (),
        otherwise: Handler | None = None,
    ) -> None:
        """``allowed_hosts``: names by which it is asked where it listens on loopback.

        ``otherwise`` answers what is asked for else; None: there is nothing.
        """
        self._registry = registry
        self._live = live
        self._ready = ready
        self._degraded = degraded
        self._allowed = AllowedHosts(allowed_hosts)
        self._otherwise = otherwise
        registry.register(Readiness(ready))
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, by HTTPS where ``tls`` is given, and return the port.

        Raises OSError where the address cannot be had.
        """

        async def metrics(request: web.Request) -> web.Response:
            return metrics_response(self._registry, request)

        async def live(_request: web.Request) -> web.Response:
            return health_response(self._live)

        async def ready(_request: web.Request) -> web.Response:
            return health_response(self._ready, self._degraded)

        app = web.Application(middlewares=[_refusing(self._allowed if is_loopback(host) else None)])
        app.add_routes(
            [web.get("/metrics", metrics), web.get("/healthz", live), web.get("/readyz", ready)]
        )
        if self._otherwise is not None:
            app.router.add_route("*", "/{path:.*}", self._otherwise)
        self._runner = ConnectionRunner(app, MAX_CONNECTIONS)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    @contextlib.asynccontextmanager
    async def beside(self, api: WebSettings | GatewaySettings, setting: str) -> AsyncIterator[None]:
        """Listen beside an API while the context is open, where it has a port for that.

        ``setting`` names the port. Raises OperatorError where it cannot be had.
        """
        if api.monitoring_port:
            try:
                port = await self.start(api.host, api.monitoring_port)
            except OSError as error:
                raise OperatorError(
                    f"cannot listen on {api.host}:{api.monitoring_port}: {error.strerror}; choose "
                    f"another {setting}"
                ) from None
            LOG.info("metrics and health: http://%s:%d/metrics, /healthz, /readyz", api.host, port)
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
