"""The routes that tell how a cloud's hosts are, and which alarms it has."""

from aiohttp import web

from streams.worker.alarm_index import PlacedAlarm
from streams.worker.instance_index import IndexEntry
from streams.worker.worker import StreamWorker
from web.auth.caller import CALLER
from web.http.errors import ApiError, Problem, Unavailable, json_response
from web.http.routes import Route, parse_query, vim_id_in
from web.queries.alert_list import (
    AlertAnswer,
    AlertPage,
    AlertQuery,
    AlertSearch,
    AlertsParameters,
    FoundAlert,
    FoundAlerts,
    found_alert,
    parse_alerts,
    selection,
    summary,
)
from web.queries.alert_list import combine as combine_alerts
from web.queries.gather import Gather, Question
from web.queries.host_list import FoundHosts, HostPage, HostsParameters, HostsQuery
from web.queries.host_list import combine as combine_hosts


class OwnAlerts:
    """Finds hosts and alarms in the partitions that this worker owns."""

    def __init__(self, worker: StreamWorker) -> None:
        self._indexes = worker.indexes

    async def find_hosts(self, query: HostsQuery) -> FoundHosts:
        """Return the hosts that are told here, and how many instances we own on each."""
        vim_id, hosts = query.vim_id, self._indexes.hosts
        found = hosts.at_home(vim_id)
        return FoundHosts(
            known=bool(found) or await self._indexes.instances.knows(vim_id, None),
            unknown_since=hosts.unknown_since(vim_id),
            hosts=found,
            instances=self._indexes.instances.on_hosts(vim_id),
        )

    async def find_alerts(self, search: AlertSearch) -> FoundAlerts:
        """Return the alarms that are searched for."""
        indexes, vim_id = self._indexes, search.vim_id

        def entry_of(placed: PlacedAlarm) -> IndexEntry | None:
            return self._entry_of(vim_id, placed)

        page = await indexes.alarms.query(selection(search, entry_of))
        heard_of = search.tenants is None and (
            indexes.alarms.knows(vim_id) or bool(indexes.hosts.at_home(vim_id))
        )
        return FoundAlerts(
            known=heard_of or await indexes.instances.knows(vim_id, search.tenants),
            count=page.total,
            alerts=[(position, summary(placed, entry_of)) for position, placed in page.found],
            more=page.more,
        )

    async def find_alert(self, query: AlertQuery) -> FoundAlert:
        """Return one alarm, if it is here, and its history."""
        history = await self._indexes.alarms.like(query.vim_id, query.id)
        return found_alert(history, query, lambda placed: self._entry_of(query.vim_id, placed))

    def _entry_of(self, vim_id: str, placed: PlacedAlarm) -> IndexEntry | None:
        instance_id = placed.source.instance_id
        if not instance_id:
            return None
        return self._indexes.instances.entry(placed.partition, vim_id, instance_id)


class AlertRoutes:
    """The handlers; each takes a request and returns a response or raises an ApiError."""

    def __init__(self, worker: StreamWorker, gather: Gather) -> None:
        self._prefix = worker.settings.web.prefix
        self._worker = worker
        self._gather = gather
        own = OwnAlerts(worker)
        self._hosts = Question("hosts", HostsQuery, FoundHosts, own.find_hosts)
        self._search = Question("alerts", AlertSearch, FoundAlerts, own.find_alerts)
        self._one = Question("alert", AlertQuery, FoundAlert, own.find_alert)

    def routes(self) -> list[Route]:
        """Return all routes."""
        cloud = f"{self._prefix}/v1/{{owner}}/{{region}}"
        errors = {400: Problem, 404: Problem, 503: Unavailable}
        return [
            Route(
                method="GET",
                paths=(cloud + "/hosts",),
                handler=self.hosts,
                role="reader",
                query=HostsParameters,
                answers={200: HostPage, **errors},
            ),
            Route(
                method="GET",
                paths=(cloud + "/alerts",),
                handler=self.alerts,
                role="reader",
                query=AlertsParameters,
                answers={200: AlertPage, **errors},
            ),
            Route(
                method="GET",
                paths=(cloud + "/alerts/{alert_id}",),
                handler=self.alert,
                role="reader",
                answers={200: AlertAnswer, **errors},
            ),
            *self._gather.routes(self._hosts, self._search, self._one),
        ]

    async def hosts(self, request: web.Request) -> web.Response:
        """Tell a cloud's hosts (its nova-compute services): how each is, and since when.

        Callers that are limited to tenants are refused: a host is nobody's.
        """
        vim_id, caller = vim_id_in(request), request[CALLER]
        parameters = parse_query(request, HostsParameters)
        if caller.tenants is not None:
            raise ApiError(403, f"{caller.name} sees instances of its own tenants alone, no hosts")
        found = await self._gather.ask(self._hosts, HostsQuery(vim_id))
        self._check_known(vim_id, any(part.known for part in found))
        return json_response(combine_hosts(vim_id, parameters, found))

    async def alerts(self, request: web.Request) -> web.Response:
        """Tell a cloud's alarms, the newest first: of instances, of hosts, and of itself.

        Callers that are limited to tenants see those of their instances alone.
        """
        vim_id, tenants = vim_id_in(request), request[CALLER].tenants
        search = parse_alerts(vim_id, parse_query(request, AlertsParameters), tenants)
        found = await self._gather.ask(self._search, search)
        self._check_known(vim_id, any(part.known for part in found))
        return json_response(combine_alerts(search, found))

    async def alert(self, request: web.Request) -> web.Response:
        """Tell one alarm, and those of the same source and condition that are kept."""
        vim_id, alert_id = vim_id_in(request), request.match_info["alert_id"]
        query = AlertQuery(vim_id, alert_id, request[CALLER].tenants)
        for found in await self._gather.ask(self._one, query):
            if found.alert is not None:
                return json_response(
                    AlertAnswer(vim_id=vim_id, alert=found.alert, history=found.history)
                )
        raise ApiError(404, f"unknown alarm {alert_id} of VIM {vim_id}: cleared ones are forgotten")

    def _check_known(self, vim_id: str, heard_of: bool) -> None:
        if vim_id not in self._worker.vim_ids and not heard_of:
            raise ApiError(404, f"unknown VIM {vim_id}: neither configured nor ever heard of")
