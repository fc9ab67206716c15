"""The subscriptions topic: followed by everybody who needs to know, and written to.

A key is a subscription's name, or ``PREFIX/NAME`` of something else that is changed at run time. A
version that does not know a prefix passes over it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from streams.subscriptions.filters import Subscription, SubscriptionHistory
from vimfed.kafka.aio import AIOKafkaConsumer, ConsumerRecord, KafkaError, TopicPartition
from vimfed.kafka.clients import FETCHER_LOOK_EVERY, new_consumer
from vimfed.kafka.renewed_producer import RenewedProducer
from vimfed.kafka.topics import TopicNames
from vimfed.model.decoding import decoded
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

ASK_EVERY = 5.0
"""Seconds between two questions where the topic ends while nobody waits for the answer."""
MIN_PAUSE = 0.02
"""The same while somebody does."""
FETCH_WAIT = 0.05
"""Seconds that the broker holds back the answer to a fetch while nothing comes.

It answers one connection's requests in turn: a question asked meanwhile waits as long, and with it
every batch that a publisher is to match.
"""
WRITE_TIMEOUT = 10.0

_decode = msgspec.json.Decoder(Subscription).decode
_encode = msgspec.json.Encoder().encode


def encoded(subscription: Subscription) -> bytes:
    """Return a subscription as it lies on the topic.

    Versions that do not know ``meters`` pass over one that has it: it is there where it says
    something.
    """
    fields = msgspec.structs.asdict(subscription)
    if not subscription.meters:
        del fields["meters"]
    return _encode(fields)


class Book(Protocol):
    """What is kept of the keys of one prefix."""

    @property
    def prefix(self) -> str:
        """Of the keys, without the slash."""

    def add(self, name: str, value: bytes | None, taken_at: int, /) -> None:
        """Note the newest value of a key, in the topic's order; None: there is none any more.

        ``taken_at``: when Kafka took it, in ms since 1970.
        Raises ValueError where it cannot be read.
        """


class SubscriptionLog:
    """Follows the subscriptions topic into a history, and into books."""

    def __init__(
        self, kafka: KafkaSettings, history: SubscriptionHistory, books: Sequence[Book] = ()
    ) -> None:
        self._kafka = kafka
        self.history = history
        self._books = {book.prefix: book for book in books}
        self._partition = TopicPartition(TopicNames(kafka.topic_prefix).subscriptions, 0)
        self._asked_at = float("-inf")
        self._confirmed = asyncio.Event()
        self._asked_for = asyncio.Event()
        self._failure: BaseException | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._producers = RenewedProducer(kafka, WRITE_TIMEOUT)

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator["SubscriptionLog"]:
        """Follow the topic for as long as the block runs. Raises KafkaError where Kafka is away."""
        consumer = new_consumer(
            self._kafka,
            fetch_max_wait_ms=int(FETCH_WAIT * 1000),
            consumer_timeout_ms=int(FETCHER_LOOK_EVERY * 1000),
        )
        await consumer.start()
        consumer.assign([self._partition])
        self._consumer = consumer
        follower = asyncio.create_task(self._follow(consumer))
        follower.add_done_callback(self._ended)
        try:
            yield self
        finally:
            follower.cancel()
            await asyncio.wait([follower])
            await consumer.stop()
            await self._producers.close()

    async def known(self, since: float) -> None:
        """Return once everything is in the history that was taken before ``since`` (monotonic).

        Waits for as long as Kafka is away. Raises what has ended the following, if anything has.
        """
        while self._asked_at < since:
            if self._failure is not None:
                raise self._failure
            self._asked_for.set()
            self._confirmed.clear()
            await self._confirmed.wait()

    def _ended(self, follower: asyncio.Task[None]) -> None:
        if not follower.cancelled():
            self._failure = follower.exception()
            LOG.error("subscriptions are not followed any more", exc_info=self._failure)
            self._confirmed.set()

    async def append(
        self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> int:
        """Write a record; return when Kafka took it, in ms since 1970.

        ``headers`` are for those who ask who did it; nothing follows from them.
        Raises KafkaError, OSError or TimeoutError: then it may have been written or not.
        """
        producer = await self._producers.started()
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                metadata = await producer.send_and_wait(
                    self._partition.topic,
                    value,
                    key,
                    self._partition.partition,
                    headers=list(headers),
                )
        except BaseException:
            self._producers.abandon(producer)
            raise
        timestamp: int = metadata.timestamp
        return timestamp

    async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where partitions of any topic end. Raises KafkaError."""
        if self._consumer is None:
            return {}
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        return ends

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            self._asked_for.clear()
            asked_at = time.monotonic()
            try:
                await self._read_to(consumer, (await self.ends([self._partition]))[self._partition])
            except (KafkaError, OSError, TimeoutError) as error:
                LOG.warning("subscriptions cannot be read, trying again: %r", error)
                await asyncio.sleep(1)
                continue
            self._asked_at = asked_at
            self._confirmed.set()
            await asyncio.sleep(MIN_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY):
                    await self._asked_for.wait()

    async def _read_to(self, consumer: AIOKafkaConsumer, end: int) -> None:
        """Read up to ``end``; fetch nothing from then on, until there is more.

        aiokafka fetches all the time what is not paused: twenty times a second, for a topic to
        which somebody writes once a week. A position behind the end is the fetcher's to put right.
        """
        if await consumer.position(self._partition) != end:
            consumer.resume(self._partition)
        while (position := await consumer.position(self._partition)) < end:
            fetched = await consumer.getmany(self._partition, timeout_ms=1000)
            for record in fetched.get(self._partition, ()):
                self._add(record)
        if position == end:
            consumer.pause(self._partition)

    def _add(self, record: ConsumerRecord) -> None:
        try:
            prefix, slash, name = (record.key or b"").decode().partition("/")
            if not slash:
                subscription = None if record.value is None else decoded(_decode, record.value)
                self.history.add(prefix, subscription, record.timestamp)
            elif prefix in self._books:
                self._books[prefix].add(name, record.value, record.timestamp)
        except ValueError as error:
            # Somebody else's record: ours are checked before they are written.
            LOG.error("%s@%s cannot be read: %s", record.topic, record.offset, error)  # noqa: TRY400 - the text says it all
