"""What is sent to Kafka where a connection has been reset, in the event loop of our processes."""

import asyncio
import socket
import struct

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError

import vimfed.kafka.clients  # noqa: F401 - it mends aiokafka's

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class _Request:
    """A request of which only the bytes count."""

    def prepare(self, _versions: object) -> "_Request":
        return self

    def build_request_header(self, **_of: object) -> "_Request":
        return self

    def encode(self) -> bytes:
        return b"request"


async def _send_after_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        connection = AIOKafkaConnection(host, port)
        connection._reader, writer = await asyncio.open_connection(host, port)
        connection._writer = writer
        reading = connection._read_task = asyncio.create_task(connection._reader.read())
        accepted, _address = server.accept()
        with accepted:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    await asyncio.wait([reading])
    assert isinstance(reading.exception(), ConnectionResetError)
    with pytest.raises(KafkaConnectionError):
        connection.send(_Request())


def test_a_reset_connection_is_an_error_that_aiokafka_knows() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_send_after_a_reset())
