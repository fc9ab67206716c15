"""Sends an answer, and knows when the client's machine has taken all of it.

HTTP knows no acknowledgement, but TCP does. A client that closes once it has read its answer looks
to asyncio like one that has gone amid it: reading the end of the stream closes the transport, and
what that still held is not to be learnt any more. So nothing is read meanwhile, and the kernel is
asked what has become of the answer.
"""

import asyncio
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable

from aiohttp import web

from vimfed.process.connections import cut_off

SENT_WITHIN, TAKEN_WITHIN = 60.0, 5.0
"""Seconds in which an answer can be sent, and the client's machine has taken the end of it."""
LOOK_EVERY = 0.005
"""Seconds between two looks whether the end has been taken."""
TCP_CLOSE = 7
"""The state of a connection that was reset, or timed out (linux/tcp_states.h)."""
BYTES_ACKED = struct.Struct("=120xQ")
"""Where ``struct tcp_info`` has ``tcpi_bytes_acked`` (linux/tcp.h)."""


async def send_and_see_taken(
    request: web.Request, body: bytes, sent: Callable[[], None]
) -> web.StreamResponse:
    """Answer with JSON; return once the client's machine has acknowledged all of it.

    Calls ``sent`` when the client may have the answer. Raises ConnectionError where the client has
    gone, or does not take it. What its machine has, and it did not read, shows as a reset
    connection at most.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the consumer has gone")
    reads = transport.is_reading()
    if reads:
        transport.pause_reading()
    try:
        before = _acknowledged(transport)
        response = await _send(request, body)
        sent()
        await _taken(transport)
        if 0 < _acknowledged(transport) < before + len(body):
            # A TLS transport drops what it is given after the client's end, and says nothing.
            raise ConnectionResetError("the consumer had gone before its answer was sent")
    except ConnectionError:
        cut_off(transport)
        raise
    finally:
        if reads and not transport.is_closing():
            transport.resume_reading()
    return response


async def _send(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    try:
        async with asyncio.timeout(SENT_WITHIN):
            await response.prepare(request)
            await response.write(body)
            await response.write_eof()
    except TimeoutError:
        raise ConnectionResetError("the consumer does not take its answer") from None
    return response


async def _taken(transport: asyncio.Transport) -> None:
    """Return when nothing is left that is not acknowledged.

    A TLS transport does not show what the one below it holds: that goes to the kernel between two
    looks.
    """
    deadline = time.monotonic() + TAKEN_WITHIN
    looks = 1 if transport.get_extra_info("sslcontext") is None else 2
    while looks:
        if transport.is_closing() or _is_reset(transport):
            raise ConnectionResetError("the consumer has gone")
        if not transport.get_write_buffer_size() and not _unacknowledged(transport):
            looks -= 1
        if looks and time.monotonic() > deadline:
            raise ConnectionResetError("the consumer does not take the end of its answer")
        if looks:
            await asyncio.sleep(LOOK_EVERY)


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Return how many bytes the kernel was given that the other machine has not acknowledged."""
    connection = transport.get_extra_info("socket")
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])


def _is_reset(transport: asyncio.Transport) -> bool:
    return _tcp_info(transport)[0] == TCP_CLOSE


def _acknowledged(transport: asyncio.Transport) -> int:
    """Return how many bytes were ever acknowledged; 0: this kernel does not say."""
    info = _tcp_info(transport)
    return int(BYTES_ACKED.unpack(info)[0]) if len(info) >= BYTES_ACKED.size else 0


def _tcp_info(transport: asyncio.Transport) -> bytes:
    connection = transport.get_extra_info("socket")
    info: bytes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.size)
    return info
