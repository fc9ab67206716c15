"""Live events of a worker that is slower than its clients."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import msgspec
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from streams.subscriptions.filters import Subscription
from tests.e2e.stack import eventually
from tests.support.server_sent import event_stream
from tests.support.vm_events import heartbeat_event, host_event, vm_event
from tests.unit.web.test_event_ring import entry, record
from vimfed.settings import KafkaSettings, Settings, WebSettings
from web.auth.access import Access
from web.auth.caller import Caller
from web.http.errors import errors_as_json
from web.http.fair_share import FairShare
from web.http.routes import add_routes
from web.live import live
from web.live.event_ring import EventRing
from web.live.event_tail import entry_of
from web.live.live import LiveEvents, PolledEvents, _Client

LIVE_CLIENTS = 3
POLLED = "/api/multicloud/v1/CloudOwner/RegionOne/events"
EVENTS: web.AppKey[LiveEvents] = web.AppKey("events", LiveEvents)


class LateTail:
    """Reads one event of partition 0 each time that it is let to."""

    def __init__(self, ring: EventRing) -> None:
        self.ring = ring
        self.may_follow = asyncio.Event()
        self.may_read = asyncio.Semaphore(0)

    async def read(self, _patience: float) -> float:
        await self.may_read.acquire()
        self.ring.add(entry(0, self.ring.next))
        return 0.0


@pytest.fixture
def tail() -> LateTail:
    return LateTail(EventRing([0], now=0, most=100, most_bytes=10**6))


@pytest.fixture
def live_application(tail: LateTail, monkeypatch: pytest.MonkeyPatch) -> web.Application:
    @asynccontextmanager
    async def followed(_kafka: KafkaSettings, _first: int) -> AsyncIterator[LateTail]:
        await tail.may_follow.wait()
        yield tail

    monkeypatch.setattr(live, "followed", followed)
    settings = Settings(
        kafka=KafkaSettings(partitions=1), web=WebSettings(live_clients=LIVE_CLIENTS)
    )
    access = Access(settings.web)
    events = LiveEvents(
        settings, CollectorRegistry(), FairShare(lambda: False), access.still_admits
    )
    app = web.Application(middlewares=[errors_as_json, access.check])
    add_routes(app, events.routes())
    app.on_shutdown.append(events.stop)
    app[EVENTS] = events
    return app


class Polling:
    """Polls the events of all entries' cloud, each time from where the answer before ended."""

    def __init__(self, client: TestClient[web.Request, web.Application]) -> None:
        self.client = client
        self.after = ""

    async def poll(self, wait: float = 30, **parameters: object) -> PolledEvents:
        given = {"after": self.after, "wait": wait, **parameters}
        asked = {name: str(each) for name, each in given.items()}
        async with asyncio.timeout(20), self.client.get(POLLED, params=asked) as answer:
            assert answer.status == 200, await answer.text()
            polled = msgspec.json.decode(await answer.read(), type=PolledEvents)
        self.after = polled.next
        return polled

    async def ids(self, wait: float = 30, **parameters: object) -> list[str]:
        return [event.id for event in (await self.poll(wait, **parameters)).events]


@pytest.fixture
async def polling(live_application: web.Application, tail: LateTail) -> AsyncIterator[Polling]:
    tail.may_follow.set()
    async with TestClient(TestServer(live_application)) as client:
        yield Polling(client)


async def polls_wait(app: web.Application, count: int = 1) -> None:
    async def do_wait() -> bool:
        return len(app[EVENTS]._polls) == count

    await eventually(do_wait, within=20)


async def test_a_poll_waits_for_the_first_event_and_the_next_goes_on_after_it(
    tail: LateTail, polling: Polling
) -> None:
    assert await polling.poll() == PolledEvents(events=[], next="0", missed=False)
    waiting = asyncio.create_task(polling.ids())
    tail.may_read.release()
    assert await waiting == ["0-0"]
    assert await polling.ids(wait=0) == []
    for _ in range(3):
        tail.ring.add(entry(0, tail.ring.next))
    assert await polling.ids(limit=2) == ["0-1", "0-2"]
    assert await polling.ids() == ["0-3"]
    assert await polling.ids(wait=0) == []
    assert polling.after == "4"


