"""What the pushing routes share: who may push, how fast, all or nothing, and the way into Kafka.

All or nothing: as long as one entry of a request is refused, none is written. What Kafka has not
acknowledged in time may be written all the same; the same request can be sent again, since
repetitions are recognised by their message ids.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from time import monotonic
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import NotificationWriter, RecordTooLargeError
from vimfed.kafka.topics import TopicNames
from vimfed.model.decoding import UNREADABLE
from vimfed.model.times import as_utc_text
from vimfed.process.audit import Event
from vimfed.settings import Settings
from web.auth.caller import CALLER, CLIENT, EVERYBODY, Caller
from web.group_commit import GroupCommit
from web.http.audit import COUNT, WHO
from web.http.bounded_map import BoundedMap
from web.http.errors import ApiError, Problem, TooFast, Unavailable, json_response
from web.http.routes import Handler, Route, body_of, vim_id_in

MAX_ENTRIES = 1000
"""Entries of one request."""
MAX_CALLERS = 1000
"""Callers whose rate is remembered."""
CHUNK = 100
"""Entries that are read before others have their turn."""


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


class EntryError(Exception):
    """An entry that is refused; the text says why."""


ReadEntry = Callable[[str, Raw], Sequence[OutgoingRecord]]
"""Returns the records of an entry that was sent for a VIM (its vim_id).

Raises EntryError and RecordTooLargeError.
"""

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


class Pushing:
    """The one way of a worker by which its callers push; all pushing routes go through it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.vim_ids: frozenset[str]
        """The clouds that are pushed for."""
        self.sampled_vim_ids: frozenset[str]
        """Those of them whose samples are taken."""
        self.heed(settings)
        self._rates = Rates(settings.web.ingest_rate)
        self._bytes = Rates(settings.web.ingest_bytes_rate)
        self._writer = NotificationWriter(settings.kafka)
        self._commits = GroupCommit(self._writer.write)
        # Of their own: what becomes of samples holds up no event.
        self._samples = TopicNames(settings.kafka.topic_prefix).samples
        self._sample_writer = NotificationWriter(settings.kafka)
        self._sample_commits = GroupCommit(self._sample_writer.write)

    def heed(self, settings: Settings) -> None:
        """Learn of the clouds that the settings name by now."""
        self.vim_ids = settings.vim_ids
        self.sampled_vim_ids = frozenset(vim.vim_id for vim in settings.vims if vim.samples.pushed)

    async def writing(self, _app: web.Application) -> AsyncIterator[None]:
        """Close the writers when the server ends."""
        yield
        for commits in (self._commits, self._sample_commits):
            await commits.close()
        for writer in (self._writer, self._sample_writer):
            await writer.close()

    def route(self, what: str, handler: Handler, *, audit: Event, body: Any) -> Route:
        """Return the route ``…/<what>`` of each cloud, whose handler calls ``push``.

        ``body``: the type of an entry; one of it or an array is taken.
        """
        prefix = self.settings.web.prefix
        return Route(
            method="POST",
            paths=(f"{prefix}/v1/{{owner}}/{{region}}/{what}", f"{prefix}/v0/{{vim_id}}/{what}"),
            handler=handler,
            role="writer",
            audit=audit,
            body=body | list[body],
            answers={
                200: Accepted,
                400: Refusal,
                404: Problem,
                413: Problem,
                429: TooFast,
                503: Unavailable,
            },
        )

    async def push(self, request: web.Request, read: ReadEntry, *, weight: int = 1) -> web.Response:
        """Write what a request's entries say into Kafka; return the answer.

        ``weight``: what an entry takes of the caller's rate. Raises ApiError.
        """
        vim_id, body = await self.received(request)
        entries = _entries(body)
        self.take(request, len(entries) * weight, len(body))
        request[COUNT] = len(entries)
        records = await _records(vim_id, entries, read, request[WHO].header())
        await self.commit(records)
        return json_response(Accepted(accepted=len(entries)))

    async def received(self, request: web.Request) -> tuple[str, bytes]:
        """Return for which cloud a request is, and its body. Raises ApiError."""
        vim_id = vim_id_in(request)
        if vim_id not in self.vim_ids:
            raise ApiError(404, f"unknown VIM {vim_id}: it must be configured in [[vims]]")
        _refuse_limited(request[CALLER])
        self._check_rate(_rated(request))
        return vim_id, await body_of(request)

    def take(self, request: web.Request, entries: int, size: int) -> None:
        """Note what the caller pushes, ``size`` bytes. Raises ApiError where it is too fast."""
        caller = _rated(request)
        self._check_rate(caller)
        self._rates.take(caller, entries, monotonic())
        self._bytes.take(caller, size, monotonic())

    def take_more(self, request: web.Request, entries: int) -> None:
        """Note that what was taken has turned out to be more entries."""
        self._rates.take(_rated(request), entries, monotonic())

    async def commit(self, records: Sequence[OutgoingRecord]) -> None:
        """Return when Kafka has acknowledged all records, of samples or of anything else.

        Raises UnavailableError.
        """
        are_samples = bool(records) and records[0].topic == self._samples
        await (self._sample_commits if are_samples else self._commits).commit(records)

    def _check_rate(self, caller: str) -> None:
        web_settings = self.settings.web
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


def pushed_time(text: str | None) -> str:
    """Return a time that an entry says, as records carry it; empty: it says none.

    Raises EntryError.
    """
    if not text:
        return ""
    try:
        return as_utc_text(text)
    except (ValueError, OverflowError):
        raise EntryError(f"timestamp {text!r} is no ISO 8601 time") from None


def _rated(request: web.Request) -> str:
    """Return whose rate a request takes from."""
    caller = request[CALLER]
    return request[CLIENT] if caller is EVERYBODY else caller.name


async def _records(
    vim_id: str, entries: Sequence[Raw], read: ReadEntry, caller: tuple[str, bytes]
) -> list[OutgoingRecord]:
    """Return the records of all entries, each with its caller. Raises ApiError (400)."""
    records: list[OutgoingRecord] = []
    refused = []
    for index, entry in enumerate(entries):
        if index % CHUNK == CHUNK - 1:
            await asyncio.sleep(0)
        try:
            records += (
                msgspec.structs.replace(record, headers=(*record.headers, caller))
                for record in read(vim_id, entry)
            )
        except (EntryError, RecordTooLargeError) as error:
            refused.append(RefusedEntry(index=index, error=str(error)))
    if refused:
        summary = f"{len(refused)} of {len(entries)} entries are refused, nothing is written"
        raise ApiError(400, Refusal(error=summary, refused=tuple(refused)))
    return records


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
