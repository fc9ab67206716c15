"""The route that tells Prometheus what was measured last of the VMs that this worker owns."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from streams.worker.worker import StreamWorker
from vimfed.model.keys import kind_of_key, split_instance_key
from vimfed.model.times import utc_text
from vimfed.nova.states import DELETED
from web.auth.caller import CALLER, Caller
from web.http.errors import ApiError, Problem, Unavailable, UnavailableError
from web.http.routes import Route, parse_query
from web.queries.own_partitions import OwnPartitions
from web.queries.vm_gauges import FRESH, MAX_BYTES, TooMuchError, VmGauges, VmGaugesParameters

CHUNK = 20
"""Rows that are told before others have their turn: some milliseconds."""
AT_ONCE = 2
"""So many answers are made or sent at a time; the others wait."""
PIECE = 256 * 1024
"""Bytes that are sent before others have their turn."""
SEND_WITHIN = 30.0
"""Seconds in which a client must have read its answer: it is held in memory as long."""


class VmGaugeRoutes:
    """The handler of ``/v1/metrics/vms``."""

    def __init__(self, worker: StreamWorker, own: OwnPartitions) -> None:
        self._worker = worker
        self._own = own
        self._turns = asyncio.Semaphore(AT_ONCE)

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route(
                method="GET",
                paths=(f"{self._worker.settings.web.prefix}/v1/metrics/vms",),
                handler=self.gauges,
                role="reader",
                query=VmGaugesParameters,
                answers={200: None, 400: Problem, 404: Problem, 503: Unavailable},
                media_type="text/plain",
            )
        ]

    async def gauges(self, request: web.Request) -> web.StreamResponse:
        """Tell what was measured last of the VMs that this worker owns, for Prometheus.

        Every worker is to be scraped: each tells its own. Callers that are limited to clouds or
        tenants see theirs alone. Of what is older than five intervals nothing is told.
        """
        if not self._worker.settings.metrics.vm_gauges:
            raise ApiError(404, "gauges of VMs are off: say vm_gauges = true in [metrics]")
        caller, parameters = request[CALLER], parse_query(request, VmGaugesParameters)
        for vim_id in parameters.vim_id:
            if not caller.may_see(vim_id):
                raise ApiError(403, f"{caller.name} may not see the cloud {vim_id}")
        async with self._turns:
            gauges = await self._collected(parameters, caller)
            return await _send(request, gauges.pieces())

    async def _collected(self, parameters: VmGaugesParameters, caller: Caller) -> VmGauges:
        """Return the gauges of all that the caller may see. Raises ApiError, UnavailableError."""
        settings = self._worker.settings.metrics
        age = timedelta(seconds=FRESH * settings.interval + settings.grace)
        gauges = VmGauges(utc_text(datetime.now(UTC) - age), parameters.meter)
        self._own.check_ready()
        generation, partitions = self._own.generation, self._own.partitions()
        if self._worker.meters is None:  # by our settings nothing is measured
            return gauges
        for partition in partitions:
            rows = self._own.meters(partitions).partition(partition).items()
            while chunk := list(islice(rows, CHUNK)):
                try:
                    self._add(gauges, partition, chunk, parameters, caller)
                except TooMuchError:
                    raise ApiError(
                        400,
                        f"the answer has more than {MAX_BYTES // 1024**2} MiB: choose with meter= "
                        "or vim_id=",
                    ) from None
                await asyncio.sleep(0)
                self._own.meters([partition])
        self._own.check_ready()
        if (generation, partitions) != (self._own.generation, self._own.partitions()):
            raise UnavailableError("partitions are being assigned")
        return gauges

    def _add(
        self,
        gauges: VmGauges,
        partition: int,
        rows: Iterable[tuple[bytes, bytes]],
        parameters: VmGaugesParameters,
        caller: Caller,
    ) -> None:
        for key, row in rows:
            vim_id, instance_id = split_instance_key(key)
            is_wanted = not parameters.vim_id or vim_id in parameters.vim_id
            if kind_of_key(key) != "instance" or not is_wanted or not caller.may_see(vim_id):
                continue
            entry = self._worker.index.entry(partition, vim_id, instance_id)
            if entry is not None and entry.group.vm_state == DELETED:
                continue
            tenants = caller.tenants
            if tenants is None or (entry is not None and entry.tenant_id in tenants):
                gauges.add(vim_id, instance_id, row, entry)


async def _send(request: web.Request, pieces: Iterable[bytes]) -> web.StreamResponse:
    """Send the answer piece by piece; a client that does not read it in time is cut off."""
    response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
    if request.method == "HEAD":
        return response
    transport = request.transport
    try:
        async with asyncio.timeout(SEND_WITHIN):
            await response.prepare(request)
            for piece in _gathered(pieces):
                await response.write(piece)
                await asyncio.sleep(0)
            await response.write_eof()
    except (TimeoutError, OSError):
        # What is cut off is no complete answer, and the client knows.
        if transport is not None:
            transport.abort()
    return response


def _gathered(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Yield pieces of PIECE bytes or little more, made of smaller ones."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)
