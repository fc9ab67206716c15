"""A stand-in for DMaaP's Message Router: its REST interface, its traps, and faults on demand.

Written from the documented behaviour of the archived server: content types are matched exactly,
``application/cambria`` is ``<keyLen>.<msgLen>.<key><msg>`` with lengths in bytes, anything that it
does not know becomes one raw message, errors are ``mrstatus`` objects.
"""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

from vimfed.process.ports import free_ports

MAX_MESSAGE_BYTES = 4_096_000


class BadBatchError(Exception):
    """The body does not follow its content type."""


def error(status: int, mrstatus: int, message: str, **headers: str) -> web.Response:
    body = {
        "mrstatus": mrstatus,
        "helpURL": "http://onap.readthedocs.io",
        "message": message,
        "status": status,
    }
    return web.json_response(body, status=status, headers=headers)


def parse_cambria(body: bytes) -> list[tuple[str, bytes]]:
    messages = []
    at = 0
    while at < len(body):
        if body[at : at + 1] in (b"\n", b" "):
            at += 1
            continue
        first, second = body.index(b".", at), 0
        second = body.index(b".", first + 1)
        key_length, length = int(body[at:first]), int(body[first + 1 : second])
        if max(key_length, length) > MAX_MESSAGE_BYTES:
            raise BadBatchError
        key_end = second + 1 + key_length
        if key_end + length > len(body):
            raise BadBatchError
        messages.append((body[second + 1 : key_end].decode(), body[key_end : key_end + length]))
        at = key_end + length
    return messages


class MessageRouter:
    """The stand-in; ``async with`` it runs. ``faults`` are used up one per request, in order."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        (self.port,) = free_ports(1)
        self.messages: list[tuple[str, bytes]] = []
        """What was published: partition key and message, in order."""
        self.requests: list[tuple[float, str]] = []
        """When each request came (monotonic), and its content type."""
        self.traceparents: list[str] = []
        """Which trace each request carried; empty: none."""
        self.faults: list[str] = []
        self.refuse: Callable[[bytes], bool] = lambda _message: False
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._open = not user
        self._runner: web.AppRunner | None = None
        self._released = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events/unauthenticated.VM"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=64_000_000)
        app.add_routes([web.post("/events/{topic}", self._post)])
        self._released = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((time.monotonic(), request.headers.get("Content-Type", "")))
        self.traceparents.append(request.headers.get("traceparent", ""))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "hanging":
            await self._released.wait()
        if fault == "cut before":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault == "429":
            return error(429, 5012, "too many requests", **{"Retry-After": "2"})
        if fault == "503":
            return error(503, 3002, "unavailable", **{"Retry-After": "1"})
        if fault == "500":
            return web.Response(status=500, text="<html>oops</html>")
        if not self._open and request.headers.get("Authorization") != self._authorization:
            return error(401, 5009, "publish denied")
        try:
            messages = self._parse(request, body)
        except (BadBatchError, ValueError):
            return error(400, 5007, "Successfully published number of messages :0.")
        if any(self.refuse(message) for _key, message in messages):
            return error(413, 5004, "too large")
        if fault == "short":
            messages = messages[: len(messages) // 2]
        self.messages.extend(messages)
        answer = json.dumps({"count": len(messages), "serverTimeMs": 1}).encode()
        if fault == "cut in the answer":
            response = web.StreamResponse(headers={"Content-Length": str(len(answer))})
            await response.prepare(request)
            await response.write(answer[:5])
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(body=answer, content_type="application/json")

    def _parse(self, request: web.Request, body: bytes) -> list[tuple[str, bytes]]:
        content_type = request.headers.get("Content-Type")
        if content_type == "application/cambria":
            return parse_cambria(body)
        if content_type == "application/cambria-zip":
            return parse_cambria(gzip.decompress(body))
        if content_type == "application/json" and "Content-Length" in request.headers:
            parsed: Any = json.loads(body)
            return [
                ("", json.dumps(m).encode())
                for m in (parsed if isinstance(parsed, list) else [parsed])
            ]
        return [("", body)]
