"""The worker's part of a trace: what became of a notification."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from opentelemetry.trace import Span, SpanKind

from streams.core.fold import FoldedBatch
from streams.worker.batch_writer import EVENT_HEADERS, Headers
from vimfed.kafka.aio import ConsumerRecord
from vimfed.model.decoding import UNREADABLE
from vimfed.process.spans import Tracing, ending, failed


class _Told(msgspec.Struct, gc=False):
    """What is read of a notification; the names are those of ``vimfed.model.records``."""

    message_id: str = ""
    event_type: str = ""
    request_id: str | None = None


_decode = msgspec.json.Decoder(_Told).decode


class WorkerTracing:
    """A span for each traced notification: from its fold until all that follows is durable."""

    def __init__(self, tracing: Tracing, group: str) -> None:
        """``group`` is the workers' consumer group."""
        self._tracing = tracing
        self._group = group

    @contextlib.contextmanager
    def __call__(
        self, records: Sequence[ConsumerRecord], folded: FoldedBatch, begun: int
    ) -> Iterator[Iterable[Headers]]:
        """Yield the headers of each event: they carry the trace of what told it.

        The block makes durable what follows.
        """
        spans = self._spans(records[: folded.taken], begun)
        for record, error in folded.rejected if spans else ():
            if record.offset in spans:
                failed(spans[record.offset], error)
        with ending(spans.values()):
            yield (
                self._headers(records, folded, spans) if spans else itertools.repeat(EVENT_HEADERS)
            )

    def _spans(self, records: Sequence[ConsumerRecord], begun: int) -> dict[int, Span]:
        """Return the spans of the records that are traced, by their offsets."""
        spans = {}
        for record in records:
            parent = self._tracing.parent(record.headers)
            if parent is not None:
                name = f"process {record.topic}"
                about = self._about(record)
                spans[record.offset] = self._tracing.span(
                    name, parent, SpanKind.CONSUMER, about, begun
                )
        return spans

    def _about(self, record: ConsumerRecord) -> dict[str, str | int]:
        vim_id, _, instance_id = (record.key or b"").decode(errors="replace").partition("/")
        try:
            told = _decode(record.value or b"")
        except UNREADABLE:  # a dead letter
            told = _Told()
        about: dict[str, Any] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
            "messaging.message.id": told.message_id,
            "vimfed.vim_id": vim_id,
            "vimfed.instance_id": instance_id,
            "vimfed.event_type": told.event_type,
            "vimfed.request_id": told.request_id,
        }
        return {name: value for name, value in about.items() if value not in ("", None)}

    def _headers(
        self, records: Sequence[ConsumerRecord], folded: FoldedBatch, spans: dict[int, Span]
    ) -> Iterator[Headers]:
        told = 0
        for record, until in zip(records, folded.told_until, strict=False):
            span = spans.get(record.offset)
            headers = EVENT_HEADERS
            if span is not None:
                span.set_attribute("vimfed.events", until - told)
                headers = (*EVENT_HEADERS, *self._tracing.headers(span))
            yield from itertools.repeat(headers, until - told)
            told = until
        yield from itertools.repeat(EVENT_HEADERS)
