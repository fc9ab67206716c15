"""Reading what lies on Kafka's topics."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tests.support.bridge_process import eventually


def read_topic(bootstrap: str, topic: str, **options: Any) -> list[Message]:
    """Return every record on a topic now, partition after partition; none without a topic.

    ``options`` are librdkafka's, e.g. for TLS.
    """
    with _consumer(bootstrap, options) as consumer:
        ends = _ends(consumer, topic)
        records: dict[int, list[Message]] = {partition: [] for partition in ends}
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        while ends:
            for message in consumer.consume(1000, timeout=1.0):
                if message.error():
                    raise KafkaException(message.error())
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                records[partition].append(message)
                if offset + 1 >= ends.get(partition, 0):
                    ends.pop(partition, None)
    return [message for partition in sorted(records) for message in records[partition]]


def count_records(bootstrap: str, topic: str, **options: Any) -> int:
    """Return how many records were ever written to a topic, from its offsets alone."""
    with _consumer(bootstrap, options) as consumer:
        return sum(_ends(consumer, topic).values())


@contextmanager
def _consumer(bootstrap: str, options: dict[str, Any]) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
            **options,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """Return the next offset of each partition that holds records."""
    deadline = time.monotonic() + 60
    while True:
        metadata = consumer.list_topics(topic, timeout=30).topics[topic]
        if metadata.error is not None:
            return {}
        partitions = [TopicPartition(topic, partition) for partition in metadata.partitions]
        try:
            marks = [consumer.get_watermark_offsets(each, timeout=5) for each in partitions]
        except KafkaException:
            # A broker that was frozen or restarted leads its partitions only after a moment.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            ends = zip(partitions, marks, strict=True)
            return {each.partition: high for each, (low, high) in ends if high > low}


def values(bootstrap: str, topic: str, **options: Any) -> list[dict[str, Any]]:
    """Return every record's JSON value."""
    return [
        json.loads(message.value() or b"null")
        for message in read_topic(bootstrap, topic, **options)
    ]


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    """Return a record's headers (the library's types allow more than it ever returns)."""
    return cast("list[tuple[str, bytes]]", message.headers() or [])


def wait_for_records(
    bootstrap: str, topic: str, count: int, *, timeout: float = 30.0, **options: Any
) -> list[Message]:
    """Wait until a topic has at least ``count`` records, and return all of them."""
    found = 0

    def enough() -> bool:
        nonlocal found
        found = count_records(bootstrap, topic, **options)
        return found >= count

    try:
        eventually(enough, f"{count} records on {topic}", timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}; there are {found}") from None
    return read_topic(bootstrap, topic, **options)
