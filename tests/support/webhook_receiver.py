"""A stand-in for a webhook's receiver: CloudEvents' HTTP binding and its handshake, and faults.

Written from CloudEvents' HTTP 1.1 Web Hooks for Event Delivery 1.0.2 and its HTTP binding 1.0.2.
Events are read by CloudEvents' own SDK.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web
from cloudevents.http import CloudEvent, from_http, from_json

from vimfed.process.ports import free_ports

BATCH = "application/cloudevents-batch+json"


class Received:
    """One request that came, and what it carried."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.headers = dict(request.headers)
        self.body = body
        self.events = events_of(self.headers, body)


def events_of(headers: dict[str, str], body: bytes) -> list[CloudEvent]:
    """Return the events of a request in any of the content modes."""
    kind = headers["Content-Type"].partition(";")[0]
    if kind == BATCH:
        return [from_json(each) for each in _batch(body)]
    return [from_http(headers, body)]


def _batch(body: bytes) -> list[bytes]:
    return [json.dumps(each).encode() for each in json.loads(body)]


class WebhookReceiver:
    """The stand-in; ``async with`` it runs. ``faults`` are used up one per POST, in order.

    A fault is a status, with a ``Retry-After`` behind a space, or ``hanging``, or ``cut``.
    """

    def __init__(self, **allowed: str) -> None:
        """``allowed``: the headers with which it answers OPTIONS, ``_`` for ``-``."""
        (self.port,) = free_ports(1)
        self.requests: list[Received] = []
        """All of which the answer was no fault."""
        self.asked: list[dict[str, str]] = []
        """The headers of each OPTIONS."""
        self.faults: list[str] = []
        self.met = 0
        """POSTs that met a fault."""
        self.refuse: Callable[[CloudEvent], int] = lambda _event: 0
        """The status with which an event is refused; 0: it is not."""
        self.under_way = 0
        self.most_under_way = 0
        self.hold: asyncio.Event | None = None
        """No POST is answered before it is set."""
        self.allowed = {name.replace("_", "-"): value for name, value in allowed.items()}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """As the settings of an output name it."""
        return f"webhook+http://127.0.0.1:{self.port}/hooks/vms"

    @property
    def events(self) -> list[CloudEvent]:
        """What was taken, in order."""
        return [event for request in self.requests for event in request.events]

    def ids(self) -> list[str]:
        """Return the ids of what was taken, in order."""
        return [str(event["id"]) for event in self.events]

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop it."""
        await self.stop()

    async def start(self) -> None:
        """Listen at the port that it always has."""
        app = web.Application()
        app.router.add_post("/hooks/vms", self._post)
        app.router.add_options("/hooks/vms", self._options)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Listen no more; connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _options(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        return web.Response(headers={"Allow": "POST", **self.allowed})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(request)
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(request, await request.read())
        if self.hold is not None:
            await self.hold.wait()
        if self.faults:
            self.met += 1
            return await self._fault(request, self.faults.pop(0))
        for event in received.events:
            if status := self.refuse(event):
                return web.Response(status=status, text=f"{event['id']} is refused")
        self.requests.append(received)
        return web.Response(status=204)

    async def _fault(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault == "hanging":
            await asyncio.sleep(3600)
        if fault == "cut":
            assert request.transport is not None
            request.transport.close()
        status, _, retry_after = fault.partition(" ")
        headers: dict[str, Any] = {"Retry-After": retry_after} if retry_after else {}
        if status.startswith("3"):
            headers["Location"] = f"http://127.0.0.1:{self.port}/hooks/vms"
        return web.Response(status=int(status) if status.isdigit() else 500, headers=headers)
