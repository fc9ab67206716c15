"""The routes that tell what was measured: of an instance, a host, and those that show most."""

import asyncio
from datetime import UTC, datetime, timedelta

from aiohttp import web

from streams.worker.newest_values import Newest
from streams.worker.worker import StreamWorker
from vimfed.model.keys import host_key, instance_key, kind_of_key, split_instance_key
from vimfed.model.samples import decode_meters
from vimfed.model.times import utc_text
from vimfed.nova.states import DELETED
from web.auth.caller import CALLER
from web.http.errors import ApiError, Problem, Unavailable, json_response
from web.http.routes import Route, parse_query, vim_id_in
from web.queries.gather import Gather, Question
from web.queries.measurement_list import (
    FoundMeasurements,
    FoundTop,
    HostMeasurements,
    InstanceMeasurements,
    MeasuredQuery,
    TopList,
    TopParameters,
    TopQuery,
    TopSearch,
    combine,
    found_measurements,
    top_query,
)
from web.queries.own_partitions import OwnPartitions

SCANS = 2
"""So many searches look at rows at a time; the others wait."""


class OwnMeasurements:
    """Finds measurements in the partitions that this worker owns."""

    def __init__(self, worker: StreamWorker, own: OwnPartitions) -> None:
        self._worker = worker
        self._own = own
        self._scans = asyncio.Semaphore(SCANS)

    async def find_top(self, query: TopQuery) -> FoundTop:
        """Return those of ours of which the meter shows most."""
        meters = self._own.meters(self._own.partitions())
        search = TopSearch(query)
        async with self._scans:
            for partition in self._own.partitions():
                async for chunk in self._worker.newest_values.of(query.meter, meters, partition):
                    self._own.meters([partition])
                    for key, newest in chunk:
                        self._add(search, query, partition, key, newest)
                self._own.meters([partition])
        return FoundTop(
            known=await self._worker.index.knows(query.vim_id, query.tenants) or bool(search.count),
            count=search.count,
            entries=search.first(),
        )

    def _add(
        self, search: TopSearch, query: TopQuery, partition: int, key: bytes, newest: Newest
    ) -> None:
        vim_id, about = split_instance_key(key)
        is_instance = kind_of_key(key) == "instance"
        if vim_id != query.vim_id or is_instance != (query.about == "instances"):
            return
        entry = self._worker.index.entry(partition, vim_id, about) if is_instance else None
        if entry is not None and entry.group.vm_state == DELETED:
            return
        if query.tenants is None or (entry is not None and entry.tenant_id in query.tenants):
            search.add(newest, entry)

    async def find_measurements(self, query: MeasuredQuery) -> FoundMeasurements:
        """Return what was measured of an instance, or a host, that we own."""
        return self._of_host(query) if query.host else self._of_instance(query)

    def _of_host(self, query: MeasuredQuery) -> FoundMeasurements:
        key = host_key(query.vim_id, query.host)
        partition = self._own.partition_of_key(key)
        row = self._own.meters([partition]).partition(partition).get(key)
        hosts = self._worker.indexes.hosts.at_home(query.vim_id)
        if row is None and all(each.host != query.host for each in hosts):
            return FoundMeasurements(known=False)
        return found_measurements(None if row is None else decode_meters(row))

    def _of_instance(self, query: MeasuredQuery) -> FoundMeasurements:
        key = instance_key(query.vim_id, query.instance_id)
        partition = self._own.partition_of(query.vim_id, query.instance_id)
        meters = self._own.meters([partition])
        entry = self._worker.index.entry(partition, query.vim_id, query.instance_id)
        if query.tenants is not None and (entry is None or entry.tenant_id not in query.tenants):
            return FoundMeasurements(known=False)
        # A path can spell a slash: what it names then is no instance.
        is_instance = kind_of_key(key) == "instance"
        row = meters.partition(partition).get(key) if is_instance else None
        if row is None and entry is None:
            return FoundMeasurements(known=False)
        return found_measurements(None if row is None else decode_meters(row))


