"""A stand-in for a VES collector: its REST interface, its traps, and faults on demand.

Written from the interface's description and from how ONAP's collector behaves: ``application/json``
exactly, messages by a schema, a batch of one domain alone, 202 with a text that is no JSON, errors
as ``requestError``, 413 above a size, 401 without the right login.
"""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable
from typing import Any, Self

import jsonschema
from aiohttp import web

from tests.support.paths import PROJECT
from vimfed.process.ports import free_ports

_SCHEMAS = {
    version: jsonschema.Draft202012Validator(
        json.loads((PROJECT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    )
    for version, name in (("v7", "ves"), ("v5", "ves-5"))
}
COMMANDS = {"commandList": [{"commandType": "heartbeatIntervalChange", "heartbeatInterval": 5}]}


def error(status: int, message_id: str, text: str, **headers: str) -> web.Response:
    kind = "PolicyException" if message_id.startswith("POL") else "ServiceException"
    told = {
        "messageId": message_id,
        "text": "The following service error occurred: %1. Error code is %2",
        "variables": [text, str(status)],
    }
    return web.json_response({"requestError": {kind: told}}, status=status, headers=headers)


class VesCollector:
    """The stand-in; ``async with`` it runs. ``faults`` are used up one per request, in order.

    Under load it checks no schema: that takes as long as a publisher takes for all of its work.
    """

    def __init__(
        self,
        *,
        user: str = "",
        password: str = "",
        most_bytes: int = 1_000_000,
        checks_schema: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        (self.port,) = free_ports(1)
        self.events: list[dict[str, Any]] = []
        """What was taken, in order: the insides of ``event``."""
        self.times: list[float] = []
        """When each was taken (monotonic)."""
        self.requests: list[tuple[float, str, int]] = []
        """Of each request: when it came (monotonic), its path, and how many events it had."""
        self.faults: list[str] = []
        self.refuse: Callable[[dict[str, Any]], bool] = lambda _event: False
        self._login = (
            "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        )
        self._most_bytes = most_bytes
        self._checks_schema = checks_schema
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._released = asyncio.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As the settings of an output name it."""
        return f"ves+{'https' if self._tls else 'http'}://{self.address}/eventListener/v7"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=64_000_000)
        app.add_routes(
            [
                web.post("/eventListener/{version}", self._event),
                web.post("/eventListener/{version}/eventBatch", self._batch),
                web.get("/healthcheck", self._health),
            ]
        )
        self._released = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self._tls
        )
        await site.start()

    async def stop(self) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _event(self, request: web.Request) -> web.StreamResponse:
        return await self._take(request, "event")

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        return await self._take(request, "eventList")

    async def _take(self, request: web.Request, envelope: str) -> web.StreamResponse:
        body = await request.read()
        events = self._parsed(body, envelope)
        self.requests.append((time.monotonic(), request.path, len(events or ())))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "hanging":
            await self._released.wait()
        if fault == "cut before":
            return self._cut(request)
        if (early := self._early(request, body, fault)) is not None:
            return early
        refusal = self._refusal(events, request.match_info["version"])
        if refusal is not None:
            return refusal
        assert events is not None
        self.events.extend(events)
        self.times.extend([time.monotonic()] * len(events))
        if fault == "cut in the answer":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"Succ")
            return self._cut(request, response)
        if fault == "commands":
            return web.json_response(COMMANDS, status=202)
        if fault == "200":
            return web.Response(status=200)
        return web.Response(
            status=202, text="Successfully send event", content_type="application/json"
        )

    def _early(self, request: web.Request, body: bytes, fault: str) -> web.Response | None:
        """Return what is said before a request's events are looked at."""
        if self._login and request.headers.get("Authorization") != self._login:
            return error(401, "POL2000", "Unauthorized user")
        if request.headers.get("Content-Type") != "application/json":
            return error(415, "SVC0002", "Bad Parameter (Incorrect request Content-Type)")
        if fault in ("429", "503"):
            return error(int(fault), "SVC1000", "No server resources", **{"Retry-After": "1"})
        if fault in ("404", "500"):
            return web.Response(status=int(fault), text="<html>oops</html>")
        if fault == "302":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if fault == "endless":
            return web.Response(status=202, body=b" " * 5_000_000)
        if len(body) > self._most_bytes:
            return error(413, "SVC2000", "Request Entity Too Large")
        return None

    def _parsed(self, body: bytes, envelope: str) -> list[dict[str, Any]] | None:
        try:
            told = json.loads(body)[envelope]
        except (ValueError, KeyError, TypeError):
            return None
        return told if envelope == "eventList" else [told]

    def _refusal(self, events: list[dict[str, Any]] | None, version: str) -> web.Response | None:
        if version not in _SCHEMAS:
            return web.Response(status=400, text=f"API version {version} is not supported")
        is_valid = _SCHEMAS[version].is_valid if self._checks_schema else bool
        if not events or not all(is_valid({"event": each}) for each in events):
            return error(400, "SVC0002", "Bad Parameter (JSON does not conform to schema)")
        if len({each["commonEventHeader"]["domain"] for each in events}) > 1:
            return error(400, "SVC0001", "Different value of domain fields in Batch Event")
        if any(map(self.refuse, events)):
            return error(400, "SVC0002", "Bad Parameter")
        return None

    def _cut(
        self, request: web.Request, response: web.StreamResponse | None = None
    ) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return response or web.Response()
