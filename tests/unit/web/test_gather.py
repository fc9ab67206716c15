"""Answers out of the parts of several workers, where one of them is none."""

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from vimfed.settings import WebAuthSettings, WebSettings
from web.auth.peers import PeerClient, peers_session
from web.http.errors import UnavailableError, errors_as_json
from web.http.routes import add_routes
from web.queries.gather import PEER_PATH, Gather, Question
from web.queries.own_partitions import OwnPartitions
from web.queries.peer_query import PeerQuery


class Query(msgspec.Struct):
    """Asks for nothing."""


class Found(msgspec.Struct):
    """What a worker found."""

    count: int


class OwnsNothing(OwnPartitions):
    """A worker that is ready, and knows who owns all partitions."""

    generation = 1

    def __init__(self, owner: str) -> None:
        self.url = "http://this-worker"
        self._owner = owner

    def check_ready(self) -> None:
        """Nothing is wrong."""

    def owners(self) -> dict[str, set[int]]:
        return {self._owner: {0, 1}}


async def find(_query: Query) -> Found:
    return Found(count=1)


DEEP = b'{"x": ' + b"[" * 100_000


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"{}", b'{"generation": 1}', DEEP])
async def test_an_owner_that_answers_as_no_worker_does_makes_no_part_of_an_answer(
    body: bytes,
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_post(PEER_PATH + "question", answer)
    async with TestServer(app) as server, peers_session(WebSettings()) as session:
        gather = Gather(OwnsNothing(str(server.make_url("")).rstrip("/")))
        gather.peers = PeerClient(session, WebAuthSettings())
        with pytest.raises(UnavailableError, match="not understood") as refusal:
            await gather.ask(Question("question", Query, Found, find), Query())
        assert refusal.value.partitions == [0, 1]


class OldQuery(PeerQuery, frozen=True):
    """What an older worker knows."""

    host: str = ""


class NewQuery(OldQuery, frozen=True):
    """What a newer worker asks: it knows one condition more."""

    flavor: str = ""


async def answered_by_an_old_worker(query: NewQuery) -> list[Found]:
    """Ask an old worker for all partitions."""

    class Old(OwnsNothing):
        def partitions(self) -> list[int]:
            return [0, 1]

    async def find_old(_query: OldQuery) -> Found:
        return Found(count=1)

    async def find_new(_query: NewQuery) -> Found:
        return Found(count=2)

    app = web.Application(middlewares=[errors_as_json])
    add_routes(app, Gather(Old("")).routes(Question("question", OldQuery, Found, find_old)))
    async with TestServer(app) as server, peers_session(WebSettings()) as session:
        gather = Gather(OwnsNothing(str(server.make_url("")).rstrip("/")))
        gather.peers = PeerClient(session, WebAuthSettings())
        return await gather.ask(Question("question", NewQuery, Found, find_new), query)


async def test_an_old_worker_answers_what_it_knows_and_refuses_the_rest() -> None:
    assert await answered_by_an_old_worker(NewQuery(host="compute01")) == [Found(count=1)]
    with pytest.raises(UnavailableError, match="the owner answered 400"):
        await answered_by_an_old_worker(NewQuery(flavor="m1.tiny"))


async def test_a_question_that_is_nested_too_deeply_is_refused() -> None:
    app = web.Application(middlewares=[errors_as_json])
    add_routes(app, Gather(OwnsNothing("")).routes(Question("question", Query, Found, find)))
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = server.make_url(PEER_PATH + "question")
        async with session.post(url, data=DEEP) as answer:
            assert answer.status == 400


class Moves(OwnsNothing):
    """A worker that owns all partitions, once they have been assigned."""

    def __init__(self, attempts: int) -> None:
        super().__init__("http://this-worker")
        self._attempts = attempts

    def check_ready(self) -> None:
        self._attempts -= 1
        if self._attempts >= 0:
            raise UnavailableError("partitions are being assigned")

    def partitions(self) -> list[int]:
        return [0, 1]


QUESTION = Question("question", Query, Found, find)


async def test_partitions_that_are_being_assigned_are_waited_for() -> None:
    # More than the one further attempt that is made in any case.
    assert await Gather(Moves(attempts=3)).ask(QUESTION, Query()) == [Found(count=1)]


async def test_who_takes_a_stale_answer_does_not_wait_for_a_fresh_one() -> None:
    with pytest.raises(UnavailableError, match="being assigned"):
        await Gather(Moves(attempts=2)).ask(QUESTION, Query(), patience=0)
    assert await Gather(Moves(attempts=1)).ask(QUESTION, Query(), patience=0) == [Found(count=1)]
