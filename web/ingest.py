"""Notifications and bare states that plug-ins push: written into Kafka before they are answered.

All or nothing: as long as one entry of a request is refused, none is written. What Kafka has not
acknowledged in time may be written all the same; the same request can be sent again, since
repetitions are recognised by their message ids.
"""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import count
from time import monotonic
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Raw, Struct, field

from streams.core.bounds import OutOfBoundsError
from streams.core.normalise import Passed, normalise
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import (
    NotificationWriter,
    RecordTooLargeError,
    arrival_time,
    notification_record,
)
from vimfed.model.decoding import UNREADABLE
from vimfed.model.records import Notification
from vimfed.nova import oslo
from vimfed.nova.bare_state import (
    EVENT_PREFIX,
    MAX_ID,
    BareStateError,
    bare_state_notification,
    read_bare_state,
)
from vimfed.nova.states import TASK_STATES, VM_STATES
from vimfed.settings import Settings
from web.auth.caller import CALLER, CLIENT, EVERYBODY, Caller
from web.group_commit import GroupCommit
from web.http.audit import COUNT, WHO
from web.http.bounded_map import BoundedMap
from web.http.errors import ApiError, Problem, Unavailable, json_response
from web.http.routes import Route, body_of, vim_id_in

MAX_ENTRIES = 1000
"""Entries of one request."""
MAX_CALLERS = 1000
"""Callers whose rate is remembered."""
CHUNK = 100
"""Entries that are read before others have their turn."""


def _one_of(names: Iterable[str]) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"enum": sorted(names)})


class PushedState(Struct, frozen=True, kw_only=True):
    """A bare state; other fields of the specification's flat payload may stand beside these."""

    instance_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    """Without spaces and slashes."""
    state: Annotated[str, _one_of(VM_STATES)]
    """nova's vm_state."""
    state_description: Annotated[str, _one_of(TASK_STATES | {""})] | None = None
    """nova's task_state; empty, null or absent at rest."""
    timestamp: str | None = None
    """When it was so (ISO 8601, UTC by default); by default now."""
    changed_at: str | None = None
    """Since when it was so, where that is known."""
    power_state: str | None = None
    message_id: str | None = None
    """By which a repetition is recognised; by default that follows from what is said."""
    vim_id: str | None = None
    """Must be that of the path."""


class PushedNotification(Struct, frozen=True, kw_only=True):
    """An oslo notification; or one in its envelope, ``{"oslo.version", "oslo.message"}``."""

    message_id: str
    event_type: str
    payload: dict[str, Any]
    publisher_id: str | None = None
    priority: str | None = None
    timestamp: str | None = None
    vim_id: str | None = None
    """Must be that of the path."""


class Enveloped(Struct, frozen=True, kw_only=True):
    """An oslo notification in its envelope, as driver ``messagingv2`` sends it."""

    message: str = field(name="oslo.message")
    """JSON text of the notification."""
    version: str = field(name="oslo.version", default="2.0")


Pushed = PushedState | PushedNotification | Enveloped


class Accepted(Struct, frozen=True, kw_only=True):
    """All entries are written and acknowledged."""

    accepted: int


class RefusedEntry(Struct, frozen=True, kw_only=True):
    """Why one entry of a request is refused."""

    index: int
    """From 0."""
    error: str


class Refusal(Problem, frozen=True, kw_only=True):
    """Nothing of the request has been written."""

    refused: tuple[RefusedEntry, ...] = ()
    """Empty where the request as a whole is none."""


class TooFast(Problem, frozen=True, kw_only=True):
    """The caller has used up its rate; nothing of the request has been written."""

    retry_after: int
    """Seconds; the same as in the header ``Retry-After``."""


class EntryError(Exception):
    """An entry that is refused; the text says why."""


class _Kind(Struct):
    """What tells an entry's kind, and for which VIM it is."""

    enveloped: Raw = field(name="oslo.message", default=Raw(b""))
    event_type: Raw = Raw(b"")
    vim_id: str | None = None


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_all = msgspec.json.Decoder(list[Raw]).decode
_decode_one = msgspec.json.Decoder(Raw).decode


class Rates:
    """How much each caller has taken of what one may take."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._debts: BoundedMap[str, tuple[float, float]] = BoundedMap(MAX_CALLERS)
        """By caller: what it owed, and when."""

    def wait(self, caller: str, now: float) -> float:
        """Return the seconds after which ``caller`` may go on: 0 where that is now."""
        return max(0.0, self._debt(caller, now) / self._per_second - 1.0)

    def take(self, caller: str, amount: int, now: float) -> None:
        """Note that ``caller`` took something: a second's worth at once, and more on credit."""
        self._debts[caller] = (self._debt(caller, now) + amount, now)

    def _debt(self, caller: str, now: float) -> float:
        debt, at = self._debts.get(caller) or (0.0, now)
        return max(0.0, debt - (now - at) * self._per_second)


