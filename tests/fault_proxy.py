"""An HTTP proxy before one server that can be told to fail in many ways."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Self

import aiohttp
from aiohttp import web

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


class FaultProxy:
    """Passes requests on to ``target``, or fails like ``fault``; runs in a thread of its own."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.fault = ""
        """One of FAULTS, or empty: pass everything on."""
        self.failed = 0
        """Requests that were failed since the fault was set."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def fail(self, fault: str) -> None:
        """Fail like that from now on."""
        self.failed, self.fault = 0, fault

    async def _open(self) -> int:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application()
        self._closing = app[CLOSING] = asyncio.Event()
        app.router.add_route("*", "/{path:.*}", self._heed)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _close(self) -> None:
        self._closing.set()
        await self._session.close()
        await self._runner.cleanup()

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
