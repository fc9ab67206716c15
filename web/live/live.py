"""Live events: server-sent events for whoever listens, and the recent events of one instance.

All clients read one ring (event_ring.py), each at its own place, so a client costs a number and
what its connection has not taken yet. One loop reads from Kafka and sends; it rests between two
rounds so long that it takes no more than its share of the process's time, however many listen.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter as Counted
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Annotated, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Meta
from prometheus_client import CollectorRegistry, Counter, Gauge

from streams.subscriptions.filters import Subscription
from vimfed.kafka.aio import KafkaError
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key
from vimfed.model.times import utc_text
from vimfed.process.neighbours import network_of
from vimfed.settings import Settings
from web.auth.caller import CALLER, CLIENT, EVERYBODY, Caller
from web.http.errors import ApiError, Problem, Unavailable, UnavailableError, json_response
from web.http.fair_share import Budget, FairShare
from web.http.routes import Route, parse_query, vim_id_in
from web.live.event_ring import EventRing, LiveEvent
from web.live.event_tail import LeftBehindError, followed
from web.live.reader import EventFilter, Poll, Reader

LOG = logging.getLogger(__name__)

SHARE = 0.3
"""Of the time, that reading and sending take at most."""
SHARE_BEHIND, MIN_BEHIND = 0.03, 0.01
"""The same while the stream is behind (see Budget in web/http/fair_share.py)."""
PAUSE, PAUSE_BEHIND = 0.05, 0.25
"""Seconds between two rounds at least: what comes in quick succession is sent at once. Each round
fetches, which takes a millisecond however little comes."""
PATIENCE = 0.2
"""Seconds that a round waits for events."""
SLICE = 0.002
"""Seconds of work after which the stream gets its turn."""
IDLE = 300.0
"""Seconds that the topic is followed after somebody last asked."""
START_TIMEOUT = 10.0
CATCH_UP = 3.0
"""Seconds that a client waits where another worker has told it more than we have read."""
RETRY = 1.0
KEEP_ALIVE = 15.0
CHUNK = 48_000
"""Bytes after which no further event is added to what a client is sent at once."""
SEND_BUFFER = 64_000
"""Bytes that the kernel keeps for a client; it would keep megabytes by itself."""
NEVER_PAUSE = 16_000_000
"""Bytes in a connection's buffer that make aiohttp wait: more than a chunk can ever have."""
SLOW_AFTER = 20.0
"""Seconds without taking anything after which a client is cut off."""
GRACE = 30.0
"""Seconds that a client which was cut off has to read why."""
MIN_ASKED_AGAIN = 1.0
"""Minimum seconds until the login of a client is asked whether it still holds."""
SHARED = "others want to follow, too, and this caller has more clients than they (web.live_clients)"
LOGIN_ENDED = "the login has expired, or was revoked"

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # proxies in nginx' manner would hold events back
}

_encode = msgspec.json.Encoder().encode


