"""Topics that are gone while processes run: nobody makes them by accident, and it is told."""

import asyncio
import contextlib
import uuid

import pytest
from confluent_kafka.admin import AdminClient

from bridge import service
from tests.support.vm_events import create_topics
from vimfed.kafka import topic_watch
from vimfed.kafka.aio import KafkaError, TopicPartition
from vimfed.kafka.clients import (
    TopicMismatchError,
    close_undelivered,
    idempotent_producer,
    new_admin,
    new_consumer,
)
from vimfed.kafka.rights import worker_needs
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.settings import BridgeSettings, KafkaSettings, Settings


async def test_no_client_has_a_topic_made_by_asking_for_it(kafka: LocalKafka) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    topics = {which: f"absent-{which}-{uuid.uuid4().hex}" for which in ("read", "written", "asked")}
    producer, admin = idempotent_producer(settings), new_admin(settings)
    consumer = new_consumer(settings)
    await producer.start()
    await consumer.start()
    await admin.start()
    try:
        consumer.assign([TopicPartition(topics["read"], 0)])
        for asking in (
            producer.send_and_wait(topics["written"], b"value"),
            consumer.getmany(timeout_ms=1000),
            admin.describe_topics([topics["asked"]]),
        ):
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(2):
                    await asking
        there = await admin.list_topics()
    finally:
        await close_undelivered(producer)
        await consumer.stop()
        await admin.close()
    assert not set(topics.values()).intersection(there)


async def test_a_topic_that_is_gone_or_was_made_anew_is_told(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_watch, "LOOK_EVERY", 0.2)
    prefix = f"t{uuid.uuid4().hex[:8]}"
    await create_topics(kafka.bootstrap, prefix)
    settings = KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix)
    needs, name = worker_needs(settings), TopicNames(prefix).notifications
    watch = asyncio.create_task(topic_watch.wrong_topic(settings, needs))
    done, _ = await asyncio.wait([watch], timeout=2)
    assert not done
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (deleted,) = admin.delete_topics([name]).values()
    await asyncio.to_thread(deleted.result)
    async with asyncio.timeout(20):
        assert f"topic {name} is gone" in str(await watch)
        with contextlib.suppress(TopicMismatchError):  # of the others
            await create_topics(kafka.bootstrap, prefix, partitions=1)
        told = str(await topic_watch.wrong_topic(settings, needs))
    assert f"topic {name} has 1 partitions" in told


async def test_a_bridge_whose_topic_is_gone_ends_with_the_cure(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_watch, "LOOK_EVERY", 0.2)
    prefix = f"t{uuid.uuid4().hex[:8]}"
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix),
        bridge=BridgeSettings(port=0),
    )
    bridge = service._Bridge(settings, None)
    running = asyncio.create_task(bridge.run())
    async with asyncio.timeout(20):
        await bridge._surroundings.topics_ready.wait()
    done, _ = await asyncio.wait([running], timeout=1)
    assert not done
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    name = TopicNames(prefix).notifications
    (deleted,) = admin.delete_topics([name]).values()
    await asyncio.to_thread(deleted.result)
    with pytest.raises(TopicMismatchError, match=f"topic {name} is gone"):
        async with asyncio.timeout(30):
            await running
