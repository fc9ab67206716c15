"""The writer of notifications and samples: it returns when Kafka has acknowledged, not before."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from vimfed.kafka.appending import RECORD_REFUSALS, append_all
from vimfed.kafka.clients import OutgoingRecord, own_compression, refusal_of
from vimfed.kafka.dead_letter import NOT_WRITTEN, dead_letter_record
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.renewed_producer import RenewedProducer
from vimfed.kafka.topics import TopicNames
from vimfed.model.keys import cloud_key, host_key, instance_key
from vimfed.model.records import MAX_RECORD_BYTES, Notification, Source, schema_headers
from vimfed.model.times import utc_text
from vimfed.nova.alert_report import clock_notification
from vimfed.nova.host_report import CloudReport, Heartbeat, HostReport, report_notification
from vimfed.process.backoff import Backoff
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

DELIVERY_TIMEOUT = 120.0
"""Seconds after which a producer that brings no acknowledgement is replaced by a new one."""
SILENCE = 10.0
"""Seconds without an acknowledgement after which Kafka is said not to take records."""
REQUEST_TIMEOUT = 20.0
MAX_BACKOFF = 5.0

_encode = msgspec.json.Encoder().encode


_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


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
    key = instance_key(notification.vim_id, instance_id)
    return _record(kafka, notification, key, partition_of(key, kafka.partitions))


def report_records(
    kafka: KafkaSettings,
    vim_id: str,
    report: HostReport | CloudReport,
    *,
    source: Source,
    timestamp: str,
    received_at: str,
) -> list[OutgoingRecord]:
    """Return the records of a report about a host or a cloud: one for each partition."""
    key = host_key(vim_id, report.host) if isinstance(report, HostReport) else cloud_key(vim_id)
    home = partition_of(key, kafka.partitions)
    stamps = {"source": source, "timestamp": timestamp, "received_at": received_at}
    away, at_home = (
        report_notification(vim_id, msgspec.structs.replace(report, is_home=is_home), **stamps)
        for is_home in (False, True)
    )
    return [
        _record(kafka, at_home if partition == home else away, key, partition)
        for partition in range(kafka.partitions)
    ]


def heartbeat_record(
    kafka: KafkaSettings, vim_id: str, heartbeat: Heartbeat, *, received_at: str
) -> OutgoingRecord:
    """Return the record of a heartbeat, in the partition of its cloud's key."""
    key = cloud_key(vim_id)
    notification = report_notification(
        vim_id, heartbeat, source="oslo", timestamp=received_at, received_at=received_at
    )
    return _record(kafka, notification, key, partition_of(key, kafka.partitions))


def alert_record(kafka: KafkaSettings, notification: Notification, home: bytes) -> OutgoingRecord:
    """Return the record of an alert; ``home``: the ``home_key`` of what it is about.

    Raises RecordTooLargeError.
    """
    return _record(kafka, notification, home, partition_of(home, kafka.partitions))


def clock_record(kafka: KafkaSettings, vim_id: str, now: str, partition: int) -> OutgoingRecord:
    """Return the record that tells a partition what time it is."""
    return _record(kafka, clock_notification(vim_id, now), cloud_key(vim_id), partition)


def _record(
    kafka: KafkaSettings, notification: Notification, key: bytes, partition: int
) -> OutgoingRecord:
    value = _encode(notification)
    size = len(key) + len(value)
    if size > MAX_RECORD_BYTES:
        raise RecordTooLargeError(f"too large: {size} bytes, a record takes {MAX_RECORD_BYTES}")
    return OutgoingRecord(
        TopicNames(kafka.topic_prefix).notifications,
        partition,
        key,
        value,
        schema_headers(notification.schema_version),
    )


