"""One answer out of the parts that the workers own: complete, or none.

A worker asks the owners directly, in one hop: their peer routes answer for themselves and ask
nobody else, so a query cannot go in circles. Every query takes this one way; what a new one needs
is a question: what is asked, what is found, and how to find it among our own.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec
from aiohttp import web

from vimfed.model.decoding import UnreadableError, decoded
from web.auth.peers import DEADLINE, PeerClient, PeerError
from web.http.errors import ApiError, Problem, Unavailable, UnavailableError, json_response
from web.http.routes import Route
from web.queries.own_partitions import PATIENCE, OwnPartitions

LOG = logging.getLogger(__name__)

PAUSE, MAX_PAUSE = 0.1, 0.4
"""Seconds between two attempts: at first, and at most; each pause is twice the one before."""
PEER_PATH = "/peer/v1/"

Q = TypeVar("Q")
F = TypeVar("F")
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class Part(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """What one worker answers for the partitions that it owns."""

    generation: int
    """The consumer group's generation that it knows."""
    partitions: list[int]
    found: F


class Question(NamedTuple, Generic[Q, F]):
    """Something that the owners can be asked."""

    name: str
    query: type[Q]
    found: type[F]
    find: Callable[[Q], Awaitable[F]]
    """Finds it in the partitions that this worker owns."""


class Gather:
    """Asks every owner, this worker among them, and again while partitions move."""

    peers: PeerClient
    """Set while the server runs."""

    def __init__(self, own: OwnPartitions) -> None:
        self._own = own

    async def ask(
        self,
        question: Question[Q, F],
        query: Q,
        partition: int | None = None,
        patience: float = PATIENCE,
    ) -> list[F]:
        """Ask the owners of all partitions, or of one, and return what each of them found.

        Partitions that are being assigned are waited for, up to ``patience`` seconds. Raises
        UnavailableError unless all is found then.
        """
        return await _patiently(lambda: self._ask(question, query, partition), patience)

    def routes(self, *questions: Question[Any, Any]) -> list[Route]:
        """Return the routes by which other workers ask this one."""
        return [
            Route(
                method="POST",
                paths=(PEER_PATH + question.name,),
                handler=self._peer_handler(question),
                role="peer",
                audit="reads",
                body=question.query,
                answers={200: cast(Any, Part)[question.found], 400: Problem, 503: Unavailable},
            )
            for question in questions
        ]

    def _peer_handler(
        self, question: Question[Q, F]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        decode = msgspec.json.Decoder(question.query).decode

        async def answer_peer(request: web.Request) -> web.Response:
            """Answer another worker for the partitions that we own."""
            try:
                query = decoded(decode, await request.read())
            except UnreadableError as error:
                raise ApiError(
                    400, f"not a query of a worker of this version or an earlier one: {error}"
                ) from None
            return json_response(await self._own_part(question, query))

        return answer_peer

    async def _ask(self, question: Question[Q, F], query: Q, partition: int | None) -> list[F]:
        self._own.check_ready()
        generation = self._own.generation
        owners = {
            url: partitions
            for url, partitions in self._own.owners().items()
            if partition is None or partition in partitions
        }
        parts = await asyncio.gather(
            *(self._part_of(url, owners[url], question, query) for url in owners)
        )
        if any(part.generation != generation for part in parts):
            raise UnavailableError("partitions are being assigned")
        covered = [number for part in parts for number in part.partitions]
        wanted = set().union(*owners.values())
        if sorted(covered) != sorted(wanted):
            raise UnavailableError("partitions are moving", sorted(wanted.difference(covered)))
        return [part.found for part in parts]

    async def _part_of(
        self, url: str, partitions: set[int], question: Question[Q, F], query: Q
    ) -> Part[F]:
        if url == self._own.url:
            return await self._own_part(question, query)
        try:
            answer = await self.peers.ask("POST", url, PEER_PATH + question.name, _encode(query))
        except PeerError as error:
            raise UnavailableError(f"the owner {error}", sorted(partitions)) from None
        try:
            decode = partial(msgspec.json.decode, type=cast(Any, Part)[question.found])
            part: Part[F] = decoded(decode, answer)
        except UnreadableError as error:
            LOG.warning("%s answers as no worker of this version does: %s", url, error)
            raise UnavailableError("the owner is not understood", sorted(partitions)) from None
        return part

    async def _own_part(self, question: Question[Q, F], query: Q) -> Part[F]:
        """Find our part; nothing may have moved while we were at it."""
        self._own.check_ready()
        generation, partitions = self._own.generation, self._own.partitions()
        try:
            async with asyncio.timeout(DEADLINE):
                found = await question.find(query)
        except TimeoutError:
            raise UnavailableError("the worker is too busy", partitions) from None
        self._own.check_ready()
        if (generation, partitions) != (self._own.generation, self._own.partitions()):
            raise UnavailableError("partitions are being assigned")
        return Part(generation=generation, partitions=partitions, found=found)


async def _patiently(attempt: Callable[[], Awaitable[T]], patience: float) -> T:
    """Return what an attempt returns; make a second one, and further ones within ``patience``."""
    end = time.monotonic() + patience
    pause, is_last = PAUSE, False
    while True:
        try:
            return await attempt()
        except UnavailableError:
            if is_last:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE)
        is_last = time.monotonic() + pause >= end
