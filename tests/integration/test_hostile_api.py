"""What a hostile Keystone or nova can do to the poller: nothing but an answer that is not taken."""

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

import bridge.poller.guarded_http
import bridge.poller.poller
from bridge.poller.api_error import CloudApiError
from bridge.poller.nova_api import NovaApi
from tests.support.polled import Polled
from tests.support.sections import vim_of
from tests.support.stub_nova import StubNova
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Hostile(ThreadedServer):
    """A Keystone whose catalogue names ``nova``, and a nova that answers as the test says."""

    def __init__(self, answer: Answer, nova: str = "") -> None:
        self._answer = answer
        self._nova = nova
        self.redirects_to = ""
        super().__init__()

    def api(self, **options: Any) -> NovaApi:
        return api_at(self.url, **options)

    async def _application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/identity/v3/auth/tokens", self._token),
                web.get("/nova", self._versions),
                web.get("/nova/", self._versions),
                web.get("/nova/servers/detail", self._answer),
            ]
        )
        return app

    async def _token(self, _request: web.Request) -> web.Response:
        if self.redirects_to:
            return web.Response(status=307, headers={"Location": self.redirects_to})
        endpoint = {"interface": "public", "region": "r", "url": self._nova or f"{self.url}/nova"}
        service = {"type": "compute", "name": "nova", "endpoints": [endpoint]}
        token = {
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "methods": ["password"],
            "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "d", "name": "d"}},
            "roles": [],
            "catalog": [service],
        }
        return web.json_response({"token": token}, status=201, headers={"X-Subject-Token": "t"})

    async def _versions(self, request: web.Request) -> web.Response:
        version = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": "2.90",
            "min_version": "2.1",
            "links": [{"rel": "self", "href": str(request.url.with_path("/nova/"))}],
        }
        return web.json_response({"version": version})


def api_at(url: str, **options: Any) -> NovaApi:
    login = StubNova.login_at(url)
    poll = {"timeout": 2.0, **login, **options}
    cloud = vim_of({"cloud_owner": "o", "cloud_region_id": "r", "poll": poll})
    assert cloud.poll is not None
    return NovaApi(cloud.poll)


async def empty(_request: web.Request) -> web.Response:
    return web.json_response({"servers": []})


async def bomb(_request: web.Request) -> web.Response:
    """600 kB that are 600 MB."""
    packed = gzip.compress(b" " * 1_000_000) * 600
    return web.Response(body=packed, headers={"Content-Encoding": "gzip"})


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 1_000_000)


async def trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.2)


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """A service that nobody is to reach: yields its URL, and what it was told."""
    told: list[bytes] = []
    server = socket.create_server(("127.0.0.2", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                told.append(connection.recv(65536))

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.2:{server.getsockname()[1]}", told
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (bomb, "encoded"),
        (endless, "more than"),
        (trickle, "no answer within 2 s"),
    ],
)
def test_an_answer_is_bounded_in_bytes_and_seconds(
    answer: Answer, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.poller.guarded_http, "MAX_ANSWER_BYTES", 20_000_000)
    with Hostile(answer) as cloud:
        begun = time.monotonic()
        with pytest.raises(CloudApiError, match=why):
            cloud.api().page()
        assert time.monotonic() - begun < 15


def test_a_head_that_trickles_is_cut() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.2):
                try:
                    connection.sendall(b"X: y\r\n")
                except OSError:
                    return

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    api = api_at(url, timeout=1.0)
    begun = time.monotonic()
    with pytest.raises(CloudApiError):
        api.page()
    over.set()
    server.close()
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 -2359",
        f"Mon, 01 Jan {10**20} 00:00:00 GMT",
    ],
)
def test_a_date_of_absurd_figures_is_none(date: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"servers": []}, headers={"Date": date})

    with Hostile(answer) as cloud, pytest.raises(CloudApiError, match="no Date"):
        cloud.api().page()


def test_an_answer_is_not_taken_for_older_than_its_date_says() -> None:
    async def answer(_request: web.Request) -> web.Response:
        date = "Mon, 30 Nov 2026 12:00:10 GMT"
        return web.json_response({"servers": []}, headers={"Date": date})

    with Hostile(answer) as cloud:
        api = cloud.api()
        api.page()
        begun = time.monotonic()
        asked_at = api.page().asked_at
        took = timedelta(seconds=time.monotonic() - begun)
    sent_at = datetime(2026, 11, 30, 12, 0, 10, tzinfo=UTC)
    assert sent_at - took <= asked_at <= sent_at


def test_cookies_are_not_kept() -> None:
    given: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        given.append(request.headers.get("Cookie"))
        return web.json_response({"servers": []}, headers={"Set-Cookie": "a=b; Path=/"})

    with Hostile(answer) as cloud:
        api = cloud.api()
        api.page()
        api.page()
    assert given == [None, None]


def test_the_password_follows_no_redirect() -> None:
    with listening() as (inner, told), Hostile(empty) as cloud:
        cloud.redirects_to = f"{inner}/latest"
        with pytest.raises(CloudApiError):
            cloud.api().page()
    assert told == []


def test_a_catalogue_leads_to_no_inner_address_unless_it_is_named() -> None:
    with listening() as (inner, told), Hostile(empty, nova=inner) as cloud:
        with pytest.raises(CloudApiError, match="name it in poll"):
            cloud.api().page()
        assert told in ([], [b""])
        with pytest.raises(CloudApiError, match="neither auth_url's nor in poll"):
            cloud.api(hosts=["nova.example.org"]).page()
        assert told in ([], [b""])
        with pytest.raises(CloudApiError):
            cloud.api(hosts=["127.0.0.2"]).page()
        eventually(lambda: any(one.startswith(b"GET /") for one in told), 10)


def test_a_catalogue_leads_the_token_to_no_http_url_unless_that_is_meant() -> None:
    with Hostile(empty, nova="http://nova.invalid/") as cloud:
        with pytest.raises(CloudApiError, match=r"http://nova\.invalid.* in the clear"):
            cloud.api().page()
        with pytest.raises(CloudApiError) as tried:
            cloud.api(insecure=True).page()
        assert "in the clear" not in str(tried.value)


def test_a_list_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.poller.poller, "MAX_PAGES", 3)
    pages = 0

    async def another(_request: web.Request) -> web.Response:
        nonlocal pages
        pages += 1
        links = [{"rel": "next", "href": "x"}]
        return web.json_response({"servers": [{"id": str(pages)}], "servers_links": links})

    with Hostile(another) as cloud, Polled(StubNova.login_at(cloud.url)) as polled:
        eventually(lambda: "without an end" in polled.progress.failing, 20)
        assert pages < 20
