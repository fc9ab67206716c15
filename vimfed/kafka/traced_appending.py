"""A span for each traced record that is appended to a topic of the job."""

import contextlib
from collections.abc import Iterator, Sequence

from opentelemetry.trace import Span, SpanKind

from vimfed.kafka.aio import AIOKafkaProducer
from vimfed.kafka.appending import Appended, append_all
from vimfed.kafka.clients import OutgoingRecord
from vimfed.process.spans import Tracing, ending, now


@contextlib.contextmanager
def appending(tracing: Tracing, records: Sequence[OutgoingRecord]) -> Iterator[None]:
    """Tell how long the block took to append the records: until Kafka had acknowledged them."""
    spans: list[Span] = []
    begun = now()
    for record in records:
        parent = tracing.parent(record.headers)
        if parent is not None:
            attributes = {
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.operation.name": "send",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
            }
            spans.append(
                tracing.span(f"send {record.topic}", parent, SpanKind.PRODUCER, attributes, begun)
            )
    with ending(spans):
        yield


class TracedAppend:
    """``append_all`` with the spans of ``appending``."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def __call__(
        self, producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]
    ) -> dict[tuple[str, int], Appended]:
        """Append records; raises as ``append_all`` does."""
        with appending(self._tracing, records):
            return await append_all(producer, records)
