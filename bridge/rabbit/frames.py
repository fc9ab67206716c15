"""Messages as AMQP brings them: bytes of a bounded number, and nothing of them decoded.

py-amqp collects a body of any size, and reads every property; a table that is nested more deeply
than Python's stack ends the connection, once for each redelivery. kombu then decompresses what a
header asks it to (362 bytes of bzip2 became 1.3 GB), and decodes with the encoding and the content
type that the sender names, before oslo.messaging or we see anything. nova needs none of that: its
bodies are JSON in UTF-8. So messages here are of a class of our own, and kombu makes none.
"""

from typing import Any

from amqp import method_framing
from amqp.basic_message import Message
from oslo_messaging._drivers import impl_rabbit

from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.nova.oslo import MAX_BODY_BYTES


class BoundedMessage(Message):  # type: ignore[misc]
    """A message that py-amqp receives; of a body that is too large only the beginning is kept."""

    refused = ""
    """Why it is not to be decoded; empty where it may be."""
    _kept = 0

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        """Read the properties, as upstream does, unless they cannot be read."""
        try:
            end: int = super()._load_properties(class_id, buf, offset)
        except Exception as error:
            # py-amqp raises whatever the bytes lead it to; the connection must outlive all of it.
            self.properties: dict[str, Any] = {}
            self.refused = f"its properties cannot be read: {type(error).__name__}"
            return offset
        headers = self.properties.get("application_headers")
        if isinstance(headers, dict) and headers.get("compression"):
            self.refused = "compressed: nova compresses nothing"
        if self.body_size > MAX_BODY_BYTES:
            self.refused = f"too large: {self.body_size} bytes"
        return end

    def inbound_body(self, buf: bytes) -> None:
        """Take a part of the body, as upstream does; what is refused is cut to a record's size."""
        if not self.refused:
            super().inbound_body(buf)
            return
        self.body_received += len(buf)
        part = buf[: MAX_RECORD_BYTES - self._kept]
        self._kept += len(part)
        if part:
            self._pending_chunks.append(bytes(part))
        if self.body_received >= self.body_size:
            self.body = b"".join(self._pending_chunks)
            self._pending_chunks.clear()
            self.ready = True


method_framing.Message = BoundedMessage  # the handler of frames looks it up here, and nowhere else


class RawConsumer(impl_rabbit.Consumer):  # type: ignore[misc]
    """oslo's consumer, whose callback gets py-amqp's message.

    Upstream makes a kombu message of it and decodes that, and rejects what it cannot decode.
    """

    def _callback(self, message: Any) -> None:
        self.callback(message)


def body_of(message: Any) -> bytes:
    """Return the bytes of a message's body."""
    body = message.body
    return body.encode() if isinstance(body, str) else bytes(body)
