"""Snapshots over HTTP: the present state of instances, sent to one output between their events."""

import uuid
from collections.abc import Mapping

import msgspec
from aiohttp import web

from streams.subscriptions.snapshots import (
    MAX_SNAPSHOTS,
    Course,
    Snapshot,
    SnapshotRequest,
    State,
    snapshot_key,
)
from streams.worker.worker import StreamWorker
from vimfed.kafka.notification_writer import arrival_time
from vimfed.settings import DmaapOutput
from web.auth.caller import CALLER
from web.auth.limits import check_limits, is_within
from web.change_log import ChangeLog
from web.http.audit import WHO
from web.http.errors import ApiError, Problem, Unavailable, json_response
from web.http.routes import Route, body_of
from web.kept_requests import check_known, is_by_path, of_named_cloud, parsed, writable_name

_decode = msgspec.json.Decoder(SnapshotRequest).decode
_encode = msgspec.json.Encoder().encode


class Partitions(msgspec.Struct, frozen=True, kw_only=True):
    """How many partitions of the table there are, and of how many all is written."""

    written: int
    of: int


class ToldSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot, and how far it is."""

    name: str
    id: str
    output: str
    clouds: tuple[str, ...]
    tenants: tuple[str, ...]
    state: State
    """``requested``; ``begun``: the output is yet to take the begin records; ``running``: the
    instances are being written; ``delivering``: the output is yet to take them; ``ended``: so are
    the end records, behind everything else."""
    requested_at: str
    ended_at: str | msgspec.UnsetType = msgspec.UNSET
    partitions: Partitions
    instances: Mapping[str, int]
    """By cloud, how many it has told of so far."""


class SnapshotList(msgspec.Struct, frozen=True, kw_only=True):
    """All snapshots, by name."""

    snapshots: list[ToldSnapshot]


class CancelledSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that was deleted."""

    name: str
    state: State
    """How far it was."""


class Snapshots:
    """The handlers of ``{prefix}/v1/snapshots``."""

    def __init__(self, worker: StreamWorker, changes: ChangeLog) -> None:
        settings = worker.settings
        self._worker = worker
        self._book = worker.snapshots
        self._changes = changes
        self._partitions = settings.kafka.partitions
        self._outputs = {
            each.name
            for each in settings.outputs()
            if each.carries == "events" and not each.is_of_tenants  # a snapshot's ends are nobody's
        }
        self._silent = {each.name for each in settings.outputs() if _is_silent(each)}
        self._v1 = f"{settings.web.prefix}/v1"

    def routes(self) -> list[Route]:
        """Return all routes: those of all clouds, and by a cloud's path those of it alone."""
        several = (self._v1 + "/snapshots", self._v1 + "/{owner}/{region}/snapshots")
        one = tuple(path + "/{name}" for path in several)
        return [
            Route(
                method="GET",
                paths=several,
                handler=self.list_all,
                role="reader",
                answers={200: SnapshotList, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=one,
                handler=self.get,
                role="reader",
                answers={200: ToldSnapshot, 403: Problem, 404: Problem, 503: Unavailable},
            ),
            Route(
                method="PUT",
                paths=one,
                handler=self.put,
                role="writer",
                audit="snapshot.requested",
                body=SnapshotRequest,
                answers={
                    200: ToldSnapshot,
                    201: ToldSnapshot,
                    400: Problem,
                    403: Problem,
                    409: Problem,
                    503: Unavailable,
                },
            ),
            Route(
                method="DELETE",
                paths=one,
                handler=self.delete,
                role="writer",
                audit="snapshot.deleted",
                answers={200: CancelledSnapshot, 403: Problem, 404: Problem, 503: Unavailable},
            ),
        ]

    async def list_all(self, request: web.Request) -> web.Response:
        """Tell all snapshots, also those that have ended, as far as the caller may see them."""
        await self._changes.known()
        told = [
            self._told(course)
            for course in self._book.all()
            if is_by_path(request, course.snapshot.asked)
            and is_within(request[CALLER], course.snapshot.asked)
        ]
        return json_response(SnapshotList(snapshots=told))

    async def get(self, request: web.Request) -> web.Response:
        """Tell how far a snapshot is."""
        return json_response(self._told(await self._found(request)))

    async def put(self, request: web.Request) -> web.Response:
        """Send the present state of instances to an output, while its events go on.

        Asked for again, it is the same snapshot, also once it has ended: delete it to take another
        one of this name.
        """
        name = writable_name(request)
        asked = of_named_cloud(request, parsed(await body_of(request), _decode, "snapshot"))
        check_limits(request, asked)
        self._check_known(asked)
        await self._changes.known()
        course = self._book.get(name)
        if course is not None:
            check_limits(request, course.snapshot.asked)
            if course.snapshot.asked != asked:
                raise ApiError(409, f"snapshot {name} is of something else: delete it first")
            return json_response(self._told(course))
        if len(list(self._book.all())) >= MAX_SNAPSHOTS:
            raise ApiError(409, f"there are {MAX_SNAPSHOTS} snapshots already: delete one first")
        made = Snapshot(
            id=str(uuid.uuid4()),
            asked=asked,
            # A cloud that is named twice is told of once.
            clouds=tuple(dict.fromkeys(asked.clouds)) or tuple(sorted(self._worker.vim_ids)),
            requested_at=arrival_time(),
        )
        await self._changes.append(snapshot_key(name), _encode(made), request[WHO].header())
        await self._changes.known()
        return json_response(self._told(self._book.get(name) or Course(name, made)), 201)

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a snapshot; what is not written of it yet is not sent, nor its end records."""
        course = await self._found(request)
        state = course.state(self._partitions)
        caller = request[WHO].header()
        for step in ("", *course.steps):
            await self._changes.append(snapshot_key(course.name, step), None, caller)
        await self._changes.known()
        return json_response(CancelledSnapshot(name=course.name, state=state))

    async def _found(self, request: web.Request) -> Course:
        name = request.match_info["name"]
        await self._changes.known()
        course = self._book.get(name)
        if course is None or not is_by_path(request, course.snapshot.asked):
            raise ApiError(404, f"there is no snapshot {name}")
        check_limits(request, course.snapshot.asked)
        return course

    def _check_known(self, asked: SnapshotRequest) -> None:
        """Raise ApiError (400) for an output, or a cloud, that the settings do not name."""
        check_known("output", [asked.output], self._outputs)
        check_known("clouds", asked.clouds, self._worker.vim_ids)
        if asked.output in self._silent:
            raise ApiError(
                400,
                f"output {asked.output} gets no notifications of VES, which a snapshot would be: "
                'add "notification" to its ves_domains',
            )

    def _told(self, course: Course) -> ToldSnapshot:
        snapshot = course.snapshot
        left = len(course.left(self._partitions))
        return ToldSnapshot(
            name=course.name,
            id=snapshot.id,
            output=snapshot.asked.output,
            clouds=snapshot.clouds,
            tenants=snapshot.asked.tenants,
            state=course.state(self._partitions),
            requested_at=snapshot.requested_at,
            ended_at=course.ended_at or msgspec.UNSET,
            partitions=Partitions(written=self._partitions - left, of=self._partitions),
            instances=course.told,
        )


def _is_silent(output: DmaapOutput) -> bool:
    """Return whether an output gets VES alone, and nothing of what a snapshot tells."""
    return (output.is_ves or output.format == "ves") and "notification" not in output.domains
