"""The dead-letter topic: what could not be handled, as it came, with the reason in its headers."""

from typing import Literal, NamedTuple

from aiokafka.structs import ConsumerRecord

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.connect_headers import Place, Stage, connect_headers
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.topics import TopicNames
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.nova.oslo import MAX_BODY_BYTES, without_context
from vimfed.settings import KafkaSettings

MAX_VALUE_BYTES = MAX_RECORD_BYTES - 100_000
"""What is larger is cut: one record has to take it, with its key and headers."""
MAX_KEY_BYTES = MAX_VALUE_BYTES // 2
_MAX_ERROR_BYTES = 1000

Origin = Literal["cloud", "telemetry", "notifications", "events", "samples", "measurements"]
"""Whose bytes they are: a cloud's, as notifications (``cloud``) or as samples (``telemetry``), or a
record's of one of the job's own topics.

``source`` is text of others where a cloud sent it (a routing key), and decides nothing.
"""
ORIGIN = "origin"
"""Header that says so. Nobody but the job writes to the dead-letter topic."""
ONLY_OUTPUT = "output"
"""Header of an event that is for one output alone, since the others have had it: its name."""


class Failure(NamedTuple):
    """Who could not handle the bytes, and at which of Kafka Connect's stages."""

    part: str
    stage: Stage


_INTAKE = Failure("intake", "VALUE_CONVERTER")
"""A bridge, or a worker that takes what is pushed."""
_WORKER = Failure("worker", "TRANSFORMATION")
_PUBLISHER = Failure("publisher", "TASK_PUT")
_FAILURES: dict[Origin, Failure] = {
    "cloud": _INTAKE,
    "telemetry": _INTAKE,
    "notifications": _WORKER,
    "samples": _WORKER,
    "events": _PUBLISHER,
    "measurements": _PUBLISHER,
}
NOT_WRITTEN = Failure("intake", "KAFKA_PRODUCE")
"""Of a record that Kafka does not take."""
UNFIT = Failure("publisher", "VALUE_CONVERTER")
"""Of a record that a publisher cannot read."""


def dead_letter_record(
    kafka: KafkaSettings,
    value: bytes,
    error: str,
    *,
    source: str,
    key: bytes | None = None,
    partition: int | None = None,
    offset: int | None = None,
    vim_id: str = "",
    output: str = "",
    origin: Origin = "cloud",
    failure: Failure | None = None,
) -> OutgoingRecord:
    """Return the record that keeps ``value`` on the dead-letter topic.

    ``source`` is the topic or queue from which the bytes came, ``partition`` and ``offset`` their
    place there (None: a queue has neither). The bytes stay as they came but for the oslo context,
    which may hold tokens; where they are too large for a record, the header ``size`` tells how
    many there were. A key, which may be anything on a cloud's topic, is cut, too.

    Headers, all UTF-8 text: ``origin``, ``source``, ``partition``, ``offset``, ``error``,
    ``vim_id``, ``output`` (to which an event could not be delivered), ``size``; those that do not
    apply are absent. Beside them stand Kafka Connect's, which ``failure`` fills; None: what follows
    from the origin.
    """
    kept = without_context(value)
    size = len(value) if len(value) > MAX_BODY_BYTES else len(kept)
    kept_key = None if key is None else key[:MAX_KEY_BYTES]
    room = MAX_VALUE_BYTES - len(kept_key or b"")
    place = Place() if partition is None or offset is None else Place(source, partition, offset)
    part, stage = failure or _FAILURES[origin]
    headers = {
        ORIGIN: origin,
        "source": source,
        "partition": partition,
        "offset": offset,
        "error": error,
        "vim_id": vim_id or None,
        ONLY_OUTPUT: output or None,
        "size": size if size > room else None,
        **connect_headers(
            place, "-".join(filter(None, (kafka.topic_prefix, part, output))), stage, error
        ),
    }
    return OutgoingRecord(
        topic=TopicNames(kafka.topic_prefix).dead_letter,
        partition=partition_of(key if key is not None else vim_id.encode(), kafka.partitions),
        key=kept_key,
        value=kept[:room],
        headers=tuple(
            (name, _cut(str(header))) for name, header in headers.items() if header is not None
        ),
    )


def _cut(header: str) -> bytes:
    """Return the UTF-8 of a header's text, without what is too long, or half a character."""
    return header.encode()[:_MAX_ERROR_BYTES].decode(errors="ignore").encode()


def dead_letter_of(
    kafka: KafkaSettings,
    record: ConsumerRecord,
    error: str,
    *,
    vim_id: str = "",
    output: str = "",
    origin: Origin = "cloud",
    failure: Failure | None = None,
) -> OutgoingRecord:
    """Return the record that keeps a consumed one on the dead-letter topic."""
    return dead_letter_record(
        kafka,
        record.value or b"",
        error,
        source=record.topic,
        key=record.key,
        partition=record.partition,
        offset=record.offset,
        vim_id=vim_id,
        output=output,
        origin=origin,
        failure=failure,
    )
