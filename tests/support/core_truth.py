"""What the pure core makes of everything on the notifications topic: what must have come out."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import Message

from streams.core.fold import fold
from tests.support.topics import read_topic
from vimfed.kafka.topics import TopicNames
from vimfed.model.records import VmEvent, decode_event


class Record(NamedTuple):
    """A record on a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, str]
    timestamp: int
    """In ms since 1970."""


def _headers(message: Message) -> dict[str, str]:
    headers: Any = message.headers() or []
    return {name: value.decode() for name, value in headers}


def records_on(bootstrap: str, topic: str) -> list[Record]:
    """Return all records that lie on a topic now, in order within each partition."""
    return [
        Record(
            topic,
            message.partition() or 0,
            message.offset() or 0,
            bytes(message.key() or b""),
            bytes(message.value() or b""),
            _headers(message),
            message.timestamp()[1],
        )
        for message in read_topic(bootstrap, topic)
    ]


class CoreTruth(NamedTuple):
    """Rows by key, as they are encoded, and events by id."""

    rows: dict[bytes, bytes | None]
    events: dict[str, VmEvent]


def core_truth(bootstrap: str, names: TopicNames) -> CoreTruth:
    """Fold everything on the notifications topic in one go."""
    return folded(records_on(bootstrap, names.notifications))


def folded(notifications: Iterable[Record]) -> CoreTruth:
    """Fold records of the notifications topic in one go, in order within each partition."""
    by_partition: dict[int, list[Any]] = {}
    for record in notifications:
        by_partition.setdefault(record.partition, []).append(record)
    truth = CoreTruth({}, {})
    for records in by_partition.values():
        folded = fold(records, lambda _key: None)
        assert not folded.rejected
        truth.rows.update(folded.rows)
        for _key, value in folded.events:
            event = decode_event(value)
            truth.events[event.id] = event
    return truth


def newest_values(bootstrap: str, topic: str) -> dict[bytes, bytes]:
    """Return the last value of each key on a topic."""
    return {record.key: record.value for record in records_on(bootstrap, topic)}