class MeasurementRoutes:
    """The handlers; each takes a request and returns a response or raises an ApiError."""

    def __init__(self, worker: StreamWorker, own: OwnPartitions, gather: Gather) -> None:
        self._prefix = worker.settings.web.prefix
        self._worker = worker
        self._own = own
        self._gather = gather
        finder = OwnMeasurements(worker, own)
        self._top = Question("top-measurements", TopQuery, FoundTop, finder.find_top)
        self._one = Question(
            "measurements", MeasuredQuery, FoundMeasurements, finder.find_measurements
        )

    def routes(self) -> list[Route]:
        """Return all routes."""
        cloud = f"{self._prefix}/v1/{{owner}}/{{region}}"
        errors = {400: Problem, 404: Problem, 503: Unavailable}
        return [
            Route(
                method="GET",
                paths=(cloud + "/instances/{instance_id}/measurements",),
                handler=self.instance,
                role="reader",
                answers={200: InstanceMeasurements, **errors},
            ),
            Route(
                method="GET",
                paths=(cloud + "/hosts/{host}/measurements",),
                handler=self.host,
                role="reader",
                answers={200: HostMeasurements, **errors},
            ),
            Route(
                method="GET",
                paths=(cloud + "/measurements",),
                handler=self.top,
                role="reader",
                query=TopParameters,
                answers={200: TopList, **errors},
            ),
            *self._gather.routes(self._top, self._one),
        ]

    async def instance(self, request: web.Request) -> web.Response:
        """Tell the newest that was measured of an instance, and how busy it was before.

        Nothing where the settings name no cloud whose samples are taken.
        """
        vim_id, instance_id = vim_id_in(request), request.match_info["instance_id"]
        if self._worker.meters is None:  # by our settings nothing is measured
            return json_response(
                InstanceMeasurements(
                    vim_id=vim_id, instance_id=instance_id, measurements=[], recent=[]
                )
            )
        query = MeasuredQuery(vim_id, instance_id, request[CALLER].tenants)
        partition = self._own.partition_of(vim_id, instance_id)
        (found,) = await self._gather.ask(self._one, query, partition)
        if not found.known:
            raise ApiError(404, f"unknown instance {instance_id} of VIM {vim_id}")
        return json_response(
            InstanceMeasurements(
                vim_id=vim_id,
                instance_id=instance_id,
                measurements=found.measurements,
                recent=found.recent,
            )
        )

    async def host(self, request: web.Request) -> web.Response:
        """Tell the newest that was measured of a host.

        Nothing where the settings name no cloud whose samples are taken. Callers that are limited
        to tenants are refused: a host is nobody's.
        """
        vim_id, host, caller = vim_id_in(request), request.match_info["host"], request[CALLER]
        if caller.tenants is not None:
            raise ApiError(403, f"{caller.name} sees instances of its own tenants alone, no hosts")
        if self._worker.meters is None:  # by our settings nothing is measured
            return json_response(HostMeasurements(vim_id=vim_id, host=host, measurements=[]))
        partition = self._own.partition_of_key(host_key(vim_id, host))
        query = MeasuredQuery(vim_id, host=host)
        (found,) = await self._gather.ask(self._one, query, partition)
        if not found.known:
            raise ApiError(404, f"unknown host {host} of VIM {vim_id}")
        return json_response(
            HostMeasurements(vim_id=vim_id, host=host, measurements=found.measurements)
        )

    async def top(self, request: web.Request) -> web.Response:
        """Tell the instances, or hosts, of a VIM of which a meter shows most, over all workers.

        Callers that are limited to tenants see their instances alone.
        """
        vim_id, caller = vim_id_in(request), request[CALLER]
        parameters = parse_query(request, TopParameters)
        if parameters.about == "hosts" and caller.tenants is not None:
            raise ApiError(403, f"{caller.name} sees instances of its own tenants alone, no hosts")
        since = utc_text(datetime.now(UTC) - timedelta(seconds=parameters.max_age))
        query = top_query(vim_id, parameters, since, caller.tenants)
        if self._worker.meters is None:  # by our settings nothing is measured
            return json_response(combine(query, []))
        found = await self._gather.ask(self._top, query)
        if vim_id not in self._worker.vim_ids and not any(part.known for part in found):
            raise ApiError(404, f"unknown VIM {vim_id}: neither configured nor ever heard of")
        return json_response(combine(query, found))