class EventsParameters(EventFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for live events; without parameters all are told."""

    vim_id: Annotated[list[str], Meta(description="events of these clouds")] = msgspec.field(
        default_factory=list
    )
    recent: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="of so many of the newest events, those that pass are told at first; not "
            "to who goes on where a connection broke off",
        ),
    ] = 0


class PollParameters(EventFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a poll for the events of one cloud."""

    after: Annotated[
        str,
        Meta(
            pattern=r"^([0-9]{1,19}(\.[0-9]{1,19})*)?$",
            description="the `next` of the answer before; without it the answer comes at once, "
            "and says where to begin",
        ),
    ] = ""
    wait: Annotated[float, Meta(ge=0, le=60, description="seconds to wait for the first event")] = (
        20.0
    )
    limit: Annotated[int, Meta(ge=1, le=1000, description="events in the answer")] = 500


class PolledEvents(msgspec.Struct, frozen=True, kw_only=True):
    """What was told of a cloud after a place, and the place that follows."""

    events: list[LiveEvent]
    """In the order in which they are told, the newest last."""
    next: str
    """Where to go on: the parameter `after` of the next request, at any worker."""
    missed: bool
    """Whether events are missing before `next` which are not held any more: what was told meanwhile
    is in the lists of instances."""


class RecentParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for an instance's events."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="events in the answer")] = 100


class RecentEvents(msgspec.Struct, frozen=True, kw_only=True):
    """What was told of one instance lately."""

    events: list[LiveEvent]
    """Newest first."""
    since: str
    """When Kafka took the oldest event that a worker still holds of the instance's partition: since
    then, the list is complete."""


class _Client(Reader):
    """Somebody who listens at a connection of its own."""

    def __init__(
        self,
        response: web.StreamResponse,
        transport: asyncio.Transport,
        subscription: Subscription,
        caller: Caller,
        who: str,
    ) -> None:
        super().__init__(subscription, caller, who)
        self.response = response
        self.transport = transport
        self.sent_at = time.monotonic()
        self.stuck_since: float | None = None

    async def send(self, text: bytes) -> None:
        """Hand over what is to be sent, without waiting for the client. Raises OSError."""
        await self.response.write(text)
        self.sent_at = time.monotonic()


class _Chunk(NamedTuple):
    """What all clients of one filter and one place are sent next."""

    text: bytes
    next: int
    events: int


class LiveEvents:
    """The handlers of ``{prefix}/v1/events`` and of an instance's events, and the loop behind."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        fair: FairShare,
        still_admits: Callable[[web.Request], Awaitable[bool]],
    ) -> None:
        self._settings = settings
        self._fair = fair
        self._still_admits = still_admits
        self._budget = Budget(SHARE_BEHIND, MIN_BEHIND, burst=0.0)
        self._most = settings.web.live_clients
        self._clients: dict[_Client, None] = {}
        self._polls: dict[Poll, None] = {}
        self._ring: EventRing | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._used_at = 0.0
        self._stopping = False
        gauge = Gauge("vimfed_web_live_clients", "who follows the live events", registry=registry)
        gauge.set_function(lambda: len(self._readers))

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, registry=registry)

        self._sent = counter(
            "vimfed_web_live_events", "events sent, to each client that wants them"
        )
        self._slow = counter("vimfed_web_live_cut", "clients cut off because they read too slowly")
        self._resyncs = counter(
            "vimfed_web_live_resyncs", "times that a client was told that events are missing"
        )

    def routes(self) -> list[Route]:
        """Return all routes."""
        v1 = f"{self._settings.web.prefix}/v1"
        return [
            Route(
                method="GET",
                paths=(v1 + "/events",),
                handler=self.stream,
                role="reader",
                query=EventsParameters,
                headers={"Last-Event-ID": "where an earlier connection broke off: go on there"},
                answers={200: None, 400: Problem, 503: Unavailable},
                media_type="text/event-stream",
            ),
            Route(
                method="GET",
                paths=(v1 + "/{owner}/{region}/events",),
                handler=self.poll,
                role="reader",
                query=PollParameters,
                answers={200: PolledEvents, 400: Problem, 503: Unavailable},
            ),
            Route(
                method="GET",
                paths=(v1 + "/{owner}/{region}/instances/{instance_id}/events",),
                handler=self.recent,
                role="reader",
                query=RecentParameters,
                answers={200: RecentEvents, 400: Problem, 503: Unavailable},
            ),
        ]

    async def stop(self, _app: web.Application | None = None) -> None:
        """End all streams; called before the server waits for their handlers."""
        self._stopping = True
        for reader in self._readers:
            reader.ended.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def recent(self, request: web.Request) -> web.Response:
        """Tell an instance's recent events, newest first, and since when the list is complete.

        An instance of a tenant that the caller may not see has none, as one that there is not.
        """
        limit = parse_query(request, RecentParameters).limit
        vim_id, instance_id = vim_id_in(request), request.match_info["instance_id"]
        ring = await self._followed_ring()
        partitions = self._settings.kafka.partitions
        since = ring.since(partition_of(instance_key(vim_id, instance_id), partitions)) / 1000
        told = utc_text(datetime.fromtimestamp(since, UTC), "milliseconds")
        events = ring.recent(vim_id, instance_id, limit, request[CALLER].tenants)
        return json_response(RecentEvents(events=events, since=told))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Tell events as they happen, as server-sent events.

        ``vm_event`` is an event; a repetition has the same id in its data. ``resync`` says that
        events are missing which are not held any more, ``cut`` why the connection ends.
        """
        parameters = parse_query(request, EventsParameters)
        caller = request[CALLER]
        for vim_id in parameters.vim_id:
            if not caller.may_see(vim_id):
                raise ApiError(403, f"{caller.name} may not see the cloud {vim_id}")
        response = web.StreamResponse(headers=HEADERS)
        if request.method == "HEAD":
            return response
        place = request.headers.get("Last-Event-ID")
        await self._catch_up(place)
        transport = request.transport
        if transport is None or transport.is_closing():
            return response  # the client has gone
        who = _who(request)
        await self._make_room(who)
        response.force_close()
        transport.set_write_buffer_limits(NEVER_PAUSE)
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
        client = _Client(response, transport, parameters.of(parameters.vim_id), caller, who)
        self._clients[client] = None
        try:
            await response.prepare(request)
            await self._greet(client, place, parameters.recent)
            await self._end(client, request)
        except OSError as error:
            LOG.debug("%s has gone: %r", caller.name, error)
        finally:
            self._clients.pop(client, None)
            # Closing waits until all is read, which may be never.
            asyncio.get_running_loop().call_later(GRACE, transport.abort)
        return response

    async def poll(self, request: web.Request) -> web.Response:
        """Tell the events of a cloud that follow a place, as soon as there are any.

        For whoever cannot hold a stream open, as behind ONAP's broker. ``next`` is the place where
        the next request goes on; none of what follows it is left out, unless ``missed`` says so.
        """
        parameters = parse_query(request, PollParameters)
        caller, who, after = request[CALLER], _who(request), parameters.after
        wanted = parameters.of([vim_id_in(request)])
        await self._catch_up(after or None)
        ring = await self._followed_ring()
        begin = ring.resume(after) if after else ring.next
        if begin is None:
            return self._missed(ring)
        await self._make_room(who)
        poll = Poll(wanted, caller, who, ring, begin, lambda: request.transport is None)
        self._polls[poll] = None
        try:
            while poll.look():  # noqa: ASYNC110 - others get their turn
                await asyncio.sleep(0)
            if after:
                await _ended(poll, parameters.wait)
        finally:
            del self._polls[poll]
        if poll.has_missed:
            return self._missed(poll.ring)
        events = poll.take(parameters.limit)
        self._sent.inc(len(events))
        return json_response(
            PolledEvents(events=events, next=poll.ring.place(poll.next), missed=False)
        )

    def _missed(self, ring: EventRing) -> web.Response:
        """Say that events are missing, and that the next request goes on with the next one."""
        self._resyncs.inc()
        return json_response(PolledEvents(events=[], next=ring.place(ring.next), missed=True))

    async def _make_room(self, who: str) -> None:
        """Return when one more may follow: the newest of those who have more than ``who`` may go.

        Raises UnavailableError.
        """
        following = [reader for reader in self._readers if not reader.ended.is_set()]
        if len(following) < self._most:
            return
        shares = Counted(reader.who for reader in following)
        if shares:
            crowd, most = shares.most_common(1)[0]
            if most > shares[who] + 1:
                newest = next(each for each in reversed(following) if each.who == crowd)
                if isinstance(newest, _Client):
                    with contextlib.suppress(OSError):
                        await self._cut_off(newest, SHARED)
                newest.ended.set()
                return
        raise UnavailableError(f"{self._most} clients follow already (web.live_clients)")

    async def _catch_up(self, place: str | None) -> None:
        """Return once all has been read that precedes ``place``, or that takes too long."""
        deadline = time.monotonic() + CATCH_UP
        ring = await self._followed_ring()
        while place is not None and ring.is_ahead(place) and time.monotonic() < deadline:
            await asyncio.sleep(PAUSE)
            ring = await self._followed_ring()

    async def _greet(self, client: _Client, place: str | None, recent: int) -> None:
        ring = await self._followed_ring()
        newest = max(ring.first, ring.next - recent)
        found = newest if place is None else ring.resume(place)
        await client.send(b"retry: 2000\n\n")
        if found is None:
            await self._resync(client, ring, "the id is too old, or of other events")
        else:
            await client.send(_place(ring, found))
            client.next = found

    async def _end(self, client: _Client, request: web.Request) -> None:
        """Return when the client's events end; ask now and then whether its login still holds."""
        holds = client.caller.holds
        every = None if math.isinf(holds) else max(MIN_ASKED_AGAIN, holds)
        while not client.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await client.ended.wait()
            if not client.ended.is_set() and not await self._still_admits(request):
                await self._cut_off(client, LOGIN_ENDED)

    # -- the loop

    async def _followed_ring(self) -> EventRing:
        """Return the ring, once the topic is followed. Raises UnavailableError."""
        self._used_at = time.monotonic()
        if self._stopping:
            raise UnavailableError("the worker stops")
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while self._ring is None:
                    await self._ready.wait()
        except TimeoutError:
            raise UnavailableError("the events cannot be read") from None
        return self._ring

    @property
    def _readers(self) -> list[_Client | Poll]:
        return [*self._clients, *self._polls]

    @property
    def _is_wanted(self) -> bool:
        return bool(self._clients) or time.monotonic() - self._used_at < IDLE

    async def _follow(self) -> None:
        """Follow the topic for as long as somebody wants it."""
        try:
            while self._is_wanted:
                try:
                    await self._follow_once()
                except (KafkaError, LeftBehindError) as error:
                    LOG.warning("the events cannot be followed, trying again: %r", error)
                    await self._flush()
                    await asyncio.sleep(RETRY)
        except Exception:
            LOG.exception("the live events end")
        finally:
            self._task = None
            self._ring = None
            self._ready.clear()
            for reader in self._readers:
                reader.ended.set()

    async def _follow_once(self) -> None:
        first = self._ring.next if self._ring else 0
        async with followed(self._settings.kafka, first) as tail:
            self._take(tail.ring)
            while self._is_wanted:
                spent = await tail.read(PATIENCE)
                spent += await self._flush()
                await self._rest(spent)

    async def _rest(self, spent: float) -> None:
        """Leave the time to others after a round that took ``spent`` seconds of work."""
        if self._fair.behind:
            self._budget.spend(spent)
            await asyncio.sleep(PAUSE_BEHIND)
            while self._fair.behind and self._budget.credit < 0:  # noqa: ASYNC110 - time passes
                await asyncio.sleep(PAUSE)
        else:
            self._budget.forgive()
            await asyncio.sleep(max(PAUSE, spent / SHARE - spent))

    def _take(self, ring: EventRing) -> None:
        """Go on with another ring, where each client has come to."""
        before, self._ring = self._ring, ring
        self._ready.set()
        for reader in self._readers:
            if before is None or reader.next is None:
                continue
            held = reader.next >= before.first
            found = ring.resume(before.place(reader.next)) if held else None
            reader.next = -1 if found is None else found
        for poll in self._polls:
            poll.ring = ring

    async def _flush(self) -> float:
        """Send each client what it can take now; return the seconds of work."""
        if self._ring is None:
            return 0.0
        spent, began, full = 0.0, time.thread_time(), 0
        chunks: dict[tuple[Hashable, int], _Chunk] = {}
        for reader in self._readers:
            if isinstance(reader, _Client):
                try:
                    await self._serve(reader, self._ring, chunks)
                except OSError:
                    reader.ended.set()
                full += _unsent(reader.transport) > 0
            else:
                reader.look()
            worked = time.thread_time() - began
            if worked > SLICE:
                await asyncio.sleep(0)
                spent, began = spent + worked, time.thread_time()
        # What a connection has not taken at once is sent by the loop, for about as much again.
        return (spent + time.thread_time() - began) * (1 + full / max(1, len(self._clients)))

    async def _serve(
        self, client: _Client, ring: EventRing, chunks: dict[tuple[Hashable, int], _Chunk]
    ) -> None:
        if client.transport.is_closing():
            client.ended.set()
        if client.next is None or client.ended.is_set():
            return
        if time.time() > client.caller.until:
            await self._cut_off(client, LOGIN_ENDED)
            return
        now = time.monotonic()
        if _unsent(client.transport):
            client.stuck_since = client.stuck_since or now
            if client.next < ring.first or now - client.stuck_since > SLOW_AFTER:
                self._slow.inc()
                await self._cut_off(client, "this client reads too slowly")
            return
        client.stuck_since = None
        if client.next < ring.first:
            await self._resync(client, ring, "more events came than could be sent")
            return
        while client.next < ring.next and not _unsent(client.transport):
            chunk = chunks.get((client.filter, client.next))
            if chunk is None:
                chunk = chunks[client.filter, client.next] = _chunk(client, ring, client.next)
            client.next = chunk.next
            if chunk.events:
                await client.send(chunk.text)
                self._sent.inc(chunk.events)
        if now - client.sent_at > KEEP_ALIVE:
            await client.send(b": keep-alive\n" + _place(ring, client.next))

    async def _resync(self, client: _Client, ring: EventRing, reason: str) -> None:
        """Say that events are missing, and go on with the next one."""
        self._resyncs.inc()
        client.next = ring.next
        await client.send(_told("resync", reason) + _place(ring, ring.next))

    async def _cut_off(self, client: _Client, reason: str) -> None:
        if client.ended.is_set():
            return  # its login ended while it was asked whether it holds
        LOG.info("the live events of %s end: %s", client.caller.name, reason)
        client.ended.set()
        await client.send(_told("cut", reason) + b"\n")


def _who(request: web.Request) -> str:
    """Return whose share of the readers a request is of."""
    caller = request[CALLER]
    return network_of(request[CLIENT]) if caller is EVERYBODY else caller.name


async def _ended(poll: Poll, wait: float) -> None:
    """Return when a poll has an end, or after ``wait`` seconds, or when its login holds no more."""
    holds = min(wait, poll.caller.holds, poll.caller.until - time.time())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(holds):
            await poll.ended.wait()


def _unsent(transport: asyncio.Transport) -> int:
    """Return the bytes that a client has not taken; 0 of one that leaves.

    Of a TLS connection that was closed twice, asyncio 3.11 raises AttributeError.
    """
    return 0 if transport.is_closing() else transport.get_write_buffer_size()


def _chunk(client: _Client, ring: EventRing, number: int) -> _Chunk:
    frames, size = [], 0
    while number < ring.next and size < CHUNK:
        entry = ring[number]
        number += 1
        if client.wants(entry):
            frames.append(entry.frame)
            size += len(entry.frame)
    # The last one carries the place at which a client goes on that has got all of them.
    text = b"\n".join(frames) + _place(ring, number) if frames else b""
    return _Chunk(text, number, len(frames))


def _place(ring: EventRing, number: int) -> bytes:
    """Return the end of a server-sent event: the id of the place before an entry."""
    return f"id: {ring.place(number)}\n\n".encode()


def _told(event: str, reason: str) -> bytes:
    """Return a server-sent event, without the blank line at its end."""
    return f"event: {event}\ndata: ".encode() + _encode({"reason": reason}) + b"\n"
