"""The one writer that a bridge's clouds share, and Kafka's absence."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.brokers import new_kafka
from vimfed import notification_writer
from vimfed.kafka import OutgoingRecord, ensure_topics
from vimfed.notification_writer import NotificationWriter
from vimfed.settings import KafkaSettings
from vimfed.topics import TopicNames


async def test_when_one_clouds_write_gives_its_producer_up_the_others_try_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notification_writer, "DELIVERY_TIMEOUT", 6.0)
    with new_kafka(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap, partitions=2)
        await ensure_topics(kafka)
        writer = NotificationWriter(kafka)
        topic = TopicNames(kafka.topic_prefix).notifications

        gave_up = asyncio.Event()

        async def write(partition: int) -> None:
            records = [OutgoingRecord(topic, partition, b"key", b"value")]
            await writer.write(records, gave_up.set)

        await asyncio.gather(write(0), write(1))
        broker.freeze()
        first = asyncio.create_task(write(0))
        await asyncio.sleep(5)
        second = asyncio.create_task(write(1))
        await gave_up.wait()
        broker.thaw()
        begun = time.monotonic()
        await asyncio.gather(first, second)
        assert time.monotonic() - begun < 4, "the second does not wait for its own timeout"
        await writer.close()
    assert [text for text in caplog.messages if "never retrieved" in text] == []
