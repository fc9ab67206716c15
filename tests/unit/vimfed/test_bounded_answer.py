"""Answers of other servers are read to a bound, whoever sends them."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka.structs import ConsumerRecord

import vimfed.cli.status
from streams.publisher.delivery import DeliveryError, Message
from streams.publisher.outputs.message_router import MessageRouterOutput
from vimfed.cli.status import StatusError, _ask_process, _get
from vimfed.process.bounded_answer import (
    MAX_SHORT_ANSWER_BYTES,
    RefusedAnswerError,
    bounded_session,
    read_answer,
)
from vimfed.settings import DmaapOutput, KeystoneSettings, Settings
from web.auth.backends.keystone_client import Keystone as KeystoneClient
from web.http.errors import UnavailableError

PIECE = bytes(1024 * 1024)


class Sender:
    """A server whose answer has no end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(PIECE)
            self.sent += len(PIECE)


@asynccontextmanager
async def endless() -> AsyncIterator[Sender]:
    sender = Sender("")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", sender.answer)
    async with TestServer(app) as server:
        sender.url = str(server.make_url("")).rstrip("/")
        yield sender


async def test_an_answer_is_read_to_its_bound_and_no_further() -> None:
    async def answer(request: web.Request) -> web.Response:
        body = bytes(int(request.query["n"]))
        if "packed" in request.query:
            return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server, bounded_session() as session:
        async with session.get(server.make_url("/?n=1000")) as response:
            assert await read_answer(response, 1000) == bytes(1000)
        async with session.get(server.make_url("/?n=1001")) as response:
            with pytest.raises(RefusedAnswerError, match="more than 1000 bytes"):
                await read_answer(response, 1000)
        async with session.get(server.make_url("/?n=1&packed")) as response:
            with pytest.raises(RefusedAnswerError, match="although none was asked for"):
                await read_answer(response, 1000)


async def test_cookies_are_not_kept() -> None:
    given: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        given.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": f"c{len(given)}=v; Path=/"})

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app, host="localhost") as server, bounded_session() as session:
        for _ in range(2):
            async with session.get(f"http://localhost:{server.port}/"):
                pass
    assert given == [None, None]


async def test_a_message_router_without_an_end_fills_no_memory() -> None:
    async with endless() as sender:
        output = MessageRouterOutput(Settings(), DmaapOutput(url=f"{sender.url}/events/t"))
        with pytest.raises(DeliveryError, match=f"more than {MAX_SHORT_ANSWER_BYTES} bytes"):
            await output.deliver([Message(b"key", b"{}", (), cast(ConsumerRecord, None))])
        await output.close()
        assert sender.sent < 2 * MAX_SHORT_ANSWER_BYTES


async def test_a_program_at_a_port_of_ours_fills_no_memory_of_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vimfed.cli.status, "MAX_ANSWER_BYTES", 2_000_000)
    async with endless() as sender, bounded_session() as session:
        process, metrics = await _ask_process(session, "bridge", sender.url)
        assert (process.wrong, metrics) == ({"process": "another program answers there"}, {})
        with pytest.raises(StatusError, match="has more than 2000000 bytes"):
            await _get(session, sender.url, {})


async def test_a_keystone_without_an_end_fills_no_memory() -> None:
    async with endless() as sender:
        keystone = KeystoneClient(KeystoneSettings(url=sender.url))
        async with keystone.connected() as keystone.session:
            with pytest.raises(UnavailableError, match="Keystone does not answer"):
                await keystone.owner_of("a token")
        assert sender.sent < 2 * MAX_SHORT_ANSWER_BYTES
