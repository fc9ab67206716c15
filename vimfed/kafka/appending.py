"""Appending many records to topics, and the proof that they are there."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer, errors
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from vimfed.kafka.clients import OutgoingRecord

T = TypeVar("T")


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka's types
    """A record does not pass what the broker checks, e.g. it has no key on a compacted topic.

    aiokafka does not know the number, and takes it for an unknown error.
    """

    errno = 87
    message = "INVALID_RECORD"
    description = "The broker's checks refuse the record."


errors.kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

RECORD_REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTimestampError,
    InvalidRecordError,
)
"""What Kafka says of a record, or of several together, that it will not take later either.

It does not say which record it means: write the halves one after the other, and dead-letter what is
refused alone.
"""


def halves(group: Sequence[T]) -> list[Sequence[T]]:
    """Return the first and the second half of a group of more than one."""
    half = len(group) // 2
    return [group[:half], group[half:]]


class Appended(NamedTuple):
    """Where a run of records lies that Kafka has acknowledged."""

    first_offset: int
    next_offset: int
    contiguous: bool
    """False where somebody else's records lie between ours."""


async def append_all(
    producer: AIOKafkaProducer, records: Iterable[OutgoingRecord]
) -> dict[tuple[str, int], Appended]:
    """Append records, in order within each partition; return once all are acknowledged.

    The answer says for each (topic, partition) where they lie. Raises KafkaError where one cannot
    be written; others of the same call may have been.
    """
    by_partition: dict[tuple[str, int], list[OutgoingRecord]] = {}
    for record in records:
        by_partition.setdefault((record.topic, record.partition), []).append(record)
    if len(by_partition) == 1:  # as for a batch of the worker: a task of its own has its price
        ((place, share),) = by_partition.items()
        return {place: await _append(producer, *place, share)}
    appends = [
        asyncio.ensure_future(_append(producer, topic, partition, share))
        for (topic, partition), share in by_partition.items()
    ]
    try:
        return dict(zip(by_partition, await asyncio.gather(*appends), strict=True))
    finally:
        for append in appends:
            append.cancel()


async def _append(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[OutgoingRecord]
) -> Appended:
    """Append the records of one partition, request after request.

    aiokafka's own batches cost a tenth of a ``send`` per record. The next one waits for the
    acknowledgement of the one before: nothing can be written after a gap.
    """
    offsets: list[tuple[int, int]] = []
    batch = producer.create_batch()
    for record in records:
        while (
            batch.append(
                key=record.key, value=record.value, timestamp=None, headers=list(record.headers)
            )
            is None
        ):
            offsets.append(await _send(producer, batch, topic, partition))
            batch = producer.create_batch()
    offsets.append(await _send(producer, batch, topic, partition))
    contiguous = all(
        offset + count == following
        for (offset, count), (following, _) in itertools.pairwise(offsets)
    )
    last, count = offsets[-1]
    return Appended(offsets[0][0], last + count, contiguous)


async def _send(
    producer: AIOKafkaProducer, batch: BatchBuilder, topic: str, partition: int
) -> tuple[int, int]:
    """Send a batch and return its first offset and the number of its records."""
    try:
        metadata: RecordMetadata = await (
            await producer.send_batch(batch, topic, partition=partition)
        )
    except RECORD_REFUSALS as error:
        raise type(error)(f"topic {topic}, {batch.record_count()} records") from None
    except UnknownError:  # without a word on what it is about
        raise UnknownError(
            f"topic {topic}, partition {partition}, {batch.record_count()} records: the broker "
            "failed to write them and does not say why (UNKNOWN_SERVER_ERROR, or an error that "
            "aiokafka does not know); the log of the partition's leader does"
        ) from None
    return metadata.offset, batch.record_count()
