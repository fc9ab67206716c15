"""The writer into the notifications topic: it returns when Kafka has acknowledged, not before."""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from vimfed.appending import append_all
from vimfed.kafka import MAX_RECORD_BYTES, OutgoingRecord, refusal_of
from vimfed.keys import instance_key, partition_of
from vimfed.records import Notification
from vimfed.renewed_producer import RenewedProducer
from vimfed.settings import KafkaSettings
from vimfed.times import utc_text
from vimfed.topics import TopicNames

LOG = logging.getLogger(__name__)

DELIVERY_TIMEOUT = 120.0
"""Seconds after which a producer that brings no acknowledgement is replaced by a new one."""
REQUEST_TIMEOUT = 20.0
MAX_BACKOFF = 5.0

_encode = msgspec.json.Encoder().encode


class RecordTooLargeError(Exception):
    """A notification is larger than one record may be."""


class RisingClock:
    """The time, but each reading is later than the one before: a wall clock may be set back."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._last = datetime.min.replace(tzinfo=UTC)
        self._lock = threading.Lock()

    def read(self) -> datetime:
        """Return the time in UTC; any thread may ask."""
        with self._lock:
            self._last = max(self._now(), self._last + timedelta(microseconds=1))
            return self._last


_arrivals = RisingClock()


def arrival_time() -> str:
    """Return the time now as notifications carry it: ISO 8601, UTC, microseconds, ``Z``.

    Each answer is later than all before it in this process: what arrives in a session has come
    after the session's begin, and before the begin of the next.
    """
    return utc_text(_arrivals.read())


def notification_record(
    kafka: KafkaSettings, notification: Notification, instance_id: str
) -> OutgoingRecord:
    """Return the record of a notification, keyed by its instance (empty: about none).

    Raises RecordTooLargeError.
    """
    value = _encode(notification)
    key = instance_key(notification.vim_id, instance_id)
    size = len(key) + len(value)
    if size > MAX_RECORD_BYTES:
        raise RecordTooLargeError(f"too large: {size} bytes, a record takes {MAX_RECORD_BYTES}")
    return OutgoingRecord(
        TopicNames(kafka.topic_prefix).notifications,
        partition_of(key, kafka.partitions),
        key,
        value,
    )


class NotificationWriter:
    """Writes records in order and keeps trying; one event loop, any number of concurrent writes.

    A batch that fails is written again as a whole (see RenewedProducer).
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producers = RenewedProducer(kafka, REQUEST_TIMEOUT)
        self.available = False
        """Whether the last write, or the last attempt of one, succeeded."""
        self.trouble = ""
        """Why it did not, in one line, where that is known."""

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
                producer = await self._producers.started()
                async with asyncio.timeout(DELIVERY_TIMEOUT):
                    await append_all(producer, records)
            except (KafkaError, OSError, TimeoutError, AssertionError) as error:
                # AssertionError: aiokafka's way of saying that a partition is not known (yet).
                self.available = False
                self.trouble = refusal_of(self._kafka, error, "Write") or repr(error)
                self._producers.abandon(producer)
                LOG.warning(
                    "Kafka does not take records, trying again in %.1f s: %s",
                    backoff,
                    self.trouble,
                )
                on_retry()
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                backoff = min(2 * backoff, MAX_BACKOFF)
            else:
                self.available = True
                return

    async def close(self) -> None:
        """Close the connections within some seconds; writes must have ended or been cancelled."""
        await self._producers.close()
