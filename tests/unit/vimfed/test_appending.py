"""What an error says for which the brokers have no words."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError

from vimfed.kafka.appending import append_all
from vimfed.kafka.clients import OutgoingRecord, close_undelivered, idempotent_producer
from vimfed.settings import KafkaSettings


class Refusing:
    """A producer whose every batch the broker answers with UNKNOWN_SERVER_ERROR."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.create_batch = producer.create_batch

    async def send_batch(self, _batch: Any, _topic: str, *, partition: int) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.set_exception(UnknownError())
        return answer


async def test_an_error_without_words_gets_a_topic_a_meaning_and_a_cure() -> None:
    producer = idempotent_producer(KafkaSettings())
    refusing = cast(AIOKafkaProducer, Refusing(producer))
    with pytest.raises(UnknownError) as refused:
        await append_all(refusing, [OutgoingRecord("vimfed.notifications", 3, b"k", b"v")])
    told = repr(refused.value)
    assert "topic vimfed.notifications, partition 3, 1 records" in told
    assert "UNKNOWN_SERVER_ERROR" in told
    assert "the log of the partition's leader" in told
    await close_undelivered(producer)
