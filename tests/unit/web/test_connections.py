"""Slow clients are cut off, and one connection too many is told so."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from vimfed.errors import OperatorError
from vimfed.process import connections
from vimfed.process.connections import ConnectionRunner
from vimfed.process.metrics import MonitoringServer
from vimfed.process.ports import free_ports
from vimfed.settings import WebSettings
from web.http import routes
from web.http.errors import Problem, errors_as_json
from web.http.routes import Route, add_routes

ASK = b"GET /small HTTP/1.1\r\nHost: worker\r\n\r\n"
BODY = b"POST /body HTTP/1.1\r\nHost: worker\r\nContent-Length: 100\r\n\r\n"
LARGE = 50_000_000


async def small(_request: web.Request) -> web.Response:
    return web.Response(text="small")


async def large(_request: web.Request) -> web.Response:
    return web.Response(body=b"x" * LARGE)


@pytest.fixture
def per_neighbour() -> int:
    return 3


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch, per_neighbour: int) -> AsyncIterator[int]:
    for module, name in (
        (connections, "HEAD_TIMEOUT"),
        (connections, "SEND_TIMEOUT"),
        (routes, "BODY_TIMEOUT"),
    ):
        monkeypatch.setattr(module, name, 0.3)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "MAX_PER_NEIGHBOUR", per_neighbour)
    app = web.Application(middlewares=[errors_as_json])
    add_routes(
        app,
        [
            Route(method="GET", paths=("/small",), handler=small, role="anyone", answers={}),
            Route(method="GET", paths=("/large",), handler=large, role="anyone", answers={}),
            Route(
                method="POST",
                paths=("/body",),
                handler=small,
                role="anyone",
                audit="reads",
                body=Problem,
                answers={},
            ),
        ],
    )
    runner = ConnectionRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server closes the connection."""
    async with asyncio.timeout(15):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


async def trickle(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"X")
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_head_that_does_not_end_in_time_ends_the_connection(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(ASK)
        assert (await reader.readuntil(b"small")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /small HTTP/1.1\r\nX: ")
        trickling = asyncio.create_task(trickle(writer))
        assert await all_of(reader) == b""
        trickling.cancel()


async def test_a_connection_between_two_requests_is_kept(port: int) -> None:
    async with connection(port) as (reader, writer):
        for _ in range(3):
            writer.write(ASK[:10])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(ASK[10:])
            assert (await reader.readuntil(b"small")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.35)


async def test_no_answer_is_kept_by_caches_or_names_versions(port: int) -> None:
    for path in (b"small", b"nowhere"):
        async with connection(port) as (reader, writer):
            writer.write(ASK.replace(b"small", path))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b"\r\ncache-control: no-store\r\n" in head
            assert b"\r\nx-content-type-options: nosniff\r\n" in head
            assert b"\r\nserver:" not in head


async def test_a_body_that_does_not_come_in_time_is_answered_with_408(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(BODY)
        trickling = asyncio.create_task(trickle(writer))
        answer = await reader.readuntil(b"}")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"the body has not come" in answer
        trickling.cancel()


async def test_who_does_not_take_an_answer_is_cut_off(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write(ASK.replace(b"small", b"large"))
        await asyncio.sleep(1.0)
        assert 0 < len(await all_of(reader)) < LARGE


async def test_one_connection_too_many_is_told_so(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            reader, writer = await stack.enter_async_context(connection(port))
            writer.write(ASK)
            await reader.readuntil(b"small")
        async with connection(port) as (reader, _writer):
            answer = await all_of(reader)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 2" in answer
            assert b'{"error":"too many connections; try again","retry_after":2}' in answer
    gc.collect()
    assert not caplog.records, "a flood would fill the log"
    async with connection(port) as (reader, writer):
        writer.write(ASK)
        assert (await reader.readuntil(b"small")).startswith(b"HTTP/1.1 200")


async def test_a_connection_on_which_nothing_comes_is_closed(port: int) -> None:
    async with connection(port) as (reader, _writer):
        assert await all_of(reader) == b""


@contextlib.asynccontextmanager
async def held(port: int, count: int, address: str = "127.0.0.1") -> AsyncIterator[None]:
    """Hold silent connections from an address."""
    writers = [
        (await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))[1]
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for writer in writers:
            writer.close()


async def test_silent_connections_give_way_to_who_asks(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 60.0)
    async with held(port, 3), held(port, 10, "127.0.0.2"):
        for _ in range(5):
            async with connection(port) as (reader, writer):
                writer.write(ASK)
                assert (await reader.readuntil(b"small")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("per_neighbour", [2])
async def test_one_address_does_not_take_all_connections(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        answers = []
        for _ in range(3):  # they ask, and stay
            reader, writer = await stack.enter_async_context(connection(port))
            writer.write(ASK)
            answers.append((await reader.readline())[:12])
        assert answers == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 503"]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=("127.0.0.2", 0)
        )
        writer.write(ASK)
        assert (await reader.readuntil(b"small")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_the_ports_of_bridge_and_publisher_have_the_same_limits(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MonitoringServer(CollectorRegistry(), live=dict, ready=dict)
    monitored = await server.start("127.0.0.1", 0)
    for sent in (b"", b"GET /healthz HTTP/1.1\r\nX: "):
        async with connection(monitored) as (reader, writer):
            writer.write(sent)
            assert await all_of(reader) == b""
    await server.close()


async def test_probes_beside_an_api_answer_while_all_of_its_connections_are_held(
    port: int,
) -> None:
    server = MonitoringServer(CollectorRegistry(), live=dict, ready=dict)
    (probes,) = free_ports(1)
    api = WebSettings(port=port, monitoring_port=probes)
    async with server.beside(api, "web.monitoring_port"), contextlib.AsyncExitStack() as stack:
        for _ in range(3):  # they ask, and stay
            reader, writer = await stack.enter_async_context(connection(port))
            writer.write(ASK)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for asked, answer in ((port, b"HTTP/1.1 503"), (probes, b"HTTP/1.1 200")):
            reader, writer = await stack.enter_async_context(connection(asked))
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readline()).startswith(answer)
        again = MonitoringServer(CollectorRegistry(), live=dict, ready=dict)
        with pytest.raises(OperatorError, match=r"choose another web\.monitoring_port"):
            async with again.beside(api, "web.monitoring_port"):
                pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", probes)
    async with server.beside(WebSettings(), "web.monitoring_port"):
        pass  # it has no port of its own


async def test_a_server_that_leaves_closes_each_connection_with_its_next_answer() -> None:
    app = web.Application()
    app.router.add_get("/small", small)
    runner = ConnectionRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(ASK)
        assert b"Connection: close" not in await reader.readuntil(b"small")
        runner.leave()
        writer.write(ASK)
        async with asyncio.timeout(5):
            assert b"Connection: close" in await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
