"""Answers out of the parts of several workers, where one of them is none."""

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from web.http.errors import UnavailableError
from web.queries.gather import PEER_PATH, Gather, Question
from web.queries.replica import Replica


class Query(msgspec.Struct):
    """Asks for nothing."""


class Found(msgspec.Struct):
    """What a worker found."""

    count: int


class OwnsNothing(Replica):
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


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"{}", b'{"generation": 1}'])
async def test_an_owner_that_answers_as_no_worker_does_makes_no_part_of_an_answer(
    body: bytes,
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_post(PEER_PATH + "question", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        gather = Gather(OwnsNothing(str(server.make_url("")).rstrip("/")))
        gather.session = session
        with pytest.raises(UnavailableError, match="not understood") as refusal:
            await gather.ask(Question("question", Query, Found, find), Query())
        assert refusal.value.partitions == [0, 1]