async def test_a_poll_passes_over_what_it_does_not_want_and_over_nothing_else(
    tail: LateTail, polling: Polling
) -> None:
    await polling.poll()
    for number in range(100):
        tail.ring.add(entry(0, number, kind="PAUSE" if number % 50 == 49 else "POWER_OFF"))
    assert await polling.ids(kind="pause,reboot", limit=1) == ["0-49"]
    assert await polling.ids(kind="pause,reboot") == ["0-99"]
    assert await polling.ids(wait=0) == []
    polling.after = "0"
    assert await polling.ids(wait=0, kind="DELETE") == []
    assert polling.after == "100"


async def test_events_of_other_clouds_are_not_told_to_a_poll(
    tail: LateTail, polling: Polling
) -> None:
    await polling.poll()
    tail.ring.add(entry(0, 0, vim_id="CloudOwner_RegionTwo"))
    tail.ring.add(entry(0, 1))
    assert await polling.ids() == ["0-1"]


async def test_a_poll_from_a_place_that_is_not_held_says_so_and_goes_on_with_the_next(
    tail: LateTail, polling: Polling
) -> None:
    await polling.poll()
    for number in range(150):  # the ring holds 100
        tail.ring.add(entry(0, number))
    assert await polling.poll() == PolledEvents(events=[], next="150", missed=True)
    polling.after = "150.9"  # of a topic with two partitions
    assert (await polling.poll()).missed
    tail.ring.add(entry(0, 150))
    assert await polling.ids() == ["0-150"]


async def test_what_is_let_go_while_a_poll_waits_is_told_as_missed(
    tail: LateTail, polling: Polling, live_application: web.Application
) -> None:
    await polling.poll()
    waiting = asyncio.create_task(polling.poll(kind="PAUSE"))
    await polls_wait(live_application)
    for number in range(150):
        tail.ring.add(entry(0, number, kind="POWER_OFF"))
    tail.may_read.release()
    assert (await waiting).missed


async def test_a_poll_that_waits_when_the_worker_stops_is_answered(
    polling: Polling, live_application: web.Application
) -> None:
    await polling.poll()
    waiting = asyncio.create_task(polling.poll())
    await polls_wait(live_application)
    await live_application[EVENTS].stop()
    assert await waiting == PolledEvents(events=[], next="0", missed=False)


async def test_polls_have_their_share_of_the_places_of_those_who_follow(
    tail: LateTail, polling: Polling, live_application: web.Application
) -> None:
    """One address holds them all: one more is refused until one of its own has ended."""
    await polling.poll()
    waiting = [asyncio.create_task(polling.ids()) for _ in range(LIVE_CLIENTS)]
    await polls_wait(live_application, LIVE_CLIENTS)
    async with polling.client.get(POLLED, params={"after": "0"}) as answer:
        assert answer.status == 503
        body = await answer.json()
        assert body["retry_after"] == int(answer.headers["Retry-After"])
    tail.may_read.release()
    assert await asyncio.gather(*waiting) == [["0-0"]] * LIVE_CLIENTS
    assert await polling.ids(wait=0) == []


@pytest.mark.parametrize("wrong", ["after=x", "after=1..2", "wait=61", "limit=0", "vim_id=a"])
async def test_a_poll_that_is_not_understood_is_refused(polling: Polling, wrong: str) -> None:
    async with polling.client.get(f"{POLLED}?{wrong}") as answer:
        assert answer.status == 400


@pytest.fixture
async def events_url(live_application: web.Application) -> AsyncIterator[str]:
    async with TestClient(TestServer(live_application)) as client:
        yield str(client.make_url("/api/multicloud/v1/events"))


