"""A stream worker with its HTTP API: what ``vimfed worker`` runs."""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from faust.web.drivers.aiohttp import Web

from streams.worker import StreamWorker
from vimfed.metrics import Readiness
from vimfed.settings import Settings
from web.dashboard import Dashboard
from web.errors import errors_as_json
from web.gather import Gather
from web.ingest import Ingest
from web.live import LiveEvents
from web.replica import Replica
from web.request_metrics import RequestMetrics
from web.routes import add_routes
from web.subscriptions import Subscriptions
from web.views import Views
from web.workers import Workers


def run(settings: Settings) -> int:
    """Process notifications and answer queries until SIGTERM or SIGINT; return the exit code."""
    worker = StreamWorker(settings)
    serve(worker)
    return worker.run()


def serve(worker: StreamWorker) -> None:
    """Add the HTTP API to a worker that has not started yet.

    The routes are aiohttp's own, on Faust's web server: Faust's views know no optional slash, no
    limit of the body's size, and no errors as JSON.
    """
    server = worker.app.web
    if not isinstance(server, Web):
        raise TypeError(f"Faust's web server is not aiohttp's, but {type(server)}")
    replica = Replica(worker)
    gather = Gather(replica)
    worker.registry.register(Readiness(replica.not_ready))

    async def peers_session(_app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as gather.session:
            yield

    server.web_app.middlewares.append(
        RequestMetrics(worker.registry, "vimfed_web_request_seconds").observe
    )
    server.web_app.middlewares.append(errors_as_json)
    server.web_app.cleanup_ctx.append(peers_session)
    subscriptions = Subscriptions(worker.settings)
    server.web_app.cleanup_ctx.append(subscriptions.following)
    ingest = Ingest(worker.settings)
    server.web_app.cleanup_ctx.append(ingest.writing)
    live = LiveEvents(worker.settings, worker.registry)
    server.web_app.on_shutdown.append(live.stop)
    groups = (
        Views(worker, replica, gather),
        subscriptions,
        ingest,
        live,
        Workers(worker, replica, gather),
        Dashboard(worker.settings.web.prefix),
    )
    add_routes(server.web_app, [route for group in groups for route in group.routes()])
