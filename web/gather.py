"""One answer out of the parts that the workers own: complete, or none.

A worker asks the owners directly, in one hop: their peer routes answer for themselves and ask
nobody else, so a query cannot go in circles.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import msgspec

from vimfed.records import InstanceState
from web.errors import UnavailableError
from web.replica import Replica
from web.status_query import StatusAnswer, StatusPart, StatusQuery, combine

DEADLINE = 2.0
"""Seconds that a peer has for its answer."""
PAUSE = 0.2
"""Seconds before the one retry: ownership may just have moved."""

STATUS_PATH = "/peer/v1/status"
INSTANCE_PATH = "/peer/v1/instance"

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_decode_part = msgspec.json.Decoder(StatusPart).decode


class InstanceQuery(msgspec.Struct, frozen=True):
    """What a worker asks the owner of an instance."""

    vim_id: str
    instance_id: str


class InstancePart(msgspec.Struct, frozen=True):
    """The owner's answer; the row is None where there is no such instance."""

    row: InstanceState | None


_decode_instance = msgspec.json.Decoder(InstancePart).decode


class Gather:
    """Asks every owner, this worker among them, and retries once."""

    session: aiohttp.ClientSession
    """Set while the server runs."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def status(self, query: StatusQuery) -> tuple[StatusAnswer, bool]:
        """Return the complete answer, and whether the VIM has rows. Raises UnavailableError."""
        return await _twice(lambda: self._status(query))

    async def instance(self, vim_id: str, instance_id: str) -> InstanceState | None:
        """Return an instance's row from its owner. Raises UnavailableError."""
        return await _twice(lambda: self._instance(InstanceQuery(vim_id, instance_id)))

    async def _status(self, query: StatusQuery) -> tuple[StatusAnswer, bool]:
        self._replica.check_ready()
        generation = self._replica.generation
        owners = self._replica.owners()
        body = _encode(query)

        async def part_of(url: str) -> StatusPart:
            if url == self._replica.url:
                return self._replica.status_part(query)
            return _decode_part(await self._ask(url + STATUS_PATH, body, owners[url]))

        parts = await asyncio.gather(*map(part_of, owners))
        if any(part.generation != generation for part in parts):
            raise UnavailableError("partitions are being assigned")
        covered = [partition for part in parts for partition in part.partitions]
        wanted = set().union(*owners.values())
        if sorted(covered) != sorted(wanted):
            raise UnavailableError("partitions are moving", sorted(wanted.difference(covered)))
        return combine(query, parts), any(part.known for part in parts)

    async def _instance(self, query: InstanceQuery) -> InstanceState | None:
        self._replica.check_ready()
        partition = self._replica.partition_of(query.vim_id, query.instance_id)
        owner = next(
            url for url, partitions in self._replica.owners().items() if partition in partitions
        )
        if owner == self._replica.url:
            return self._replica.read(query.vim_id, query.instance_id)
        answer = await self._ask(owner + INSTANCE_PATH, _encode(query), {partition})
        return _decode_instance(answer).row

    async def _ask(self, url: str, body: bytes, partitions: set[int]) -> bytes:
        try:
            timeout = aiohttp.ClientTimeout(total=DEADLINE)
            async with self.session.post(url, data=body, timeout=timeout) as response:
                if response.status != 200:
                    raise UnavailableError(
                        f"the owner answered {response.status}", sorted(partitions)
                    )
                return await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(
                f"the owner does not answer: {type(error).__name__}", sorted(partitions)
            ) from None


async def _twice(attempt: Callable[[], Awaitable[T]]) -> T:
    try:
        return await attempt()
    except UnavailableError:
        await asyncio.sleep(PAUSE)
        return await attempt()
