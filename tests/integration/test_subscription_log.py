"""The subscriptions topic is followed, and Kafka asked for no more than somebody wants to know."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from streams.subscriptions import log as subscription_log
from streams.subscriptions.filters import Subscription, SubscriptionHistory
from streams.subscriptions.log import SubscriptionLog, encoded
from vimfed.kafka.aio import TopicPartition
from vimfed.kafka.rights import Need
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings

PAUSES = Subscription(kinds=("PAUSE",))


@pytest.fixture
async def followed(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SimpleNamespace]:
    """A followed topic, of which nobody asks by himself."""
    monkeypatch.setattr(subscription_log, "ASK_EVERY", 3600.0)
    settings = KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=f"s{uuid.uuid4().hex[:8]}")
    topic = TopicNames(settings.topic_prefix).subscriptions
    await ensure_topics(settings, [Need("topic", topic, ("Read", "Write"), "")])
    history = SubscriptionHistory(None, kept=0)
    async with asyncio.timeout(60), SubscriptionLog(settings, history).followed() as log:
        await log.known(time.monotonic())
        consumer, partition = log._consumer, TopicPartition(topic, 0)
        yield SimpleNamespace(log=log, consumer=consumer, partition=partition)


async def test_who_needs_to_know_is_told_at_once_what_was_written_before(
    followed: SimpleNamespace,
) -> None:
    for number in range(3):
        await followed.log.append(f"mine-{number}".encode(), encoded(PAUSES))
        await followed.log.known(time.monotonic())
        assert followed.log.history.current()[f"mine-{number}"] == PAUSES
    await followed.log.append(b"mine-0", None)
    await followed.log.known(time.monotonic())
    assert sorted(followed.log.history.current()) == ["mine-1", "mine-2"]


async def test_where_all_has_been_read_nothing_is_fetched_until_there_is_more(
    followed: SimpleNamespace,
) -> None:
    assert followed.consumer.paused() == {followed.partition}
    await followed.log.append(b"mine", encoded(PAUSES))
    await followed.log.known(time.monotonic())
    assert followed.log.history.current() == {"mine": PAUSES}
    assert followed.consumer.paused() == {followed.partition}
