"""How the workers are: what each owns, how far it is behind, and what is wrong with it.

Unlike a query this is answered while something is wrong, for that is when it is asked.
"""

import asyncio
import math

import msgspec
from aiohttp import web

from streams.worker.worker import StreamWorker
from vimfed.model.decoding import UnreadableError, decoded
from web.auth.peers import PeerError
from web.http.errors import json_response
from web.http.routes import Route
from web.queries.gather import PEER_PATH, Gather
from web.queries.own_partitions import OwnPartitions

REPORT_PATH = PEER_PATH + "worker"


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker measures of itself."""

    lag: dict[int, int]
    """By partition that it owns, how many notifications are not done."""
    oldest_undone_seconds: float
    """How long the oldest notification that it has read waits; 0 where none does."""
    rows: int
    """Of the instances table, in the partitions that it owns."""
    membership_age: float | None
    """Seconds since Kafka last confirmed that it is a member of its group; None before the first
    time."""
    recovery_seconds: float
    """What the last recovery of the table took; 0 where there was none."""


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one worker is."""

    url: str
    wrong: dict[str, str]
    """Which part keeps it from answering queries, and why; empty while it answers."""
    partitions: list[int]
    """Those that it owns."""
    figures: WorkerFigures | None = None
    """None where it does not answer."""


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """All workers that own partitions, and the one that was asked."""

    asked: str
    """The URL of the worker that was asked."""
    workers: list[WorkerReport]
    """By URL."""
    unowned: list[int]
    """Partitions that have no owner."""


_decode_report = msgspec.json.Decoder(WorkerReport).decode


class Workers:
    """The handlers of ``{prefix}/v1/workers`` and of the workers' own question."""

    def __init__(self, worker: StreamWorker, own: OwnPartitions, gather: Gather) -> None:
        self._worker = worker
        self._own = own
        self._gather = gather

    def routes(self) -> list[Route]:
        """Return all routes."""
        v1 = f"{self._worker.settings.web.prefix}/v1"
        return [
            Route(
                method="GET",
                paths=(v1 + "/workers", v1 + "/{owner}/{region}/workers"),
                handler=self.list_all,
                role="reader",
                answers={200: WorkerList},
            ),
            Route(
                method="GET",
                paths=(REPORT_PATH,),
                handler=self.report,
                role="peer",
                answers={200: WorkerReport},
            ),
        ]

    async def list_all(self, _request: web.Request) -> web.Response:
        """Tell how all workers are: health, partitions, lag. A silent one does not fail it."""
        owners = self._own.known_owners()
        others = owners.keys() - {self._own.url}
        reports = await asyncio.gather(*(self._ask(url, sorted(owners[url])) for url in others))
        answer = WorkerList(
            asked=self._own.url,
            workers=sorted([self._own_report(), *reports], key=lambda report: report.url),
            unowned=self._own.unowned(),
        )
        return json_response(answer)

    async def report(self, _request: web.Request) -> web.Response:
        """Tell another worker how this one is."""
        return json_response(self._own_report())

    def _own_report(self) -> WorkerReport:
        worker, partitions = self._worker, self._own.partitions()
        age = worker.membership_age
        figures = WorkerFigures(
            lag={partition: worker.lag(partition) for partition in partitions},
            oldest_undone_seconds=max(map(worker.oldest_undone_seconds, partitions), default=0.0),
            rows=len(worker.index),
            membership_age=None if math.isinf(age) else age,
            recovery_seconds=worker.recovery_seconds,
        )
        return WorkerReport(
            url=self._own.url,
            wrong=self._own.what_is_wrong(),
            partitions=partitions,
            figures=figures,
        )

    async def _ask(self, url: str, partitions: list[int]) -> WorkerReport:
        """Return a worker's own word, or that it gives none."""
        try:
            return decoded(_decode_report, await self._gather.peers.ask("GET", url, REPORT_PATH))
        except PeerError as error:
            wrong = str(error)
        except UnreadableError:
            wrong = "answers as no worker of this version does"
        return WorkerReport(url=url, wrong={"worker": wrong}, partitions=partitions)
