"""A RabbitMQ that refuses queues which are neither durable nor exclusive.

From 3.12 on a node can be told to. Before an older one stands what answers such a declaration as
RabbitMQ 4.0 does (AMQP 0-9-1: frames, queue.declare, connection.close), and hands on all else.
"""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from socket import SHUT_WR, create_connection, socket
from typing import cast

from tests.support.brokers import RABBITMQ_ROOT, RabbitMQ

SETTING = "deprecated_features.permit.transient_nonexcl_queues"
REFUSAL = (
    b"INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\n"
    b"Its use is not permitted per the configuration (overriding the default, which is permitted):"
    b'\n    "deprecated_features.permit.transient_nonexcl_queues = false"\n'
    b"Its use will not be permit..."
)
"""What RabbitMQ 4.0.5 says."""
PROTOCOL_HEADER = 8
FRAME_HEAD = struct.Struct(">BHI")
"""Type, channel and size; what ends a frame is one byte more."""
METHOD, FRAME_END = 1, b"\xce"
QUEUE_DECLARE, CONNECTION_CLOSE = (50, 10), (10, 50)
PASSIVE, DURABLE, EXCLUSIVE = 1, 2, 4
"""Bits of queue.declare."""


@contextmanager
def without_transient_queues(rabbitmq: RabbitMQ, folder: Path) -> Iterator[str]:
    """Yield the URL of a node, or of what stands before ``rabbitmq``, that refuses them."""
    if RABBITMQ_ROOT:  # which is a newer one: make versions
        with RabbitMQ(folder, config={SETTING: "false"}) as node:
            yield node.url
        return
    with _Refusing(rabbitmq.port) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"rabbit://guest:guest@127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


class _Refusing(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, target: int) -> None:
        self.target = target
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        client: socket = self.request
        target = cast(_Refusing, self.server).target
        with create_connection(("127.0.0.1", target)) as far, client.makefile("rb") as sent:
            back = threading.Thread(target=_copy, args=(far, client), daemon=True)
            back.start()
            far.sendall(sent.read(PROTOCOL_HEADER))
            while frame := _frame(sent):
                if _declares_transient(frame):
                    client.sendall(_refusal())
                    sent.read()  # the answer, and the end
                    return
                far.sendall(frame)


def _copy(source: socket, target: socket) -> None:
    try:
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(SHUT_WR)
    except OSError:  # one of the two has gone
        pass


def _frame(sent: BufferedReader) -> bytes:
    """Return the next frame; empty at the end."""
    head = sent.read(FRAME_HEAD.size)
    if len(head) < FRAME_HEAD.size:
        return b""
    return head + sent.read(FRAME_HEAD.unpack(head)[2] + len(FRAME_END))


def _declares_transient(frame: bytes) -> bool:
    kind, _channel, _size = FRAME_HEAD.unpack_from(frame)
    method = struct.unpack_from(">HH", frame, FRAME_HEAD.size) if kind == METHOD else None
    if method != QUEUE_DECLARE:
        return False
    name = FRAME_HEAD.size + 6  # behind class, method and a reserved number
    bits = frame[name + 1 + frame[name]]
    return not bits & (PASSIVE | DURABLE | EXCLUSIVE)


def _refusal() -> bytes:
    text = struct.pack(">HB", 541, len(REFUSAL)) + REFUSAL
    payload = struct.pack(">HH", *CONNECTION_CLOSE) + text + struct.pack(">HH", *QUEUE_DECLARE)
    return FRAME_HEAD.pack(METHOD, 0, len(payload)) + payload + FRAME_END
