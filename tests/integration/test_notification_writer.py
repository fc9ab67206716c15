"""The one writer that a bridge's clouds share, and Kafka's absence."""

import asyncio
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.brokers import new_kafka
from tests.support.topics import headers_of, read_topic
from vimfed.kafka import notification_writer
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import NotificationWriter
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings


async def test_when_one_clouds_write_gives_its_producer_up_the_others_try_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notification_writer, "DELIVERY_TIMEOUT", 6.0)
    monkeypatch.setattr(notification_writer, "SILENCE", 1.0)
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
        assert (writer.available, writer.trouble) == (False, "no answer for 1 s")
        second = asyncio.create_task(write(1))
        await gave_up.wait()
        broker.thaw()
        begun = time.monotonic()
        await asyncio.gather(first, second)
        assert time.monotonic() - begun < 4, "the second does not wait for its own timeout"
        assert writer.available
        await writer.close()
    assert [text for text in caplog.messages if "never retrieved" in text] == []


class Topics:
    """The writer's two topics, made beforehand with settings of somebody else's."""

    def __init__(self, broker: LocalKafka, dead_letter: dict[str, str], **configs: str) -> None:
        self.kafka = KafkaSettings(
            bootstrap=broker.bootstrap,
            partitions=2,
            topic_prefix=f"t{uuid.uuid4().hex[:10]}",
            compression="none",  # what is alike would not be too large any more
        )
        self.names = TopicNames(self.kafka.topic_prefix)
        settings = {name.replace("_", "."): value for name, value in configs.items()}
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        topics = [
            NewTopic(self.names.notifications, 2, 1, config=settings),
            NewTopic(self.names.dead_letter, 2, 1, config=dead_letter),
        ]
        for made in admin.create_topics(topics).values():
            made.result(30)

    def record(
        self, number: int, size: int, key: bytes | None = b"Owner_Region/i"
    ) -> OutgoingRecord:
        value = b"%06d" % number + b"x" * (size - 6)
        return OutgoingRecord(self.names.notifications, number % 2, key, value)

    def written(self) -> list[int]:
        """Return the numbers that are there, without what came twice, partition after partition."""
        records = read_topic(self.kafka.bootstrap, self.names.notifications)
        return list(dict.fromkeys(int((record.value() or b"")[:6]) for record in records))

    def letters(self) -> list[tuple[bytes, dict[str, str]]]:
        return [
            (letter.value() or b"", {name: text.decode() for name, text in headers_of(letter)})
            for letter in read_topic(self.kafka.bootstrap, self.names.dead_letter)
        ]


async def test_batches_are_as_small_as_the_topic_wants_them(kafka: LocalKafka) -> None:
    topics = Topics(kafka, {}, max_message_bytes="20000")
    writer = NotificationWriter(topics.kafka)
    retries: list[None] = []
    refused: list[None] = []

    async def write(first: int) -> None:
        records = [topics.record(first + number, 1500) for number in range(400)]
        await writer.write(records, lambda: retries.append(None), lambda: refused.append(None))

    async with asyncio.timeout(60):
        await write(0)
        await write(400)
    await writer.close()
    assert topics.written() == [*range(0, 800, 2), *range(1, 800, 2)]
    assert retries == refused == topics.letters() == []


async def test_a_record_that_alone_is_too_large_blocks_neither_its_cloud_nor_others(
    kafka: LocalKafka, caplog: pytest.LogCaptureFixture
) -> None:
    topics = Topics(kafka, {}, max_message_bytes="20000")
    writer = NotificationWriter(topics.kafka)
    refused: list[None] = []

    async def write(first: int, *sizes: int) -> None:
        records = [topics.record(first + 2 * n, size) for n, size in enumerate(sizes)]
        await writer.write(records, on_refused=lambda: refused.append(None))

    async with asyncio.timeout(60):
        await asyncio.gather(write(0, 100, 30_000, 100), write(1, *[100] * 50))
    await writer.close()
    assert topics.written() == [0, 4, *range(1, 101, 2)]
    [(value, headers)] = topics.letters()
    assert value == topics.record(2, 30_000).value
    assert headers["source"] == topics.names.notifications
    assert headers["error"] == "Kafka refuses it: MessageSizeTooLargeError"
    assert headers["vim_id"] == "Owner_Region"
    assert len(refused) == 1
    assert [text for text in caplog.messages if "never retrieved" in text] == []


async def test_a_dead_letter_that_is_too_large_itself_is_cut(kafka: LocalKafka) -> None:
    topics = Topics(kafka, {"max.message.bytes": "5000"}, max_message_bytes="20000")
    writer = NotificationWriter(topics.kafka)
    async with asyncio.timeout(60):
        await writer.write([topics.record(0, 30_000), topics.record(2, 100)])
    await writer.close()
    assert topics.written() == [2]
    [(value, headers)] = topics.letters()
    assert value == topics.record(0, 3750).value
    assert headers["size"] == "30000"


async def test_a_record_that_its_topic_never_takes_becomes_a_dead_letter(kafka: LocalKafka) -> None:
    topics = Topics(kafka, {}, cleanup_policy="compact")
    writer = NotificationWriter(topics.kafka)
    async with asyncio.timeout(60):
        await writer.write([topics.record(n, 100, None if n == 2 else b"key") for n in (0, 2, 4)])
    await writer.close()
    assert topics.written() == [0, 4]
    assert [headers["error"] for _value, headers in topics.letters()] == [
        "Kafka refuses it: InvalidRecordError"
    ]
