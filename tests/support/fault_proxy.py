"""An HTTP proxy before one server that can be told to fail in many ways."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from tests.support.threaded_server import ThreadedServer

CLOSING = web.AppKey("closing", asyncio.Event)
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _down(request: web.Request) -> web.StreamResponse:
    """Hang up without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _slow(request: web.Request) -> web.StreamResponse:
    """Answer when nobody waits for it any more."""
    await request.app[CLOSING].wait()
    return web.Response()


def _answers(status: int, text: str = "", **headers: str) -> Fault:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return answer


FAULTS: dict[str, Fault] = {
    "down": _down,
    "slow": _slow,
    "401": _answers(401),
    "429": _answers(429, **{"Retry-After": "1"}),
    "429 for ever": _answers(429, **{"Retry-After": "9" * 400}),
    "500": _answers(500),
    "garbage": _answers(200, "<html>Welcome!", **{"Content-Type": "text/html"}),
}


class FaultProxy(ThreadedServer):
    """Passes requests on to ``target``, or fails like ``fault``."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.fault = ""
        """One of FAULTS, or empty: pass everything on."""
        self.failed = 0
        """Requests that were failed since the fault was set."""
        super().__init__()

    def fail(self, fault: str) -> None:
        """Fail like that from now on."""
        self.failed, self.fault = 0, fault

    async def _application(self) -> web.Application:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application()
        app[CLOSING] = asyncio.Event()
        app.router.add_route("*", "/{path:.*}", self._heed)
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, app: web.Application) -> None:
        app[CLOSING].set()
        await self._session.close()

    async def _heed(self, request: web.Request) -> web.StreamResponse:
        if self.fault:
            self.failed += 1
            return await FAULTS[self.fault](request)
        answer = await self._session.request(
            request.method,
            f"{self._target}{request.path_qs}",
            headers=request.headers,
            data=await request.read(),
        )
        kept = {"Content-Type", "Date", "X-Subject-Token", "Retry-After"}
        headers = {name: answer.headers[name] for name in kept & answer.headers.keys()}
        return web.Response(status=answer.status, body=await answer.read(), headers=headers)
