"""The routes that answer from the instances table: clouds, their instances, check_vim_status."""

import contextlib

import msgspec
from aiohttp import web

from streams.worker.worker import StreamWorker
from web.auth.caller import CALLER, Caller
from web.http.errors import ApiError, Problem, Unavailable, UnavailableError, json_response
from web.http.routes import Route, body_of, named_vim_id, parse_query, vim_id_in
from web.queries.gather import Gather, Question
from web.queries.instance_search import (
    FoundInstances,
    InstancePage,
    InstanceSearch,
    InstancesParameters,
    combine,
    for_parts,
    is_short,
    parse_search,
)
from web.queries.own_partitions import PATIENCE, FoundRow, OwnPartitions, RowQuery
from web.queries.single_instance import InstanceAnswer, InstanceParameters, instance_answer
from web.queries.status_query import StatusAnswer, StatusRequest, parse_request, status_answer
from web.queries.vims import (
    FoundTroubles,
    FoundVims,
    TroublesQuery,
    VimList,
    VimsQuery,
    with_troubles,
)
from web.queries.vims import combine as combine_vims


class Queries:
    """The handlers; each takes a request and returns a response or raises an ApiError."""

    def __init__(self, worker: StreamWorker, own: OwnPartitions, gather: Gather) -> None:
        self._prefix = worker.settings.web.prefix
        self._worker = worker
        self._own = own
        self._gather = gather
        self._search = Question("instances", InstanceSearch, FoundInstances, own.find_instances)
        self._row = Question("instance", RowQuery, FoundRow, own.find_row)
        self._vims = Question("vims", VimsQuery, FoundVims, own.find_vims)
        self._troubles = Question("troubles", TroublesQuery, FoundTroubles, own.find_troubles)

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
                audit="reads",
                headers={"Project": "instances of this tenant (a project id) alone"},
                body=StatusRequest,
                answers={200: StatusAnswer, 400: Problem, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=(v1 + "/vims", v1 + "/{owner}/{region}/vims"),
                handler=self.vims,
                role="reader",
                answers={200: VimList, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=(v1 + "/{owner}/{region}/instances",),
                handler=self.instances,
                role="reader",
                query=InstancesParameters,
                headers={"Project": "the same as tenant_id"},
                answers={200: InstancePage, 400: Problem, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=(v1 + "/{owner}/{region}/instances/{instance_id}",),
                handler=self.instance,
                role="reader",
                query=InstanceParameters,
                answers={200: InstanceAnswer, 400: Problem, 404: Problem, 503: Unavailable},
            ),
            *self._gather.routes(self._search, self._row, self._vims, self._troubles),
        ]

    async def check_vim_status(self, request: web.Request) -> web.Response:
        """Tell which instances of a VIM are in one of the states asked for."""
        vim_id = vim_id_in(request)
        search = parse_request(vim_id, await body_of(request), request.headers.get("Project"))
        return json_response(status_answer(await self._page(search, request[CALLER])))

    async def vims(self, request: web.Request) -> web.Response:
        """Tell all VIMs that the caller may see, and how many instances are in which state.

        With their hosts and active alarms, where the caller is not limited to some tenants. Where
        the path names a VIM, it is told alone.
        """
        caller, named = request[CALLER], named_vim_id(request)
        found = await self._gather.ask(self._vims, VimsQuery(tenants=caller.tenants))
        told = combine_vims(self._worker.vim_ids, found).vims
        if named is not None:
            told = [vim for vim in told if vim.vim_id == named]
            if not told:
                raise _unknown(named)
        if caller.tenants is None:
            # A worker of an earlier version does not know them; the rest is told all the same.
            with contextlib.suppress(UnavailableError):
                told = with_troubles(told, await self._gather.ask(self._troubles, TroublesQuery()))
        return json_response(VimList([vim for vim in told if caller.may_see(vim.vim_id)]))

    async def instances(self, request: web.Request) -> web.Response:
        """Tell a VIM's instances: those that pass every filter given, page by page."""
        parameters = parse_query(request, InstancesParameters)
        search = parse_search(vim_id_in(request), parameters, request.headers.get("Project"))
        return json_response(await self._page(search, request[CALLER]))

    async def _page(self, search: InstanceSearch, caller: Caller) -> InstancePage:
        search = msgspec.structs.replace(search, tenants=caller.tenants)
        found = await self._gather.ask(self._search, for_parts(search, self._own.largest_share()))
        page = combine(search, found)
        if is_short(search, page):
            found = await self._gather.ask(self._search, search)
            page = combine(search, found)
        if search.vim_id not in self._worker.vim_ids and not any(part.known for part in found):
            raise _unknown(search.vim_id)
        return page

    async def instance(self, request: web.Request) -> web.Response:
        """Tell everything that is known of one instance.

        With ``?stale=ok``, where its owner cannot answer, what a standby here knows, with how many
        changes it is behind, and how many seconds old its knowledge is.
        """
        vim_id, instance_id = vim_id_in(request), request.match_info["instance_id"]
        query = RowQuery(vim_id, instance_id, request[CALLER].tenants)
        stale_is_ok = parse_query(request, InstanceParameters).stale == "ok"
        try:
            partition = self._own.partition_of(vim_id, instance_id)
            patience = 0.0 if stale_is_ok else PATIENCE
            (found,) = await self._gather.ask(self._row, query, partition, patience)
        except UnavailableError:
            held = self._own.read_stale(query) if stale_is_ok else None
            if held is None:
                raise
            # A standby does not follow how hosts are now: nothing is said of that.
            return json_response(instance_answer(held.row, None, held.lag, held.age))
        if found.row is None:
            raise ApiError(404, f"unknown instance {instance_id} of VIM {vim_id}")
        return json_response(instance_answer(found.row, found.available))


def _unknown(vim_id: str) -> ApiError:
    return ApiError(404, f"unknown VIM {vim_id}: neither configured nor ever heard of")
