"""Where traces begin: with what came from a cloud."""

from collections.abc import Sequence
from typing import Any

import msgspec
from opentelemetry.trace import Span

from bridge.forwarding import Arrival, Converted, Converter, Listened
from bridge.progress import Progress
from bridge.source import Write
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.traced_appending import appending
from vimfed.model.keys import split_instance_key
from vimfed.process.spans import Tracing, now


class _Told(msgspec.Struct, gc=False):
    """What is read of a notification; the names are those of ``vimfed.model.records``."""

    message_id: str
    event_type: str
    request_id: str | None = None
    global_request_id: str | None = None


_decode = msgspec.json.Decoder(_Told).decode


class BridgeTracing:
    """Begins a trace of what is received, and tells when Kafka has it."""

    def __init__(self, tracing: Tracing, notifications: str) -> None:
        """``notifications``: the topic of what is traced."""
        self._tracing = tracing
        self._topic = notifications

    def converter(self, converter: Converter, source: Listened) -> Converter:
        """Return a converter whose records carry their trace."""

        def convert(body: bytes, arrival: Arrival) -> Converted:
            begun = now()
            made = converter.convert(body, arrival)
            told = next((each for each in made.records if each.topic == self._topic), None)
            return made if told is None else self._traced(made, told, arrival, source, begun)

        return converter._replace(convert=convert)

    def write(self, write: Write) -> Write:
        """Return a ``write`` that tells how long it took."""

        async def traced(records: Sequence[OutgoingRecord], progress: Progress | None) -> None:
            with appending(self._tracing, records):
                await write(records, progress)

        return traced

    def _traced(
        self,
        made: Converted,
        record: OutgoingRecord,
        arrival: Arrival,
        source: Listened,
        begun: int,
    ) -> Converted:
        told = _decode(record.value or b"")
        span = self._tracing.trace(f"receive {source.destination}", told.request_id, begun)
        if span is None:
            return made
        _describe(span, record, told, arrival, source)
        headers = self._tracing.headers(span)
        span.end()
        return made._replace(records=[self._carrying(each, headers) for each in made.records])

    def _carrying(
        self, record: OutgoingRecord, headers: tuple[tuple[str, bytes], ...]
    ) -> OutgoingRecord:
        if record.topic != self._topic:
            return record
        return msgspec.structs.replace(record, headers=(*record.headers, *headers))


def _describe(
    span: Span, record: OutgoingRecord, told: _Told, arrival: Arrival, source: Listened
) -> None:
    attributes: dict[str, Any] = {
        "messaging.system": source.system,
        "messaging.operation.type": "receive",
        "messaging.operation.name": "receive",
        "messaging.destination.name": source.destination,
        "messaging.message.id": told.message_id,
        "vimfed.vim_id": arrival.vim_id,
        "vimfed.instance_id": split_instance_key(record.key or b"")[1],
        "vimfed.event_type": told.event_type,
        "vimfed.request_id": told.request_id,
        "vimfed.global_request_id": told.global_request_id,
    }
    span.set_attributes({name: value for name, value in attributes.items() if value})