async def test_a_caller_with_more_clients_than_others_gives_its_newest_place_to_them(
    tail: LateTail, events_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail.may_follow.set()
    connectors = [aiohttp.TCPConnector(local_addr=(f"127.0.0.{n}", 0)) for n in (1, 2)]
    async with (
        aiohttp.ClientSession(connector=connectors[0]) as greedy,
        aiohttp.ClientSession(connector=connectors[1]) as other,
        contextlib.AsyncExitStack() as stack,
    ):
        held = [
            await stack.enter_async_context(event_stream(greedy, events_url))
            for _ in range(LIVE_CLIENTS)
        ]
        async with greedy.get(events_url) as answer:
            assert answer.status == 503
        await stack.enter_async_context(event_stream(other, events_url))
        assert (await held[-1].next()).event == "cut"
        async with greedy.get(events_url) as answer:
            assert answer.status == 503


async def test_a_client_of_a_worker_that_read_faster_waits_and_misses_nothing(
    tail: LateTail, events_url: str
) -> None:
    tail.may_follow.set()
    tail.may_read.release()
    asyncio.get_running_loop().call_later(0.5, tail.may_read.release)
    async with (
        aiohttp.ClientSession() as session,
        event_stream(session, events_url, "2") as stream,
    ):
        tail.may_read.release()
        assert [each["id"] for each in await stream.take(1)] == ["0-2"]


async def test_a_client_that_leaves_before_it_is_told_anything_is_no_error(
    tail: LateTail, events_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.get(events_url, timeout=aiohttp.ClientTimeout(total=0.2))
        tail.may_follow.set()
        async with event_stream(session, events_url):
            assert [each for each in caplog.records if each.levelname == "ERROR"] == []


async def test_the_others_listen_on_when_a_client_over_tls_has_left(
    tail: LateTail,
    live_application: web.Application,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tail.may_follow.set()
    authority = trustme.CA()
    serving, trusting = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(trusting)
    server = TestServer(live_application)
    await server.start_server(ssl=serving)
    url = str(server.make_url("/api/multicloud/v1/events"))
    connector = aiohttp.TCPConnector(ssl=trusting)
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            event_stream(session, url) as stream,
        ):
            events = live_application[EVENTS]
            others = set(events._clients)
            async with session.get(url):
                (leaving,) = set(events._clients) - others
                leaving.transport.close()
                leaving.transport.close()
                tail.may_read.release()
                await stream.take(1)
        assert [each for each in caplog.records if each.levelname == "ERROR"] == []
    finally:
        await server.close()


def test_what_is_of_a_host_or_a_cloud_is_told_to_who_sees_all_tenants_alone() -> None:
    """Whatever a payload says of a tenant: of an instance alone it can be true."""
    transport = cast(asyncio.Transport, None)
    response = web.StreamResponse()
    payload = msgspec.Raw(b'{"tenant_id": "t"}')
    events = [
        host_event(payload=payload),
        heartbeat_event(payload=payload),
        host_event(kind="ALERT", payload=payload),
        vm_event(kind="UNAVAILABLE", payload={"tenant_id": "t"}),
        vm_event(kind="UNAVAILABLE", payload={"tenant_id": "u"}),
        vm_event(kind="ALERT", payload={"tenant_id": "t"}),
        vm_event(kind="ALERT", payload={}),
    ]
    entries = [entry_of(record(msgspec.json.encode(event))) for event in events]

    def wanted(tenants: tuple[str, ...] | None, **filters: tuple[str, ...]) -> list[int]:
        caller = Caller(name="c", role="reader", tenants=tenants)
        client = _Client(response, transport, Subscription(**filters), caller, "c")  # type: ignore[arg-type]
        return [number for number, each in enumerate(entries) if each and client.wants(each)]

    assert wanted(None) == [0, 1, 2, 3, 4, 5, 6]
    assert wanted(("t",)) == [3, 5]
    assert wanted(("",)) == []
    assert wanted(None, kinds=("HOST_DOWN", "HEARTBEAT")) == [0, 1]
    assert wanted(("t",), kinds=("HOST_DOWN", "HEARTBEAT", "ALERT")) == [5]


async def test_kinds_of_hosts_and_clouds_can_be_asked_for(tail: LateTail, events_url: str) -> None:
    tail.may_follow.set()
    async with aiohttp.ClientSession() as session:
        async with session.get(events_url + "?kind=host_dwon") as answer:
            assert answer.status == 400
        for kind in ("unavailable", "HOST_DOWN", "host-disabled", "alert", "heartbeat"):
            async with event_stream(session, f"{events_url}?kind={kind}"):
                pass
