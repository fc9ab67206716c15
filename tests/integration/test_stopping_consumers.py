"""A consumer is stopped while its broker is away, which is when most are."""

import asyncio
import uuid
from typing import Any

from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from vimfed.kafka.clients import new_consumer
from vimfed.kafka.topic_checks import ensure_topic
from vimfed.kafka.topics import TopicSpec
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings


async def test_who_stops_a_consumer_whose_fetch_has_failed_goes_on(kafka: LocalKafka) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    topic = f"t{uuid.uuid4().hex}"
    await ensure_topic(settings, TopicSpec(topic, 1, 1, {}))
    consumer = new_consumer(settings, retry_backoff_ms=60_000)
    await consumer.start()
    send, failed = consumer._client.send, asyncio.Event()

    async def away(node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await send(node, request, **options)
        failed.set()
        raise NodeNotReadyError

    consumer._client.send = away
    consumer.assign([TopicPartition(topic, 0)])
    await failed.wait()
    await consumer.stop()
    connections = consumer._client._conns.values()
    assert [connection for connection in connections if connection.connected()] == []
    assert consumer._fetcher._fetch_task.done()
