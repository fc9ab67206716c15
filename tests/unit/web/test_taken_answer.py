"""When an answer counts as taken: it is committed then, and must not come again nor be lost."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
from aiohttp import web

from web.gateway.taken_answer import send_and_see_taken

BODY = b"x" * 300_000
CONTEXTS = ["plain", "tls"]


class Outcomes:
    """Serves one large answer per request, and notes for each whether it was taken."""

    def __init__(self, port: int, trusted: ssl.SSLContext | None) -> None:
        self.port, self.trusted = port, trusted
        self.taken: asyncio.Queue[bool] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await send_and_see_taken(request, BODY, lambda: None)
        except ConnectionError:
            self.taken.put_nowait(False)
            raise
        self.taken.put_nowait(True)
        return response

    def client(self, buffer: int = 0) -> socket.socket:
        """Return a connection; the client's machine takes ``buffer`` bytes ahead."""
        connection = socket.socket()
        connection.settimeout(20)
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.connect(("127.0.0.1", self.port))
        if self.trusted is not None:
            return self.trusted.wrap_socket(connection, server_hostname="127.0.0.1")
        return connection


@pytest.fixture(params=CONTEXTS)
async def outcomes(request: pytest.FixtureRequest) -> AsyncIterator[Outcomes]:
    serving = trusted = None
    if request.param == "tls":
        authority = trustme.CA()
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(serving)
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
    outcomes = Outcomes(0, trusted)
    app = web.Application()
    app.router.add_get("/", outcomes.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
    outcomes.port = runner.addresses[0][1]
    yield outcomes
    await runner.cleanup()


def reads_all_and_closes(connection: socket.socket) -> None:
    """Read as curl does: as much as the length says, and close at once."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1000)
    left = len(BODY) - len(head.partition(b"\r\n\r\n")[2])
    while left:
        left -= len(connection.recv(min(left, 65_536)))


def reads_a_part(connection: socket.socket) -> None:
    assert connection.recv(20_000).startswith(b"HTTP/1.")


def reads_a_part_and_resets(connection: socket.socket) -> None:
    reads_a_part(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: mr\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: mr\r\n\r\n",
    ],
    ids=["close", "HTTP/1.0", "keep-alive"],
)
async def test_who_reads_all_and_closes_has_taken_the_answer(
    outcomes: Outcomes, request_head: bytes
) -> None:
    def ask() -> None:
        with outcomes.client() as connection:
            connection.sendall(request_head)
            reads_all_and_closes(connection)

    for _again in range(30):
        await asyncio.to_thread(ask)
        assert await outcomes.taken.get()


@pytest.mark.parametrize("leave", [reads_a_part, reads_a_part_and_resets])
async def test_who_leaves_amid_the_answer_has_not_taken_it(
    outcomes: Outcomes, leave: Callable[[socket.socket], None]
) -> None:
    def ask() -> None:
        with outcomes.client(buffer=10_000) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: mr\r\n\r\n")
            leave(connection)

    for _again in range(10):
        await asyncio.to_thread(ask)
        assert not await outcomes.taken.get()


async def test_who_says_that_it_sends_no_more_and_reads_on_has_taken_the_answer(
    outcomes: Outcomes,
) -> None:
    def ask() -> None:
        with outcomes.client(buffer=10_000) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: mr\r\n\r\n")
            connection.recv(20_000)
            if isinstance(connection, ssl.SSLSocket):
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.unwrap()
            with socket.socket(fileno=connection.detach()) as raw:
                raw.settimeout(20)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65_536):
                    pass

    await asyncio.to_thread(ask)
    assert await outcomes.taken.get()


async def test_who_has_gone_before_the_answer_has_not_taken_it(outcomes: Outcomes) -> None:
    def ask() -> None:
        with outcomes.client() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: mr\r\n\r\n")

    for _again in range(30):
        await asyncio.to_thread(ask)
        assert not await outcomes.taken.get()


async def test_what_a_closing_connection_drops_was_not_taken(
    outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a TLS transport of asyncio does after the client's end of the stream."""
    write = web.StreamResponse.write

    async def drops(response: web.StreamResponse, data: bytes) -> None:
        await write(response, data[:200_000])

    monkeypatch.setattr(web.StreamResponse, "write", drops)

    def ask() -> None:
        with outcomes.client() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: mr\r\n\r\n")
            with contextlib.suppress(OSError):
                while connection.recv(65_536):
                    pass

    await asyncio.to_thread(ask)
    assert not await outcomes.taken.get()
