"""The archive of Kafka's classes, which many brokers of the tests start with.

``python -m tests.support.kafka_classes`` makes it where it is missing: once for a Kafka and a Java.
"""

import tempfile
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.brokers import new_kafka
from vimfed.local.kafka import LocalKafka

TIMEOUT = 120.0
"""Seconds that the broker may take to start, and Java to write at its end."""
TOPIC = "any"


def kafka_classes() -> Path:
    """Return the archive; make it where it is missing."""
    with tempfile.TemporaryDirectory(prefix="kafka-classes-") as folder:
        kafka = new_kafka(Path(folder))
        return kafka.make_class_archive(lambda: _write_and_read(kafka), TIMEOUT)


def _write_and_read(kafka: LocalKafka) -> None:
    client: dict[str, str | int | float | bool]
    client = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}
    topic = NewTopic(TOPIC, num_partitions=1, replication_factor=1)
    admin = AdminClient(client)
    admin.create_topics([topic])[TOPIC].result(timeout=60)
    producer = Producer({**client, "enable.idempotence": True, "compression.type": "lz4"})
    producer.produce(TOPIC, b"value", b"key")
    assert producer.flush(60) == 0
    consumer = Consumer({**client, "group.id": TOPIC, "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    assert consumer.poll(60) is not None
    consumer.close()


if __name__ == "__main__":
    kafka_classes()
