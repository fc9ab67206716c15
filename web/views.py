"""The routes of the HTTP API and what each of them does."""

from typing import Any

import msgspec
from aiohttp import web

from streams.worker import StreamWorker
from vimfed.identity import vim_id_of
from vimfed.metrics import health_response, metrics_response
from web.errors import ApiError, Problem, Unavailable, UnavailableError, json_response
from web.gather import INSTANCE_PATH, STATUS_PATH, Gather, InstancePart, InstanceQuery
from web.replica import Replica
from web.routes import Route, parse_query
from web.status_query import (
    InstanceAnswer,
    InstanceParameters,
    StatusAnswer,
    StatusPart,
    StatusQuery,
    StatusRequest,
    instance_answer,
    parse_request,
)

_decode_query = msgspec.json.Decoder(StatusQuery).decode
_decode_instance_query = msgspec.json.Decoder(InstanceQuery).decode


class Views:
    """The handlers; each takes a request and returns a response or raises an ApiError."""

    def __init__(self, worker: StreamWorker, replica: Replica, gather: Gather) -> None:
        self._worker = worker
        self._prefix = worker.settings.web.prefix
        self._configured = frozenset(vim.vim_id for vim in worker.settings.vims)
        self._replica = replica
        self._gather = gather

    def routes(self) -> list[Route]:
        """Return all routes."""
        v0, v1 = f"{self._prefix}/v0", f"{self._prefix}/v1"
        return [
            Route(
                method="POST",
                paths=(
                    v1 + "/{owner}/{region}/check_vim_status",
                    v0 + "/{vim_id}/check_vim_status",
                    "/{vim_id}/check_vim_status",
                ),
                handler=self.check_vim_status,
                role="reader",
                headers={"Project": "instances of this tenant (a project id) alone"},
                body=StatusRequest,
                answers={200: StatusAnswer, 400: Problem, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=(v1 + "/{owner}/{region}/instances/{instance_id}",),
                handler=self.instance,
                role="reader",
                query=InstanceParameters,
                answers={200: InstanceAnswer, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=("/healthz",),
                handler=self.healthz,
                role="anyone",
                answers={200: Any, 503: Any},
            ),
            Route(
                method="GET",
                paths=("/readyz",),
                handler=self.readyz,
                role="anyone",
                answers={200: Any, 503: Any},
            ),
            Route(
                method="GET",
                paths=("/metrics",),
                handler=self.metrics,
                role="anyone",
                answers={200: None},
                media_type="text/plain",
            ),
            Route(
                method="POST",
                paths=(STATUS_PATH,),
                handler=self.peer_status,
                role="peer",
                body=StatusQuery,
                answers={200: StatusPart, 503: Unavailable},
            ),
            Route(
                method="POST",
                paths=(INSTANCE_PATH,),
                handler=self.peer_instance,
                role="peer",
                body=InstanceQuery,
                answers={200: InstancePart, 503: Unavailable},
            ),
        ]

    async def check_vim_status(self, request: web.Request) -> web.Response:
        """Tell which instances of a VIM are in one of the states asked for."""
        vim_id = _vim_id(request)
        query = parse_request(vim_id, await request.read(), request.headers.get("Project"))
        answer, has_rows = await self._gather.status(query)
        if not has_rows and vim_id not in self._configured:
            raise ApiError(404, f"unknown VIM {vim_id}: neither configured nor ever heard of")
        return json_response(answer)

    async def instance(self, request: web.Request) -> web.Response:
        """Tell everything that is known of one instance.

        With ``?stale=ok``, where its owner cannot answer, what a standby here knows, with how many
        changes it is behind.
        """
        vim_id, instance_id = _vim_id(request), request.match_info["instance_id"]
        stale_is_ok = parse_query(request, InstanceParameters).stale == "ok"
        try:
            row = await self._gather.instance(vim_id, instance_id)
        except UnavailableError:
            held = self._replica.read_stale(vim_id, instance_id) if stale_is_ok else None
            if held is None:
                raise
            return json_response(instance_answer(*held))
        if row is None:
            raise ApiError(404, f"unknown instance {instance_id} of VIM {vim_id}")
        return json_response(instance_answer(row))

    async def peer_status(self, request: web.Request) -> web.Response:
        """Answer another worker's status query for the partitions that we own."""
        return json_response(self._replica.status_part(_decode_query(await request.read())))

    async def peer_instance(self, request: web.Request) -> web.Response:
        """Answer another worker's query for an instance that we own."""
        query = _decode_instance_query(await request.read())
        row = self._replica.read(query.vim_id, query.instance_id)
        return json_response(InstancePart(row))

    async def healthz(self, request: web.Request) -> web.Response:
        """Say whether this worker is alive, or needs a restart, and why."""
        return health_response(self._worker.health.wrong)

    async def metrics(self, request: web.Request) -> web.Response:
        """Show the metrics in Prometheus' format."""
        return metrics_response(self._worker.registry)

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether this worker answers queries, and which workers own what; if not, why."""
        wrong = self._replica.not_ready()
        if wrong:
            return health_response(lambda: wrong)
        owners = self._replica.owners()
        return json_response(
            {"status": "ready", "owners": {url: sorted(own) for url, own in owners.items()}}
        )


def _vim_id(request: web.Request) -> str:
    given = request.match_info
    return given["vim_id"] if "vim_id" in given else vim_id_of(given["owner"], given["region"])
