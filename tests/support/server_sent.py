"""A client of server-sent events, as a program reads them (HTML standard, 9.2.6)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp


class ServerSent(NamedTuple):
    """One event."""

    event: str
    data: Any
    last_id: str


class EventStream:
    """Reads the events of one connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.last_id = ""
        self.comments: list[str] = []

    async def next(self, within: float = 10) -> ServerSent:
        """Return the next event. Raises TimeoutError, or EOFError where the stream has ended."""
        async with asyncio.timeout(within):
            return await self._next()

    async def _next(self) -> ServerSent:
        event, data = "message", list[str]()
        while True:
            line = await self._response.content.readline()
            if not line:
                raise EOFError
            text = line.decode().removesuffix("\n")
            if not text and data:
                return ServerSent(event, json.loads("\n".join(data)), self.last_id)
            field, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                self.last_id = value
            elif text and not field:
                self.comments.append(value)

    async def take(self, count: int, within: float = 10) -> list[Any]:
        """Return the data of the next ``count`` events, which are all VM events."""
        taken = [await self.next(within) for _ in range(count)]
        assert {each.event for each in taken} <= {"vm_event"}, taken
        return [each.data for each in taken]

    async def placed(self, within: float = 10) -> None:
        """Read on until the stream tells an id."""
        async with asyncio.timeout(within):
            line = b""
            while not line.startswith(b"id:"):
                line = await self._response.content.readline()
                if not line:
                    raise EOFError
            self.last_id = line.decode().removeprefix("id:").strip()


@asynccontextmanager
async def event_stream(
    session: aiohttp.ClientSession, url: str, last_id: str = "", **headers: str
) -> AsyncIterator[EventStream]:
    """Connect; the stream's first id has come then."""
    if last_id:
        headers["Last-Event-ID"] = last_id
    timeout = aiohttp.ClientTimeout(total=None)
    async with session.get(url, headers=headers, timeout=timeout) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        stream = EventStream(response)
        if not last_id:
            await stream.placed()
        yield stream
