"""Limits of connections that aiohttp's server does not have: how many, and how slow.

aiohttp 3.14 waits for the rest of a request's head, and until a client takes its answer, as long as
they like. What is malformed below HTTP it answers as text, and logs with a traceback.
"""

import asyncio
import logging
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from web.http.errors import Problem, json_response

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 5000
KEEP_ALIVE = 75.0
"""Seconds that a connection may be idle: longer than proxies in front of it keep theirs."""
HEAD_TIMEOUT = 10.0
"""Seconds from the first bytes of a request's head to its last."""
SEND_TIMEOUT = 30.0
"""Seconds that a client may take for the end of an answer: a stream has limits of its own."""

_TOO_MANY = msgspec.json.encode(Problem(error="too many connections; try again"))
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TOO_MANY), _TOO_MANY)
)


class Connection(RequestHandler):
    """One client's connection."""

    _head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; a head that has begun must end in time."""
        super().data_received(data)
        waits_for_head = self._waiter is not None and not self._waiter.done()
        if not waits_for_head:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_TIMEOUT, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer; who does not take it in time is cut off."""
        if isinstance(resp, web.HTTPException):
            # Of what comes before the handlers of errors: an expectation that is not understood.
            resp = json_response(Problem(error=resp.reason), resp.status)
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            LOG.info("cut off %s: it does not take its answer", request.remote)
            if self.transport is not None:
                self.transport.abort()
            return resp, True

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, as all errors are answered."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        LOG.debug("malformed request from %s: %r", request.remote, exc)
        text = " ".join((message or "").split()) or "malformed"
        response = json_response(Problem(error=f"this is no HTTP request: {text}"), status)
        response.force_close()
        return response


class ConnectionServer(web.Server):
    """Makes connections, as many as there may be."""

    def __call__(self) -> RequestHandler:
        """Return the handler of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Note a connection; one too many is told so, and closed."""
        super().connection_made(handler, transport)
        if len(self._connections) > MAX_CONNECTIONS:
            transport.write(_REFUSAL)
            handler.force_close()


class ConnectionRunner(web.AppRunner):
    """Runs an application with these limits."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            # What expands a thousandfold would hold up everything, even after it has been refused.
            auto_decompress=False,
            **options,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return ConnectionServer(
            made.request_handler,
            request_factory=made.request_factory,
            loop=made._loop,
            **made._kwargs,
        )
