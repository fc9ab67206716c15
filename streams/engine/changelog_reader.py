"""Read a range of a changelog partition, to its end also where no record lies there."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from vimfed.errors import OperatorError

DEADLINE = 30.0
"""Seconds without a record after which reading is given up."""
POLL_MS = 500


class UnreadableChangelogError(OperatorError):
    """Kafka does not give what lies on the changelog."""


async def read_range(
    consumer: AIOKafkaConsumer, source: TopicPartition, begin: int, end: int
) -> list[ConsumerRecord]:
    """Return the records of ``source`` from offset ``begin`` to before ``end``.

    There may be none: compaction removes records, and a transaction's marker is none. So it is not
    a record that ends the reading, but the position of ``consumer``, which is assigned ``source``
    here. Raises UnreadableChangelogError where Kafka does not answer in time.
    """
    consumer.assign([source])
    consumer.seek(source, begin)
    found: list[ConsumerRecord] = []
    try:
        while await _next_offset(consumer, source) < end:
            async with asyncio.timeout(DEADLINE):
                found += await _some(consumer, source)
    except TimeoutError:
        raise UnreadableChangelogError(
            f"Kafka does not give {source.topic}-{source.partition} from offset {begin} on within "
            f"{DEADLINE:.0f} s: is the leader of that partition there?"
        ) from None
    return [record for record in found if record.offset < end]


async def read_first(
    consumer: AIOKafkaConsumer, source: TopicPartition, begin: int, end: int
) -> ConsumerRecord | None:
    """Return the first record from ``begin`` on; None where none is there before ``end``.

    Otherwise as :func:`read_range`.
    """
    found = await read_range(consumer, source, begin, min(begin + 1, end))
    return found[0] if found else None


async def _next_offset(consumer: AIOKafkaConsumer, source: TopicPartition) -> int:
    async with asyncio.timeout(DEADLINE):
        position: int = await consumer.position(source)
    return position


async def _some(consumer: AIOKafkaConsumer, source: TopicPartition) -> list[ConsumerRecord]:
    """Return some records, or none once the position has moved over what is none."""
    before = await consumer.position(source)
    while True:
        fetched = await consumer.getmany(source, timeout_ms=POLL_MS)
        if fetched or await consumer.position(source) > before:
            return list(fetched.get(source, ()))
