"""The seam of the logins: one of a kind of its own, which is a class and a line of the table."""

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from tests.support.server_sent import event_stream
from vimfed.process.audit import Trail
from vimfed.settings import Secret, Settings, WebAuthSettings, WebSettings, WebUser
from web.auth import access
from web.auth.access import Access
from web.auth.backends import kinds
from web.auth.backends.login import Attempt, Login
from web.auth.caller import Caller
from web.http.audit import RequestAudit, change_by_route
from web.http.errors import errors_as_json
from web.http.fair_share import FairShare
from web.http.openapi import document
from web.http.routes import add_routes
from web.live import live
from web.live.event_ring import EventRing
from web.live.live import LiveEvents


class WordLogin(Login):
    """Those who know the word of the day, asked again every 0.1 s."""

    scheme = "word"
    openapi: ClassVar[Mapping[str, Any]] = {"word": {"type": "http", "scheme": "word"}}
    words: ClassVar[set[str]] = set()
    asked: ClassVar[list[str]] = []

    def __init__(self, auth: WebAuthSettings) -> None:
        self.challenge = "Word"

    async def attempt(self, given: str, may_guess: Callable[[str], None]) -> Attempt:
        self.asked.append(given)
        caller = Caller(name="w", role="reader", holds=0.1)
        return Attempt("a word", caller if given in self.words else None)


class StillTail:
    """A topic to which nothing is written."""

    def __init__(self) -> None:
        self.ring = EventRing([0], now=0, most=100, most_bytes=10**6)

    async def __aenter__(self) -> "StillTail":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        return None

    async def read(self, _patience: float) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def word(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (access, kinds):
        monkeypatch.setattr(module, "LOGINS", (*kinds.LOGINS, WordLogin))
    WordLogin.words.clear()
    WordLogin.asked.clear()


def live_events(auth: WebAuthSettings) -> tuple[web.Application, LiveEvents]:
    settings = Settings(web=WebSettings(auth=auth))
    who = Access(settings.web)
    events = LiveEvents(settings, CollectorRegistry(), FairShare(lambda: False), who.still_admits)
    audit = RequestAudit(Trail(), change_by_route)
    app = web.Application(middlewares=[audit.keep, errors_as_json, who.check])
    app.cleanup_ctx.append(who.running)
    app.on_shutdown.append(events.stop)
    add_routes(app, events.routes())
    return app, events


async def test_live_events_ask_a_login_of_any_kind_again_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "followed", lambda _kafka, _first: StillTail())
    monkeypatch.setattr(live, "MIN_ASKED_AGAIN", 0.1)
    auth = WebAuthSettings(
        users=[WebUser(name="u", token=Secret("a" * 20))], peer_secret=Secret("b" * 20)
    )
    app, _ = live_events(auth)
    WordLogin.words.add("open")
    async with TestClient(TestServer(app)) as client, aiohttp.ClientSession() as session:
        path = "/api/multicloud/v1/events"
        refused = await client.get(path, headers={"Authorization": "Word shut"})
        told = refused.headers["WWW-Authenticate"]
        assert (refused.status, told.split(", ")[-1]) == (401, "Word")
        login = {"Authorization": "WORD open"}
        async with event_stream(session, str(client.make_url(path)), **login) as stream:
            WordLogin.words.clear()
            began = time.monotonic()
            assert (await stream.next(within=5)).event == "cut"
            assert time.monotonic() - began < 3
        assert WordLogin.asked.count("open") > 1
    told_of = [each.getMessage() for each in caplog.records if each.name == "vimfed.audit"]
    failed, ended = told_of
    assert " event=login.failed result=refused login=- " in failed
    assert " event=login.ended result=refused login=w role=reader " in ended
    assert ended.endswith(' reason="a word" status=200')


def test_the_openapi_document_tells_every_login_but_that_of_the_peers() -> None:
    _, events = live_events(WebAuthSettings())
    told = document(events.routes(), kinds.security_schemes())
    names = ["basic", "bearer", "keystone", "word"]
    assert list(told["components"]["securitySchemes"]) == names
    operation = told["paths"]["/api/multicloud/v1/events"]["get"]
    assert operation["security"] == [{}, *({name: []} for name in names)]
