"""The writer into the notifications topic: it returns when Kafka has acknowledged, not before."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from vimfed.appending import append_all
from vimfed.kafka import (
    CLOSE_TIMEOUT,
    MAX_RECORD_BYTES,
    OutgoingRecord,
    close_undelivered,
    idempotent_producer,
)
from vimfed.keys import instance_key, partition_of
from vimfed.records import Notification
from vimfed.settings import KafkaSettings
from vimfed.topics import TopicNames

LOG = logging.getLogger(__name__)

DELIVERY_TIMEOUT = 120.0
"""Seconds after which a producer that brings no acknowledgement is replaced by a new one."""
START_TIMEOUT = 30.0
MAX_BACKOFF = 5.0

_encode = msgspec.json.Encoder().encode


class RecordTooLargeError(Exception):
    """A notification is larger than one record may be."""


def notification_record(
    kafka: KafkaSettings, notification: Notification, instance_id: str
) -> OutgoingRecord:
    """Return the record of a notification, keyed by its instance (empty: about none).

    Raises RecordTooLargeError.
    """
    value = _encode(notification)
    if len(value) > MAX_RECORD_BYTES:
        raise RecordTooLargeError(
            f"too large: {len(value)} bytes, a record takes {MAX_RECORD_BYTES}"
        )
    key = instance_key(notification.vim_id, instance_id)
    return OutgoingRecord(
        TopicNames(kafka.topic_prefix).notifications,
        partition_of(key, kafka.partitions),
        key,
        value,
    )


class NotificationWriter:
    """Writes records in order and keeps trying; one event loop, any number of concurrent writes.

    A producer that fails is abandoned, since an idempotent one cannot go on after a gap in its
    sequence, and the batch is written again as a whole by a new one: around failures records come
    twice, but the first occurrences keep their order, and none is missing.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.available = False
        """Whether the last write, or the last attempt of one, succeeded."""

    async def write(
        self, records: Sequence[OutgoingRecord], on_retry: Callable[[], None] = lambda: None
    ) -> None:
        """Return when all records are acknowledged; retries without end, so cancel it to give up.

        ``on_retry`` is called before each further attempt. After a cancellation records may have
        been written or not.
        """
        backoff = 0.1
        while True:
            producer: AIOKafkaProducer | None = None
            try:
                producer = await self._started_producer()
                async with asyncio.timeout(DELIVERY_TIMEOUT):
                    await append_all(producer, records)
            except (KafkaError, OSError, TimeoutError, AssertionError) as error:
                # AssertionError: aiokafka's way of saying that a partition is not known (yet).
                self.available = False
                self._abandon(producer)
                LOG.warning(
                    "Kafka does not take records, trying again in %.1f s: %r", backoff, error
                )
                on_retry()
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                backoff = min(2 * backoff, MAX_BACKOFF)
            else:
                self.available = True
                return

    async def close(self) -> None:
        """Close the connections within some seconds; writes must have ended or been cancelled."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await producer.stop()
            self._abandon(producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_TIMEOUT)
        for task in self._closing:
            task.cancel()

    async def _started_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = idempotent_producer(self._kafka, request_timeout_ms=20_000)
                try:
                    async with asyncio.timeout(START_TIMEOUT):
                        await producer.start()
                except BaseException:
                    self._close_later(producer)
                    raise
                self._producer = producer
            return self._producer

    def _abandon(self, producer: AIOKafkaProducer | None) -> None:
        """Close a failed producer in the background, without delivering what it still holds."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._close_later(producer)

    def _close_later(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(close_undelivered(producer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
