"""Requests beside a stream that is behind: their share, their turn, and no more."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from web.http import fair_share
from web.http.errors import errors_as_json
from web.http.fair_share import FairShare
from web.http.routes import Role, Route, add_routes

WORK = 0.01
"""Seconds for which a request holds the loop."""

Client = TestClient[web.Request, web.Application]
Behind = Callable[[bool], None]


@pytest.fixture
async def client_and_behind() -> AsyncIterator[tuple[Client, Behind]]:
    state = {"behind": False}
    fair = FairShare(lambda: state["behind"])

    async def work(_request: web.Request) -> web.Response:
        begun = time.thread_time()
        while time.thread_time() - begun < WORK:
            pass
        await asyncio.sleep(0.05)  # others' time costs nothing
        return web.json_response({})

    def route(path: str, role: Role) -> Route:
        return Route(method="GET", paths=(path,), handler=work, role=role, answers={200: None})

    app = web.Application(middlewares=[errors_as_json, fair.share])
    add_routes(app, [route("/query", "reader"), route("/probe", "anyone"), route("/p", "peer")])
    async with TestClient(TestServer(app)) as client:
        yield client, lambda behind: state.update(behind=behind)


async def test_requests_take_their_share_alone_while_the_stream_is_behind(
    client_and_behind: tuple[Client, Behind], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_share, "PATIENCE", 60.0)
    client, behind = client_and_behind

    async def seconds_for(count: int) -> float:
        begun = time.monotonic()
        answers = await asyncio.gather(*(client.get("/query") for _ in range(count)))
        assert {answer.status for answer in answers} == {200}
        return time.monotonic() - begun

    await seconds_for(20)  # shows what a request takes
    behind(True)
    await asyncio.sleep(fair_share.LOOK_EVERY)
    # 0.6 seconds of work: half a second at once, the rest in a twelfth of the time at most.
    assert await seconds_for(60) > 0.9


@pytest.fixture
def nothing_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_share, "BURST", 0.0)


async def test_a_request_whose_turn_does_not_come_is_told_so_and_probes_are_answered(
    nothing_saved_up: None,
    client_and_behind: tuple[Client, Behind],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, behind = client_and_behind

    async def ask(path: str = "/query") -> tuple[int, str]:
        async with client.get(path) as answer:
            return answer.status, (await answer.json()).get("reason", "")

    monkeypatch.setattr(fair_share, "PATIENCE", 0.2)
    assert await ask() == (200, "")
    behind(True)
    await asyncio.sleep(fair_share.LOOK_EVERY)
    assert await ask() == (503, "the worker is behind, and other requests go first")
    for path in ("/probe", "/p"):
        assert await ask(path) == (200, "")
    monkeypatch.setattr(fair_share, "MAX_WAITING", 0)
    assert await ask() == (503, "the worker is behind, and too many requests wait")
    behind(False)
    await asyncio.sleep(fair_share.LOOK_EVERY)
    assert await ask() == (200, "")