class NotificationWriter:
    """Writes records in order and keeps trying; one event loop, any number of concurrent writes.

    A batch that fails is written again as a whole (see RenewedProducer). One that Kafka refuses for
    ever is halved, until the record is found that it does not take: that becomes a dead letter, for
    it must block neither its cloud nor, as each refusal costs the producer, the others.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producers = RenewedProducer(kafka, REQUEST_TIMEOUT, **own_compression(kafka))
        self._most_bytes = MAX_RECORD_BYTES * kafka.partitions
        """What one append may have: halved whenever a topic's max.message.bytes is below it."""
        self.available = False
        """Whether the last write, or the last attempt of one, succeeded, and none hangs since."""
        self.trouble = ""
        """Why it did not, in one line, where that is known."""

    async def write(
        self,
        records: Sequence[OutgoingRecord],
        on_retry: Callable[[], None] = lambda: None,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Return when all records are acknowledged; retries without end, so cancel it to give up.

        ``on_retry`` is called before each further attempt, ``on_refused`` for each record that
        Kafka refuses for ever and that is a dead letter instead. After a cancellation records may
        have been written or not.
        """
        groups = deque(_groups(records, self._most_bytes))
        while groups:
            group = groups.popleft()
            refusal = await self._append(group, on_retry)
            if refusal is None:
                continue
            if len(group) > 1:
                self._learn(group, refusal)
                middle = len(group) // 2
                groups.extendleft([group[middle:], group[:middle]])
                continue
            if group[0].topic != TopicNames(self._kafka.topic_prefix).dead_letter:
                on_refused()
            letter = self._letter(group[0], refusal)
            if letter is not None:
                groups.appendleft([letter])

    async def _append(
        self, records: Sequence[OutgoingRecord], on_retry: Callable[[], None]
    ) -> KafkaError | None:
        """Return None when all records are acknowledged, or why they will never be."""
        backoff = Backoff(0.1, MAX_BACKOFF)
        while True:
            producer: AIOKafkaProducer | None = None
            try:
                with self._silence_is_noted():
                    producer = await self._producers.started()
                    async with asyncio.timeout(DELIVERY_TIMEOUT):
                        await append_all(producer, records)
            except RECORD_REFUSALS as error:
                self._producers.abandon(producer)  # it has counted the batch
                return error
            except (KafkaError, OSError, TimeoutError, AssertionError) as error:
                # AssertionError: aiokafka's way of saying that a partition is not known (yet).
                self.available = False
                self.trouble = refusal_of(self._kafka, error, "Write") or repr(error)
                self._producers.abandon(producer)
                pause = backoff.pause()
                LOG.warning(
                    "Kafka does not take records, trying again in %.1f s: %s",
                    pause,
                    self.trouble,
                )
                on_retry()
                await asyncio.sleep(pause)
            else:
                self.available = True
                return None

    @contextlib.contextmanager
    def _silence_is_noted(self) -> Iterator[None]:
        """Say that Kafka hangs while an attempt goes on, which is given up much later."""

        def note() -> None:
            self.available = False
            self.trouble = f"no answer for {SILENCE:.0f} s"

        timer = asyncio.get_running_loop().call_later(SILENCE, note)
        try:
            yield
        finally:
            timer.cancel()

    def _learn(self, refused: Sequence[OutgoingRecord], refusal: KafkaError) -> None:
        half = sum(map(_size, refused)) // 2
        if isinstance(refusal, _TOO_LARGE) and half < self._most_bytes:
            self._most_bytes = half
            LOG.warning(
                "Kafka takes no batch of %d bytes: max.message.bytes of %s is below 1048588, which "
                "we count on; going on with smaller ones",
                2 * half,
                refused[0].topic,
            )

    def _letter(self, refused: OutgoingRecord, refusal: KafkaError) -> OutgoingRecord | None:
        """Return the dead letter in place of a record that Kafka does not take.

        A dead letter that is itself too large is cut once more; None: nothing of it is left to cut.
        """
        key, value = refused.key or b"", refused.value or b""
        names = TopicNames(self._kafka.topic_prefix)
        if refused.topic != names.dead_letter:
            return dead_letter_record(
                self._kafka,
                value,
                f"Kafka refuses it: {type(refusal).__name__}",
                source=refused.topic,
                key=refused.key,
                vim_id=key.decode(errors="replace").partition("/")[0],
                origin="samples" if refused.topic == names.samples else "notifications",
                failure=NOT_WRITTEN,
            )
        if not value or not isinstance(refusal, _TOO_LARGE):
            LOG.error("%s does not take a dead letter, it is lost: %r", refused.topic, refusal)
            return None
        return msgspec.structs.replace(
            refused,
            key=refused.key and key[: len(key) // 2],
            value=value[: len(value) // 2],
            headers=tuple({"size": str(len(value)).encode(), **dict(refused.headers)}.items()),
        )

    async def close(self) -> None:
        """Close the connections within some seconds; writes must have ended or been cancelled."""
        await self._producers.close()


def _size(record: OutgoingRecord) -> int:
    return len(record.key or b"") + len(record.value or b"")


def _groups(records: Iterable[OutgoingRecord], most_bytes: int) -> Iterator[list[OutgoingRecord]]:
    """Yield the records in their order, in groups of at most so many bytes, or of one record."""
    group: list[OutgoingRecord] = []
    size = 0
    for record in records:
        size += _size(record)
        if group and size > most_bytes:
            yield group
            group, size = [], _size(record)
        group.append(record)
    if group:
        yield group
