"""A stream worker with its HTTP API: what ``vimfed worker`` runs."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from streams.engine.apps import stopping, web_server_of
from streams.subscriptions.known_kinds import refuse_unknown_kinds
from streams.worker.worker import StreamWorker
from vimfed.process.audit import Trail
from vimfed.process.connections import ConnectionRunner, allow_many_connections
from vimfed.process.hangup import Hangup, Reload
from vimfed.process.metrics import MonitoringServer
from vimfed.process.ports import refuse_port_in_use
from vimfed.settings import Settings
from web.auth.access import Access, refuse_open_door
from web.auth.backends.kinds import security_schemes
from web.auth.peers import PeerClient, peers_session
from web.change_log import ChangeLog
from web.dashboard import Dashboard
from web.http.audit import RequestAudit, change_by_route
from web.http.errors import errors_as_json
from web.http.fair_share import FairShare
from web.http.openapi import Documentation
from web.http.request_metrics import RequestMetrics
from web.http.routes import add_routes
from web.ingest import Ingest
from web.live.live import LiveEvents
from web.messages import Messages
from web.outputs import Outputs
from web.probes import Probes
from web.pushed_alerts import PushedAlerts
from web.pushed_hosts import PushedHosts
from web.pushed_samples import PushedSamples
from web.pushing import Pushing
from web.queries.alert_routes import AlertRoutes
from web.queries.gather import Gather
from web.queries.measurement_routes import MeasurementRoutes
from web.queries.own_partitions import OwnPartitions
from web.queries.queries import Queries
from web.queries.vm_gauge_routes import VmGaugeRoutes
from web.rereading import Rereading
from web.self_service import refuse_unknown_projects
from web.snapshots import Snapshots
from web.subscriptions import Subscriptions
from web.workers import Workers


def run(settings: Settings, reload: Reload | None = None) -> int:
    """Process notifications and answer queries until SIGTERM or SIGINT; return the exit code.

    ``reload`` reads the settings again at SIGHUP, for the clouds. Raises OperatorError.
    """
    hangup = Hangup()
    hangup.note()
    refuse_open_door(settings.web)
    refuse_unknown_kinds(settings)
    refuse_unknown_projects(settings)
    for port, setting in (
        (settings.web.port, "web.host or web.port"),
        (settings.web.monitoring_port, "web.monitoring_port"),
    ):
        refuse_port_in_use(port, "the worker", setting, host=settings.web.host)
    allow_many_connections()
    worker = StreamWorker(settings)
    serve(worker, None if reload is None else Rereading(reload, hangup))
    return worker.run()


def serve(worker: StreamWorker, rereading: Rereading | None = None) -> None:
    """Add the HTTP API to a worker that has not started yet.

    The routes are aiohttp's own, on Faust's web server: Faust's views know no optional slash, no
    limit of the body's size, and no errors as JSON.
    """
    server = web_server_of(worker.app)
    runner = ConnectionRunner(server.web_app, proxies=worker.settings.web.trusted_proxies)
    server._runner = runner
    own = OwnPartitions(worker)
    gather = Gather(own)
    monitoring = MonitoringServer(
        worker.registry,
        live=worker.health.wrong,
        ready=own.not_ready,
        allowed_hosts=worker.settings.web.allowed_hosts,
    )

    async def monitored(_app: web.Application) -> AsyncIterator[None]:
        async with monitoring.beside(worker.settings.web, "web.monitoring_port"):
            yield

    access = Access(worker.settings.web, own.url)

    async def asking_peers(_app: web.Application) -> AsyncIterator[None]:
        settings = worker.settings.web
        async with peers_session(settings) as session:
            gather.peers = PeerClient(session, settings.auth)
            yield

    async def looking(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(own.keep_looking())
        yield
        task.cancel()

    server.web_app.middlewares.append(
        RequestMetrics(worker.registry, "vimfed_web_request_seconds").observe
    )
    trail = Trail(worker.registry)

    async def close_trail(_app: web.Application) -> None:
        trail.close()

    server.web_app.on_cleanup.append(close_trail)
    server.web_app.middlewares.append(RequestAudit(trail, change_by_route).keep)
    server.web_app.middlewares.append(errors_as_json)
    server.web_app.middlewares.append(access.check)
    fair = FairShare(lambda: worker.is_behind)
    server.web_app.middlewares.append(fair.share)
    server.web_app.cleanup_ctx.append(monitored)
    server.web_app.cleanup_ctx.append(access.running)
    server.web_app.cleanup_ctx.append(asking_peers)
    server.web_app.cleanup_ctx.append(looking)
    changes = ChangeLog(worker.changes)

    async def following(_app: web.Application) -> AsyncIterator[None]:
        async with worker.changes.followed():
            yield

    server.web_app.cleanup_ctx.append(following)
    pushing = Pushing(worker.settings)
    server.web_app.cleanup_ctx.append(pushing.writing)
    if rereading is not None:
        rereading.heed(worker, pushing, trail, server.web_app)
    live = LiveEvents(worker.settings, worker.registry, fair, access.still_admits)

    async def leaving(_app: web.Application) -> AsyncIterator[None]:
        """End at once what would hold up the stop; Faust stops its web server last."""

        async def leave() -> None:
            await stopping(worker.app)
            runner.leave()
            await live.stop()

        task = asyncio.create_task(leave())
        yield
        task.cancel()

    server.web_app.cleanup_ctx.append(leaving)
    server.web_app.on_shutdown.append(live.stop)
    groups = (
        Queries(worker, own, gather),
        AlertRoutes(worker, gather),
        MeasurementRoutes(worker, own, gather),
        VmGaugeRoutes(worker, own),
        Probes(worker, own, lambda: gather.peers.unverified),
        Subscriptions(worker.settings, changes),
        Outputs(worker.settings, changes, worker.switches),
        Snapshots(worker, changes),
        Ingest(pushing),
        PushedHosts(pushing),
        PushedAlerts(pushing),
        PushedSamples(pushing),
        live,
        Workers(worker, own, gather),
        Messages(worker.settings),
        Dashboard(worker.settings.web.prefix),
        documentation := Documentation(worker.settings.web.prefix),
    )
    routes = [route for group in groups for route in group.routes()]
    documentation.describe(routes, security_schemes())
    add_routes(server.web_app, routes)
