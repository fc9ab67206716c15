"""Limits of connections that aiohttp's server does not have: how many, and how slow.

Every HTTP server of the job runs so: the workers', the gateway's, those of bridges and publishers.
aiohttp 3.14 waits for the first byte of a connection, for the rest of a request's head, and until a
client takes its answer, as long as they like. What is malformed below HTTP it answers as text, and
logs with a traceback.
"""

import asyncio
import contextlib
import logging
import resource
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from vimfed.process.neighbours import Networks, network_of

LOG = logging.getLogger(__name__)


def cut_off(transport: asyncio.Transport) -> None:
    """Close a connection at once; what has yet to be sent is dropped.

    A TLS transport of Python 3.11.2 raises AttributeError where the connection has been lost.
    """
    with contextlib.suppress(AttributeError):
        transport.abort()


MAX_CONNECTIONS = 5000
MAX_PER_NEIGHBOUR = 4000
"""Maximum of one address, or /48 of IPv6: its neighbours have the others."""
KEEP_ALIVE = 75.0
"""Seconds that a connection may be idle: longer than proxies in front of it keep theirs."""
HEAD_TIMEOUT = 10.0
"""Seconds until a connection's first byte, and from a head's first byte to its last."""
MAX_FILES = 65_536
SEND_TIMEOUT = 30.0
"""Seconds that a client may take for the end of an answer: a stream has limits of its own."""

_TOO_MANY = msgspec.json.encode({"error": "too many connections; try again", "retry_after": 2})
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TOO_MANY), _TOO_MANY)
)


class Connection(RequestHandler):
    """One client's connection."""

    _head_timer: asyncio.TimerHandle | None = None
    is_silent = True
    """Whether nothing has come yet."""
    neighbour = ""
    """Whose it is (vimfed/process/neighbours.py)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the first byte must come in time."""
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(HEAD_TIMEOUT, self.force_close)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; a head that has begun must end in time."""
        if self.is_silent:
            self.is_silent = False
            self._stop_head_timer()
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
            resp = problem(resp.reason, resp.status)
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            LOG.info("cut off %s: it does not take its answer", request.remote)
            if self.transport is not None:
                cut_off(self.transport)
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
        response = problem(f"this is no HTTP request: {text}", status)
        response.force_close()
        return response


def problem(text: str, status: int, **headers: str) -> web.Response:
    """Return an error as every server tells it: JSON, with a sentence."""
    body = msgspec.json.encode({"error": text})
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    """Return the answer to what aiohttp itself refuses: a path or method that there is not."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem(f"{request.path} takes {allowed}, not {error.method}", 405, Allow=allowed)
    if isinstance(error, web.HTTPNotFound):
        return problem(f"there is nothing at {request.path}", 404)
    return problem(error.reason, error.status)


class ConnectionServer(web.Server):
    """Makes connections, as many as there may be, and of each neighbour no more than its share."""

    def __init__(
        self, *arguments: Any, most: int | None, proxies: Sequence[str], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._proxies = Networks(proxies)
        self._most = MAX_CONNECTIONS if most is None else most
        self._share = MAX_PER_NEIGHBOUR if most is None else most * 4 // 5
        self._neighbours: dict[str, dict[Connection, None]] = {}
        """By address, or network, its connections, the oldest first."""

    def __call__(self) -> RequestHandler:
        """Return the handler of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Note a connection. One too many takes the place of one on which nothing has come yet.

        Where there is none, it is told so, and closed.
        """
        super().connection_made(handler, transport)
        if not isinstance(handler, Connection):
            return
        address = str((transport.get_extra_info("peername") or ("",))[0])
        handler.neighbour = network_of(address)
        own = self._neighbours.setdefault(handler.neighbour, {})
        own[handler] = None
        if len(own) > self._share and address not in self._proxies:
            crowd = own
        elif sum(map(len, self._neighbours.values())) > self._most:
            crowd = max(self._neighbours.values(), key=len)
        else:
            return
        silent = next((each for each in crowd if each.is_silent and each is not handler), None)
        if silent is None:
            transport.write(_REFUSAL)
        given_up = silent or handler
        self._forget(given_up)
        # Not at once: aiohttp has yet to start the new one, and would find it gone.
        self._loop.call_soon(given_up.force_close)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            self._forget(handler)

    def _forget(self, handler: Connection) -> None:
        own = self._neighbours.get(handler.neighbour, {})
        own.pop(handler, None)
        if not own:
            self._neighbours.pop(handler.neighbour, None)


class ConnectionRunner(web.AppRunner):
    """Runs an application with these limits: ``most`` connections where they are fewer.

    ``proxies`` are addresses or networks that may hold all of them.
    """

    def __init__(
        self,
        app: web.Application,
        most: int | None = None,
        proxies: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._most = most
        self._proxies = proxies
        self._leaving = False
        app.on_response_prepare.append(self._complete_headers)
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            # What expands a thousandfold would hold up everything, even after it has been refused.
            auto_decompress=False,
            **options,
        )

    def leave(self) -> None:
        """Close each connection with its next answer: who asks again is to ask another process."""
        self._leaving = True

    async def cleanup(self) -> None:
        """Stop listening, and close all connections."""
        self.leave()
        await super().cleanup()

    async def _complete_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Let nobody keep an answer or guess its type, unless it says so; name no versions."""
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.pop("Server", None)
        if self._leaving:
            response.force_close()
            response.headers["Connection"] = "close"

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return ConnectionServer(
            made.request_handler,
            most=self._most,
            proxies=self._proxies,
            request_factory=made.request_factory,
            loop=made._loop,
            **made._kwargs,
        )


def allow_many_connections() -> None:
    """Raise the limit of open files: the usual 1024 are fewer than the clients that we allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
