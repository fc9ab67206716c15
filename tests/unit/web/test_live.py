"""Live events of a worker that is slower than its clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from tests.support.server_sent import event_stream
from tests.unit.web.test_event_ring import entry
from vimfed.settings import KafkaSettings, Settings, WebSettings
from web.auth.access import Access
from web.http.errors import errors_as_json
from web.http.fair_share import FairShare
from web.http.routes import add_routes
from web.live import live
from web.live.event_ring import EventRing
from web.live.live import LiveEvents

LIVE_CLIENTS = 3


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
async def events_url(tail: LateTail, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
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
    async with TestClient(TestServer(app)) as client:
        yield str(client.make_url(f"{settings.web.prefix}/v1/events"))


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