class Ingest:
    """The handler of ``…/notifications``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._vims = frozenset(vim.vim_id for vim in settings.vims)
        self._rates = Rates(settings.web.ingest_rate)
        self._bytes = Rates(settings.web.ingest_bytes_rate)
        self._session = f"ingest/{uuid.uuid4()}"
        self._sequence = count()
        self._writer = NotificationWriter(settings.kafka)
        self._commits = GroupCommit(self._writer.write)

    async def writing(self, _app: web.Application) -> AsyncIterator[None]:
        """Close the writer when the server ends."""
        yield
        await self._commits.close()
        await self._writer.close()

    def routes(self) -> list[Route]:
        """Return the route."""
        prefix = self._settings.web.prefix
        return [
            Route(
                method="POST",
                paths=(
                    prefix + "/v1/{owner}/{region}/notifications",
                    prefix + "/v0/{vim_id}/notifications",
                ),
                handler=self.push,
                role="writer",
                audit="states.pushed",
                body=Pushed | list[Pushed],
                answers={
                    200: Accepted,
                    400: Refusal,
                    404: Problem,
                    413: Problem,
                    429: TooFast,
                    503: Unavailable,
                },
            )
        ]

    async def push(self, request: web.Request) -> web.Response:
        """Write what a plug-in knows into Kafka: an oslo notification, a bare state, or an array.

        It is answered when Kafka has acknowledged all of it. An entry that is refused refuses the
        request: nothing of it is written.
        """
        vim_id = vim_id_in(request)
        if vim_id not in self._vims:
            raise ApiError(404, f"unknown VIM {vim_id}: it must be configured in [[vims]]")
        _refuse_limited(request[CALLER])
        caller = request[CALLER].name if request[CALLER] is not EVERYBODY else request[CLIENT]
        self._check_rate(caller)
        body = await body_of(request)
        entries = _entries(body)
        self._check_rate(caller)
        self._rates.take(caller, len(entries), monotonic())
        self._bytes.take(caller, len(body), monotonic())
        request[COUNT] = len(entries)
        records = await self._records(vim_id, entries, request[WHO].header())
        await self._commits.commit(records)
        return json_response(Accepted(accepted=len(records)))

    def _check_rate(self, caller: str) -> None:
        web_settings = self._settings.web
        for rates, rate in (
            (self._rates, f"{web_settings.ingest_rate:g} states"),
            (self._bytes, f"{web_settings.ingest_bytes_rate:.0f} bytes"),
        ):
            wait = math.ceil(rates.wait(caller, monotonic()))
            if wait:
                problem = TooFast(
                    error=f"more than {rate} a second; try again in {wait} s", retry_after=wait
                )
                raise ApiError(429, problem, {"Retry-After": str(wait)})

    async def _records(
        self, vim_id: str, entries: list[Raw], caller: tuple[str, bytes]
    ) -> list[OutgoingRecord]:
        records, refused = [], []
        for index, entry in enumerate(entries):
            if index % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            try:
                notification, instance_id = self._notification(vim_id, entry)
                record = notification_record(self._settings.kafka, notification, instance_id)
                records.append(msgspec.structs.replace(record, headers=(*record.headers, caller)))
            except (EntryError, RecordTooLargeError) as error:
                refused.append(RefusedEntry(index=index, error=str(error)))
        if refused:
            summary = f"{len(refused)} of {len(entries)} entries are refused, nothing is written"
            raise ApiError(400, Refusal(error=summary, refused=tuple(refused)))
        return records

    def _notification(self, vim_id: str, entry: Raw) -> tuple[Notification, str]:
        """Return the notification that an entry makes, and which instance it is about."""
        notification, instance_id = read_entry(
            vim_id, entry, self._session, lambda: next(self._sequence), arrival_time()
        )
        try:
            told = normalise(notification)
        except OutOfBoundsError as error:
            raise EntryError(str(error)) from None
        if isinstance(told, Passed) and told.reason == "malformed_payload":
            raise EntryError(f"the payload of {told.event_type} is not understood")
        return notification, instance_id


def _refuse_limited(caller: Caller) -> None:
    """Raise ApiError (403) where a caller may not see all tenants: what is pushed is a cloud's."""
    if caller.tenants is not None:
        raise ApiError(
            403,
            f"{caller.name} may see some tenants alone, and who pushes speaks for a cloud: take a "
            "token of the system, or of a project that keystone.all_tenants_projects names",
        )


def _entries(body: bytes) -> list[Raw]:
    """Return the entries of a request's body. Raises ApiError (400, 413)."""
    try:
        body.decode()  # what is only passed on is not decoded by anybody else here
        entries = _decode_all(body) if body.lstrip()[:1] == b"[" else [_decode_one(body)]
    except UNREADABLE as error:
        raise ApiError(400, Refusal(error=f"the body is not JSON: {error}")) from None
    if len(entries) > MAX_ENTRIES:
        raise ApiError(413, f"{len(entries)} entries: send at most {MAX_ENTRIES} at a time")
    return entries


def read_entry(
    vim_id: str, entry: Raw, path: str, next_sequence: Callable[[], int], received_at: str
) -> tuple[Notification, str]:
    """Return the notification that an entry makes, and which instance it is about.

    Oslo notifications are taken to come in the cloud's order: ``path`` and ``next_sequence`` say
    where they stand in it. Bare states come with the time at which they held, and that decides.
    Raises EntryError.
    """
    try:
        kind = _decode_kind(entry)
    except UNREADABLE as error:
        raise EntryError(f"neither a notification nor a bare state: {error}") from None
    if kind.vim_id not in (None, vim_id):
        raise EntryError(f"it names the VIM {kind.vim_id}, but was sent to {vim_id}")
    if not bytes(kind.enveloped) and not bytes(kind.event_type):
        try:
            state = read_bare_state(entry)
        except BareStateError as error:
            raise EntryError(f"not a bare state: {error}") from None
        notification = bare_state_notification(
            vim_id, state, source="ingest", path="", sequence=0, received_at=received_at
        )
        return notification, state.instance_id
    try:
        told = oslo.decode(bytes(entry))
    except oslo.NotANotificationError as error:
        raise EntryError(str(error)) from None
    if told.event_type.startswith(EVENT_PREFIX):
        raise EntryError(f"event types {EVENT_PREFIX}* are our own: send a bare state")
    notification = oslo.stamp(
        told,
        vim_id=vim_id,
        path=path,
        sequence=next_sequence(),
        received_at=received_at,
        source="ingest",
    )
    return notification, told.instance_id
