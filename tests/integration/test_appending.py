"""What Kafka says of records that it will not take later either."""

import uuid

import pytest

from vimfed.kafka.appending import RECORD_REFUSALS, InvalidRecordError, append_all
from vimfed.kafka.clients import OutgoingRecord, idempotent_producer
from vimfed.kafka.topic_checks import ensure_topic
from vimfed.kafka.topics import TopicSpec
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings


async def refusal(kafka: LocalKafka, topic_configs: dict[str, str], record: bytes) -> Exception:
    """Return what a topic of these settings says of a record without a key."""
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    topic = f"t{uuid.uuid4().hex}"
    await ensure_topic(settings, TopicSpec(topic, 1, 1, topic_configs))
    producer = idempotent_producer(settings)
    await producer.start()
    try:
        refused: pytest.ExceptionInfo[Exception]
        with pytest.raises(RECORD_REFUSALS) as refused:
            await append_all(producer, [OutgoingRecord(topic, 0, None, record)])
        return refused.value
    finally:
        await producer.stop()


async def test_what_kafka_refuses_of_a_record_is_known_from_what_may_pass(
    kafka: LocalKafka,
) -> None:
    await refusal(kafka, {"max.message.bytes": "1000"}, b"x" * 2000)
    no_key = await refusal(kafka, {"cleanup.policy": "compact"}, b"x")
    assert isinstance(no_key, InvalidRecordError)
