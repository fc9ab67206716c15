"""A cloud that sends over Kafka: its topics consumed directly, in our own consumer group.

oslo.messaging's own Kafka driver commits offsets before anybody has seen the records, and starts a
new group at the latest record: it loses messages. Here an offset is committed after our own write.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial

from bridge.forwarding import Arrival, Converter, Listened, notifications_of
from bridge.kafka.partition_sessions import PartitionSessions, Place
from bridge.listening import MAX_BYTES_IN_FLIGHT, Listener, Message, records_of
from bridge.progress import DEPTH_EVERY, DEPTH_TIMEOUT, STOP_TIMEOUT, Progress
from bridge.sampling import samples_of
from bridge.source import Make, Surroundings
from vimfed.kafka.aio import (
    AIOKafkaConsumer,
    CommitFailedError,
    ConsumerRecord,
    KafkaError,
    TopicPartition,
)
from vimfed.kafka.bounded_batches import RefusedBatch, bound
from vimfed.kafka.clients import (
    OutgoingRecord,
    new_consumer,
    refusal_of,
)
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.kafka.expiry import ExpiryWatch, position_of
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.rights import Need, user_of
from vimfed.nova.oslo import PRIORITIES
from vimfed.settings import CloudKafkaSettings, KafkaSettings, VimSettings

LOG = logging.getLogger(__name__)

Write = Callable[[Sequence[OutgoingRecord], Progress], Awaitable[None]]
"""Writes records; returns when Kafka has acknowledged all of them."""

POLL_MS = 500
STEADY = 60.0
CANCEL_TIMEOUT = 1.0
FEW = 16
"""Maximum records that are taken without a look at their bytes."""


class KafkaListener(Listener):
    """Listens until it is stopped; an error of the cloud's only leads to another attempt."""

    def __init__(
        self,
        vim_id: str,
        cloud: CloudKafkaSettings,
        kafka: KafkaSettings,
        converter: Converter,
        write: Write,
        progress: Progress,
    ) -> None:
        self._vim_id = vim_id
        self._cloud = cloud
        label = f"{vim_id}, {progress.bus}" if progress.bus else vim_id
        super().__init__(vim_id, label, kafka, converter, progress, steady=STEADY)
        self._write = write
        self._done: dict[TopicPartition, int] = {}
        """Up to where each partition is done. That can be behind the committed offset: there lie a
        transaction's markers, or what has expired."""
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect; returns at once. Needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name=self._label)

    async def stop(self) -> bool:
        """Finish the batch that is on its way, if Kafka takes it, and leave the group.

        Returns False where that takes more than STOP_TIMEOUT; it is then cut short.
        """
        self._stopping.set()
        if self._task is None:
            return True
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT)
        in_time = self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task], timeout=CANCEL_TIMEOUT)
        return in_time

    async def _run(self) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                await self._listen()
            except Exception as error:
                why = refusal_of(self._cloud, error, "Read")
                is_bug = not isinstance(error, KafkaError | OSError)
                lasted = time.monotonic() - begun
                pause = self._pause_after(error, lasted, why, trace=is_bug)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

    async def _listen(self) -> None:
        consumer = _consumer(self._cloud)
        sessions = PartitionSessions(consumer)
        # A pattern takes up topics that nova makes later, and makes none itself.
        consumer.subscribe(pattern=_topic_pattern(self._cloud), listener=sessions)
        try:
            LOG.info("cloud %s: connecting", self._label, extra=self._known)
            await consumer.start()
            LOG.info(
                "cloud %s: listening as group %s",
                self._label,
                self._cloud.group,
                extra=self._known,
            )
            self._done = {}
            watch = asyncio.create_task(self._watch(consumer))
            try:
                await self._consume(consumer, sessions)
            finally:
                watch.cancel()
        finally:
            self.progress.connected = False
            await consumer.stop()

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Keep knowing whether the brokers answer, and how much is not committed yet.

        Whoever only fetches does not notice that they are gone: it looks as if nothing came.
        """
        wanted = re.compile(_topic_pattern(self._cloud))
        told = False
        while True:
            try:
                async with asyncio.timeout(DEPTH_TIMEOUT):
                    seen = await consumer.topics()
                    self.progress.connected = True
                    if not (told or any(map(wanted.match, seen))):
                        told = True
                        LOG.warning(
                            "cloud %s: sees none of the topics %s: %s has made none yet, or %s "
                            "lacks the right Read on them",
                            self._label,
                            wanted.pattern,
                            self._cloud.sender,
                            user_of(self._cloud),
                        )
                    depth = 0
                    ends = await consumer.end_offsets(list(consumer.assignment()))
                    for tp, end in ends.items():
                        done = max(await consumer.committed(tp) or 0, self._done.get(tp, 0))
                        depth += max(0, end - done)
                    self.progress.queue_depth = depth
            except (KafkaError, OSError):
                self.progress.connected = False
                self.progress.queue_depth = None
            await asyncio.sleep(DEPTH_EVERY)

    async def _consume(self, consumer: AIOKafkaConsumer, sessions: PartitionSessions) -> None:
        reader = f"cloud {self._label}, group {self._cloud.group}"
        expiry = ExpiryWatch(consumer, reader, lambda lost: self.progress.expired(lost.lost))
        while not self._stopping.is_set():
            fetched = await self._fetched(consumer)
            read = {tp: position_of(consumer, tp) for tp in consumer.assignment()}
            await expiry.look(fetched)
            self.progress.alive_at = time.monotonic()
            if not fetched:
                self._note_done(read)
                continue
            self.progress.connected = True
            self.progress.received(sum(map(len, fetched.values())))
            places = await sessions.after(fetched)
            # In a thread: a cloud with much to convert must not hold up the others.
            batch = await asyncio.to_thread(
                records_of, self._converter, self._messages(fetched, places)
            )
            await self._written(batch.records)
            self.progress.written(len(batch.records) - batch.dead, batch.dead, batch.passed_over)
            self.progress.told_of(batch.hosts)
            try:
                await consumer.commit({tp: tuple(place) for tp, place in places.items()})
            except CommitFailedError:
                # The group gave the partitions to somebody else, who gets the records once more.
                LOG.warning("cloud %s: lost its partitions meanwhile", self._label)
            else:
                self._note_done(read)

    async def _fetched(
        self, consumer: AIOKafkaConsumer
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        """Return the next records: ``poll_records`` or MAX_BYTES_IN_FLIGHT of them.

        ``getmany`` bounds records alone, so it is asked for few at once.
        """
        fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {}
        count = size = 0
        timeout = POLL_MS
        while count < self._cloud.poll_records and size < MAX_BYTES_IN_FLIGHT:
            few = min(FEW, self._cloud.poll_records - count)
            found = await consumer.getmany(timeout_ms=timeout, max_records=few)
            if not found:
                break
            for tp, records in found.items():
                fetched.setdefault(tp, []).extend(records)
                count += len(records)
                size += sum(len(record.value or b"") + len(record.key or b"") for record in records)
            timeout = 0
        return fetched

    def _note_done(self, read: Mapping[TopicPartition, int | None]) -> None:
        """Note that whatever was read is done; ``read``: from where each partition is read on."""
        self._done = {tp: position for tp, position in read.items() if position is not None}

    async def _written(self, records: Sequence[OutgoingRecord]) -> None:
        """Write, and show meanwhile that this listener only waits for Kafka."""
        write = asyncio.ensure_future(self._write(records, self.progress))
        try:
            while not write.done():
                await asyncio.wait([write], timeout=POLL_MS / 1000)
                self.progress.alive_at = self.progress.handled_at = time.monotonic()
            write.result()
        finally:
            write.cancel()

    def _messages(
        self,
        fetched: Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]],
        places: Mapping[TopicPartition, Place],
    ) -> Iterator[Message]:
        """Return what came, in its order per partition."""
        received_at = arrival_time()
        vim_id = self._vim_id
        for tp, batch in fetched.items():
            path = f"{vim_id}/{self._cloud.group}/{tp.topic}/{tp.partition}"
            session = places[tp].session
            for record in batch:
                yield Message(
                    record.value or b"",
                    Arrival(vim_id, path, record.offset, received_at, session),
                    partial(
                        dead_letter_record,
                        self._kafka,
                        source=record.topic,
                        key=record.key,
                        partition=record.partition,
                        offset=record.offset,
                        vim_id=vim_id,
                    ),
                    record.value.decode() if isinstance(record.value, RefusedBatch) else "",
                )


def kafka_listeners(surroundings: Surroundings) -> Make:
    """Return what makes the listener to a cloud's Kafka."""
    return _listeners(surroundings, lambda vim: vim.kafka, notifications_of)


def kafka_sample_listeners(surroundings: Surroundings) -> Make:
    """Return what makes the listener to the Kafka on which a cloud's ceilometer sends."""
    return _listeners(surroundings, lambda vim: vim.samples.kafka, samples_of, "samples")


def _listeners(
    surroundings: Surroundings,
    cloud: Callable[[VimSettings], CloudKafkaSettings],
    converter: Callable[[KafkaSettings, VimSettings], Converter],
    bus: str = "",
) -> Make:
    """``bus`` is what the progress calls it."""
    kafka = surroundings.settings.kafka

    def make(vim: VimSettings, _part: str) -> KafkaListener:
        settings = cloud(vim)
        listened = Listened("kafka", ",".join(settings.topics))
        return KafkaListener(
            vim.vim_id,
            settings,
            kafka,
            surroundings.traced(converter(kafka, vim), listened),
            surroundings.write,
            surroundings.new_progress(vim, bus),
        )

    return make


def _consumer(cloud: CloudKafkaSettings) -> AIOKafkaConsumer:
    bound()
    return new_consumer(
        cloud,
        group_id=cloud.group,
        max_poll_interval_ms=int(cloud.max_poll_interval * 1000),
        retry_backoff_ms=1000,
        metadata_max_age_ms=5_000,  # how soon a new topic is seen
        fetch_max_bytes=8 * 1024 * 1024,
        max_partition_fetch_bytes=1024 * 1024,
    )


def _topic_pattern(cloud: CloudKafkaSettings) -> str:
    """Return the pattern of the topics that a cloud writes."""
    return f"^(?:{'|'.join(map(re.escape, _topics(cloud)))})$"


def _topics(cloud: CloudKafkaSettings) -> Sequence[str]:
    """Return the topics that oslo's Kafka driver writes: topic.priority[.vhost]; or plain ones."""
    suffix = f".{cloud.virtual_host}" if cloud.virtual_host else ""
    return [
        *(f"{topic}.{priority}{suffix}" for topic in cloud.topics for priority in PRIORITIES),
        *(cloud.topics if cloud.has_plain_topics else ()),
    ]


def cloud_needs(cloud: CloudKafkaSettings) -> Sequence[Need]:
    """Return what a bridge needs on the Kafka of a cloud."""
    return (
        *(
            Need("topic", topic, ("Read",), f"reads what {cloud.sender} sends")
            for topic in _topics(cloud)
        ),
        Need("group", cloud.group, ("Read",), "shares their partitions, keeps its progress"),
    )
