"""Faust's Kafka transport, one event per fetch.

Faust spends nine tenths of its time on machinery per event. Here an event's value is a
:class:`FetchedBatches`: all records that one fetch brought, a :class:`RecordBatch` for each
partition. That changes what an offset and an acknowledgement mean, so this module replaces those
parts of Faust's consumer that deal with them. Each override says what upstream does
(faust-streaming 0.15.3, aiokafka 0.14.0) and why that is not enough here.
"""

import asyncio
import gc
import logging
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import cached_property
from typing import Any, NamedTuple, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.structs import ConsumerRecord
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP as TP
from faust.types import AppT, Message
from faust.types.transports import TPorTopicSet
from faust.types.tuples import ack_lock
from mode import Service
from mode.utils.futures import maybe_async, notify
from mode.utils.types.trees import NodeT
from yarl import URL

from vimfed.kafka.clients import FETCHER_LOOK_EVERY, leaderless, prepare_consumer
from vimfed.kafka.expiry import ExpiredUnread, position_of, report

LOG = logging.getLogger(__name__)

FETCH_MAX_WAIT_MS = 50
"""Milliseconds for which the broker may hold a fetch that finds no records."""
IDLE_FETCH_MAX_WAIT_MS = 500
"""The same of a fetch that asks for all that we read: it is answered as soon as a record comes."""
STEADY_AFTER = 5.0
"""Seconds after an assignment until its partitions have been sought and recovered."""
ACK_TIMEOUT = 1.0
"""Seconds without an acknowledgement after which messages that nobody refers to are looked for."""
EMPTY_LOOK_EVERY = 1.0
"""Seconds between two looks for partitions where reading goes on and no record comes."""


class RecordBatch:
    """The records that one fetch brought for one partition, in offset order."""

    __slots__ = ("_done", "_parts", "generation", "next_offset", "records", "start")

    def __init__(
        self,
        records: Sequence[ConsumerRecord],
        generation: int,
        parts: Sequence["RecordBatch"] = (),
        *,
        start: int | None = None,
        next_offset: int | None = None,
    ) -> None:
        """``start`` and ``next_offset`` are by default those of the records.

        Only a range of offsets without any record, which is done from the first, needs both.
        """
        self.records = records
        self.start: int = records[0].offset if start is None else start
        """Where reading began: between here and the first record there is none (any more)."""
        self.generation = generation
        """The consumer group's generation in which it was fetched."""
        self.next_offset: int = records[-1].offset + 1 if next_offset is None else next_offset
        """What is committed once the batch is done."""
        self._parts = parts
        self._done = False

    @property
    def first_offset(self) -> int:
        """Of its first record; where there is none, where reading began."""
        return self.records[0].offset if self.records else self.start

    @property
    def done(self) -> bool:
        """Set by the agent when everything that follows from the batch is durable."""
        return self._done

    @done.setter
    def done(self, done: bool) -> None:
        self._done = done
        for part in self._parts:
            part.done = done


class FetchedBatches:
    """What one fetch brought of a source."""

    __slots__ = ("batches", "count")

    def __init__(self, batches: dict[int, RecordBatch]) -> None:
        self.batches = batches
        """By partition, what is not done: a batch that is not empty."""
        self.count = sum(len(batch.records) for batch in batches.values())
        """Of records."""

    def let_go(self, partition: int) -> None:
        """Forget the records of a batch that is done."""
        if self.batches[partition].done:
            del self.batches[partition]


def _nothing_at(tp: TP, offset: int) -> ConsumerRecord:
    """Return what stands for the first record of a batch that has none."""
    return ConsumerRecord(*tp, offset, 0, 0, None, None, None, -1, -1, ())


def _without_records(start: int, next_offset: int) -> RecordBatch:
    """Return a range of offsets that hold nothing to do, so that it is committed."""
    batch = RecordBatch((), 0, start=start, next_offset=next_offset)
    batch.done = True
    return batch


def join(batches: Sequence[RecordBatch], most: int) -> Iterator[RecordBatch]:
    """Yield batches of up to ``most`` records, each made of neighbours of one generation.

    A joined batch that is done makes its parts so. A batch that has more records stays as it is.
    """
    parts: list[RecordBatch] = []
    size = 0
    for batch in batches:
        count = len(batch.records)
        if parts and (batch.generation != parts[0].generation or size + count > most):
            yield _joined(parts)
            parts, size = [], 0
        parts.append(batch)
        size += count
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[RecordBatch]) -> RecordBatch:
    if len(parts) == 1:
        return parts[0]
    return RecordBatch([one for part in parts for one in part.records], parts[0].generation, parts)


class _Fresh(NamedTuple):
    """What a fetch brought of a partition, and is to be delivered."""

    tp: TP
    expected: int
    """The offset that was expected when we looked at it."""
    records: Sequence[ConsumerRecord]
    next_offset: int | None = None
    """Up to where there is no record, where there is none."""


class Confirmation(NamedTuple):
    """A question whether we are a member of the group, which the coordinator answered with yes."""

    asked_at: float
    """By the monotonic clock."""
    at: float
    """The same moment, in seconds since 1970."""
    generation: int


_NEVER = Confirmation(-math.inf, -math.inf, -1)


class Membership:
    """When the group's coordinator last confirmed that we are a member of a generation."""

    def __init__(self) -> None:
        self.last = _NEVER
        """The last confirmation."""
        self._changed = asyncio.Event()

    def confirm(self, confirmation: Confirmation) -> None:
        """Note that the coordinator said yes."""
        self.last = confirmation
        self.wake()

    def wake(self) -> None:
        """Let those who wait look again."""
        self._changed.set()

    @property
    def age(self) -> float:
        """Seconds since the question was asked that was last answered with yes."""
        return time.monotonic() - self.last.asked_at

    async def changed(self) -> None:
        """Return at the next confirmation or :meth:`wake`."""
        self._changed.clear()
        await self._changed.wait()


class IdleFetches:
    """Lets the broker hold a fetch for longer where that keeps nobody waiting.

    aiokafka has one time for all fetches, and one in flight: it keeps a partition waiting that it
    leaves out, because records of it have not been taken or its position is not known, and a seek.
    A fetch of all partitions is answered as soon as a record comes; and who has had the same
    partitions for ``after`` seconds seeks no more.
    """

    def __init__(self, fetcher: Any, after: float = STEADY_AFTER) -> None:
        """Take the place of what makes aiokafka's fetcher its requests."""
        self._fetcher = fetcher
        self._after = after
        self._assignment: Any = None
        self._since = 0.0
        self._next_actions = fetcher._get_actions_per_node
        fetcher._get_actions_per_node = self._actions

    def _actions(self, assignment: Any) -> Any:
        if assignment is not self._assignment:
            self._assignment, self._since = assignment, time.monotonic()
        actions = self._next_actions(assignment)
        requests, resets, _timeout, is_leaderless, _resumed = actions
        is_steady = time.monotonic() - self._since >= self._after
        if is_steady and not (self._fetcher._records or resets or is_leaderless):
            for _node, request in requests:
                request._max_wait_ms = IDLE_FETCH_MAX_WAIT_MS
        return actions


class _ConsumerInLoop(driver.AIOKafkaConsumerThread):
    """Where aiokafka's consumer lives: in the app's own event loop.

    Upstream gives it a thread with a loop of its own. Each fetch then goes from thread to thread
    and back, and each time waits for Python's lock, which whoever handles records holds for up to
    5 ms: in a busy process that is most of what an event waits. What the thread is for, heartbeats
    while a handler blocks its loop, is worth little: none here does so for a part of a session.

    Upstream lets the broker hold a fetch for 1.5 s. A partition whose last records were not taken
    yet when that fetch began is not in it, so its next record would wait as long.

    Upstream keeps no note of when a heartbeat was answered. A process that was stopped for longer
    than the session cannot know otherwise that its partitions have new owners.

    aiokafka reads on without a record where there is none: over a transaction's markers, and what
    retention has removed. Upstream does not tell such a range from records that wait.

    What aiokafka's coordinator cannot go on after, such as a right that is taken away, it hands to
    whoever calls getmany next, and waits for that. Upstream never calls it: the worker would hang.
    """

    logger = driver.logger  # what upstream logs stays under upstream's name
    consumer: "BatchedConsumer"

    def __init__(self, consumer: "BatchedConsumer", beacon: NodeT[Any]) -> None:
        super().__init__(consumer, loop=consumer.loop, thread_loop=consumer.loop, beacon=beacon)

    async def start(self) -> None:
        """Start in this loop, as a service without a thread does."""
        self._thread_started.set()
        await self._default_start()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, or a coroutine function, of the consumer."""
        return await maybe_async(fun(*args, **kwargs))

    async def _stop_children(self) -> None:
        """Close the consumer, which upstream's thread does at its end."""
        await self.on_thread_stop()
        await self._default_stop_children()
        self._shutdown.set()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    def close(self) -> None:
        """Close nothing yet: the app ends, and closes the consumer when its turn comes.

        Upstream calls this where a rebalance finds that the app ends. It closes the connections
        beside the group's, and who stops the consumer finds it closed already: nobody waits until
        the group has been left, and the others may wait for a session.
        """

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let go of partitions.

        Upstream puts this and what follows it into a queue, for the thread's sake. After a crash
        nobody takes it out, and the consumer's end waits for the end of the rebalance.
        """
        await self.consumer.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions."""
        await self.consumer.on_partitions_assigned(assigned, generation_id)

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is upstream's
        max_records: int | None = None,
    ) -> Any:
        begun = {ensure_TP(tp): position_of(consumer, tp) for tp in consumer.assignment()}
        fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        self.consumer.read_from = begun
        self.consumer.handed_out.update(
            (ensure_TP(tp), records[-1].offset + 1) for tp, records in fetched.items() if records
        )
        return fetched

    def position_now(self, tp: TP) -> int | None:
        """Return the offset that is read next; None where nobody knows yet."""
        return None if self._consumer is None else position_of(self._consumer, tp)

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> AIOKafkaConsumer:
        consumer = super()._create_consumer(loop)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._consumer_timeout = FETCHER_LOOK_EVERY
        prepare_consumer(consumer)
        return consumer

    def is_assigned(self, tp: TP) -> bool:
        """Return whether a partition is assigned to us."""
        consumer = self._consumer
        return consumer is not None and bool(consumer._subscription.is_assigned(tp))

    def seen_end(self, tp: TP) -> tuple[int, float] | None:
        """Return which end a partition had, and when the broker's answer came (s since 1970)."""
        if not self.is_assigned(tp):
            return None
        consumer = self._ensure_consumer()
        at = consumer.last_poll_timestamp(tp)  # the end is noted first
        end = consumer.highwater(tp)
        return None if at is None or end is None else (end, at / 1000)

    async def on_start(self) -> None:
        await super().on_start()
        IdleFetches(self._ensure_consumer()._fetcher)
        coordinator = self._ensure_consumer()._coordinator
        send = coordinator._send_req

        async def noted_send(request: Any) -> Any:
            asked = Confirmation(time.monotonic(), time.time(), coordinator.generation)
            response = await send(request)
            # What else aiokafka takes for a heartbeat that was heard: that the group is being
            # assigned anew. That promises nothing: who does not join again in time is left out.
            if isinstance(request, HeartbeatRequest) and response.error_code == NoError.errno:
                self.consumer.membership.confirm(asked)
            return response

        coordinator._send_req = noted_send
        push = coordinator._push_error_to_user

        async def crash_of(error: BaseException) -> None:
            await self.consumer.app.crash(error)
            await push(error)

        coordinator._push_error_to_user = crash_of


class BatchedConsumer(driver.Consumer):
    """A consumer that hands on one message per fetch, and one per partition of a changelog.

    Of its ``source`` it keeps what is in flight, and commits what is done. The other topics are
    changelogs, of which the tables know where they are.
    """

    logger = driver.logger
    sources: frozenset[str] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.membership = Membership()
        self.producer: AIOKafkaProducer | None = None
        """By which what follows from the batches is written; None before it has started."""
        self.also_wait_for: list[Callable[[], Awaitable[None]]] = []
        """Each returns once nothing of what follows from further records is being written: who
        writes for partitions that are ours, beside the batches, adds itself here."""
        self._revoking = False
        """Whether partitions are taken away, and not yet assigned again."""
        self.is_joining = False
        """Whether we may have asked for a place in the group's next generation, and have none yet.

        Until we ask nobody else can own what is ours: the coordinator waits for us, for a session.
        """
        self._in_flight: dict[TP, deque[RecordBatch]] = defaultdict(deque)
        """Delivered batches in offset order, until their offsets are committed."""
        self._expected: dict[TP, int] = {}
        """The next offset to deliver, set by seeks and moved on by deliveries."""
        self.read_from: dict[TP, int | None] = {}
        """Where the last fetch was begun. aiokafka drops records that a seek has overtaken."""
        self._reread: dict[TP, tuple[int, int]] = {}
        """The last hole (expected, got) of a partition for which we have read again."""
        self.handed_out: dict[TP, int] = {}
        """The offset after the last record that a fetch brought, since the last seek."""
        self._taken: dict[TP, int] = {}
        """When Kafka took the last record that was delivered, in ms since 1970."""
        self._empty: dict[TP, tuple[int, int]] = {}
        """The ranges without a record that the last look found, and had read again."""
        self.expired: Counter[TP] = Counter()
        """How many records of a source retention has removed before they were read."""
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _ConsumerInLoop:
        return _ConsumerInLoop(self, self.beacon)

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Leave topics alone: they are created and checked before any worker starts.

        Upstream would declare them again, with settings that it takes from elsewhere.
        """

    async def verify_all_partitions_active(self) -> None:
        """Let upstream look after what streams read.

        It takes every changelog partition that we write, and do not read, for a stream that hangs,
        and from five minutes after the start on has a page in the log for each, every second. And
        between two partitions it sleeps for no time, by a task and a timer for each: a third of
        what a worker does that has nothing to do.
        """
        now = time.monotonic()
        for tp in self.assignment():
            if tp.topic in self.sources:
                self.verify_event_path(now, tp)

    # -- fences

    async def owns(self, batch: RecordBatch) -> bool:
        """Return whether we may still write what follows from ``batch``."""
        return await self.is_member(batch.generation)

    @cached_property
    def _confirmed_for(self) -> float:
        """Seconds for which a confirmation holds; Faust's settings take long to read."""
        return self.app.conf.broker_session_timeout * 2 / 3

    async def is_member(self, generation: int) -> bool:
        """Return whether nobody else can own yet what we own in a generation of the group.

        True while it is the current one and the coordinator's last confirmation is younger than two
        thirds of the session. Waits while the coordinator does not answer, until partitions are
        taken away or the app ends: both wait for the batches, and then the answer does not come any
        more.
        """
        limit = self._confirmed_for
        while self.membership.age >= limit and not self._leaves(generation):
            await self.membership.changed()
        return self.membership.age < limit and generation == self.app.consumer_generation_id

    async def is_member_since(self, moment: float, generation: int) -> bool:
        """Return whether the coordinator confirms our generation when asked after ``moment``.

        By the monotonic clock. Waits for the answer as :meth:`is_member` does.
        """
        while self.membership.last.asked_at <= moment and not self._leaves(generation):
            await self.membership.changed()
        last = self.membership.last
        return (
            last.asked_at > moment
            and last.generation == generation == self.app.consumer_generation_id
        )

    def _leaves(self, generation: int) -> bool:
        return self.is_leaving or generation != self.app.consumer_generation_id

    @property
    def is_leaving(self) -> bool:
        """Whether partitions are being taken away, or the app ends."""
        return self._revoking or self.app.should_stop

    # -- progress

    def undone(self, tp: TP) -> int | None:
        """Return the offset of the first record that is not done; None before the first seek.

        Where none is in flight, that is where the consumer reads on, which is beyond what nobody
        can read: a transaction's markers, and what retention has removed.
        """
        batches = self._in_flight.get(tp)
        if batches:
            return batches[0].first_offset
        expected = self._expected.get(tp)
        if expected is None or self.handed_out.get(tp, expected) > expected:
            return expected  # what was fetched is on its way, or has to be read again
        position = cast(_ConsumerInLoop, self._thread).position_now(tp)
        return expected if position is None else max(expected, position)

    def oldest_undone_seconds(self, tp: TP) -> float:
        """Return since when, by Kafka's time, the first record waits that was delivered to us.

        0 where all that was delivered is done.
        """
        batches = list(self._in_flight.get(tp, ()))
        taken = next((batch.records[0].timestamp for batch in batches if not batch.done), None)
        return 0.0 if taken is None else max(0.0, time.time() - taken / 1000)

    def lag(self, tp: TP) -> int:
        """Return how many records of a partition that we own are not done, as far as we know.

        0 for one that has just been taken from us.
        """
        if not self.is_assigned(tp):
            return 0
        undone, end = self.undone(tp), self.highwater(tp)
        return 0 if undone is None or end is None else max(0, end - undone)

    def leaderless(self) -> list[str]:
        """Return the partitions, as topic-number, for whose leader something written waits."""
        return [] if self.producer is None else leaderless(self.producer)

    def is_assigned(self, tp: TP) -> bool:
        """Return whether a partition is ours.

        Upstream copies the whole assignment for whoever asks; this is asked for each partition.
        """
        return cast(_ConsumerInLoop, self._thread).is_assigned(tp)

    def seen_end(self, tp: TP) -> tuple[int, float] | None:
        """Return which end a partition that we read had, and when we heard of it (s since 1970).

        None where we do not read it, or have not heard of it yet.
        """
        return cast(_ConsumerInLoop, self._thread).seen_end(tp)

    # -- delivery

    async def getmany(  # the signature is upstream's
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, Message]]:
        """Yield one message of the source, and one for each partition of a changelog.

        The first has :class:`FetchedBatches` for its value, and is named after one of their
        partitions; the others have a :class:`RecordBatch`.

        Upstream yields a message per record, and also what was fetched before a seek moved the
        position: newer records first, the older ones seconds later. Here only the next expected
        record opens a batch; anything else makes us read again from where we should be.

        A fetch that was begun before a rebalance may bring partitions that were assigned in it,
        for it looks at a set of partitions that is empty by then, and takes that for all.
        """
        try:
            fetched, active = await self._wait_next_records(timeout)
        except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
            # Upstream would have a traceback of it in the log for each service that it ends.
            await self.app.crash(error)
            return
        generation = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:
            await self._seek_while_suspended()
            return
        fresh: list[_Fresh] = []
        for key, records in fetched.items():
            tp = ensure_TP(key)
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                await self._seek_again([tp])
                continue
            if records and await self._is_next(tp, records[0].offset, self.read_from.get(tp)):
                expected = self._expected[tp]
                if records[0].offset > expected and tp.topic in self.sources:
                    await self._look_into_hole(tp, records[0])
                fresh.append(_Fresh(tp, expected, records))
        for tp, position in self._changelogs_without_records(active or ()):
            if await self._is_next(tp, position):
                fresh.append(_Fresh(tp, self._expected[tp], (), position))
        of_source = [each for each in fresh if each.tp.topic in self.sources]
        of_changelogs = [each for each in fresh if each.tp.topic not in self.sources]
        for group in (of_source, *([each] for each in of_changelogs)):
            if not self.flow_active or generation != self.app.consumer_generation_id:
                return
            # What was sought since we looked at it comes again.
            still = [each for each in group if self._expected.get(each.tp) == each.expected]
            for each in still:
                self.app.monitor.track_tp_end_offset(each.tp, self.highwater(each.tp))
            if still:
                yield still[0].tp, self._message_of(still, generation)

    def _changelogs_without_records(self, active: Iterable[TP]) -> list[tuple[TP, int]]:
        """Return to where the reading of changelogs has gone on without finding a record.

        Who recovers a table waits for the end of its changelog, and that may be a transaction's
        marker, or what compaction has removed.
        """
        found = []
        for tp in active:
            if tp.topic in self.sources:
                continue
            expected, position = self._expected.get(tp), self.undone(tp)
            if expected is not None and position is not None and position > expected:
                found.append((tp, position))
        return found

    async def _seek_while_suspended(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:  # as upstream: the rebalance under way seeks again
            LOG.warning("cannot seek while the flow is suspended: %r", error)

    def _message_of(self, fresh: Sequence["_Fresh"], generation: int) -> Message:
        """Return the message of batches of the source, or of one of a changelog."""
        first = fresh[0]
        batches = {each.tp.partition: self._batch_of(each, generation) for each in fresh}
        is_source = first.tp.topic in self.sources
        opening = first.records[0] if first.records else _nothing_at(first.tp, first.expected)
        message = self._to_message(first.tp, opening)
        value = FetchedBatches(batches) if is_source else batches[first.tp.partition]
        message.value = value  # type: ignore[assignment]  # Faust's type knows bytes alone
        message.generation_id = generation
        return message

    def _batch_of(self, fresh: "_Fresh", generation: int) -> RecordBatch:
        """Return what is delivered now."""
        tp, start, records, next_offset = fresh
        batch = RecordBatch(records, generation, start=start, next_offset=next_offset)
        self._expected[tp] = batch.next_offset
        if tp.topic in self.sources:
            self._in_flight[tp].append(batch)
            self._taken[tp] = records[-1].timestamp
            # Upstream takes a partition of which it sees no message for one that hangs.
            self.app.monitor.stream_inbound_time[tp] = time.monotonic()
        # Upstream compares each message's offset with this one, and fills what lies between.
        self._read_offset[tp] = None
        return batch

    async def _is_next(self, tp: TP, offset: int, begun_at: int | None = None) -> bool:
        """Return whether a fetch that begins at ``offset`` continues what was delivered.

        A fetch that was begun where we are skips only what is not there any more (compaction,
        retention). One that was begun elsewhere is older than a seek, and is read again. Where
        nobody knows where it was begun, it is right when it is the same again.
        """
        expected = self._expected.get(tp)
        if expected is None:
            return False  # a partition is read only from where a seek has put us
        if expected in (offset, begun_at):
            return True
        if begun_at is None and self._reread.get(tp) == (expected, offset):
            return True
        self._reread[tp] = (expected, offset)
        LOG.info("%s-%s: expected %s, got %s: reading again", *tp, expected, offset)
        await self._seek_again([tp])
        return False

    async def _seek_again(self, partitions: Iterable[TP]) -> None:
        """Seek to what is expected next, so that what is not delivered comes again."""
        expected = {tp: self._expected[tp] for tp in partitions if tp in self._expected}
        if not expected:
            return
        try:
            await self.seek_wait(expected)
        except (IllegalStateError, TimeoutError) as error:
            # It has been taken away, and is sought where it is assigned; or Kafka is away.
            LOG.info("cannot read %s again now: %r", sorted(expected), error)

    # -- what cannot be read any more

    async def _look_into_hole(self, tp: TP, first: ConsumerRecord) -> None:
        """Report what retention has removed between the expected record and the one that came."""
        expected = self._expected[tp]
        begin = (await self._begins([tp])).get(tp, expected)
        self._report_expired(tp, expected, min(begin, first.offset), first.timestamp)

    @Service.timer(EMPTY_LOOK_EVERY)
    async def _look_now_and_then(self) -> None:
        await self.look_for_ranges_without_records()

    async def look_for_ranges_without_records(self) -> None:
        """Report and commit what the consumer passes over while no further record comes.

        Only what was passed over once more after we have sought its beginning, with nothing in
        flight: what was fetched and not delivered, for whatever reason, comes again.
        """
        empty = self._ranges_without_records()
        lasting = {tp: found for tp, found in empty.items() if self._empty.get(tp) == found}
        self._empty = empty
        await self._seek_again(empty.keys() - lasting.keys())
        begins = await self._begins(list(lasting)) if lasting else {}
        for tp, begin in begins.items():
            if self._ranges_without_records().get(tp) != lasting[tp]:
                continue
            expected, position = lasting[tp]
            self._report_expired(tp, expected, min(begin, position), int(time.time() * 1000))
            self._expected[tp] = position
            self._in_flight[tp].append(_without_records(expected, position))

    def _ranges_without_records(self) -> dict[TP, tuple[int, int]]:
        """Return by partition from where to where nothing can be read, up to its end."""
        found: dict[TP, tuple[int, int]] = {}
        if not (self._expected and self.flow_active):
            return found
        for tp in self._expected.keys() & self.assignment():
            if tp.topic not in self.sources or self._in_flight.get(tp):
                continue
            expected, undone, end = self._expected[tp], self.undone(tp), self.highwater(tp)
            if undone is not None and undone > expected and end is not None and undone >= end:
                found[tp] = expected, undone
        return found

    async def _begins(self, tps: Sequence[TP]) -> dict[TP, int]:
        """Return where partitions begin; nothing where Kafka does not say so now."""
        try:
            begins = await self.earliest_offsets(*tps)
        except KafkaError as error:
            LOG.warning("cannot ask where %s begin: %r", tps, error)
            return {}
        return {ensure_TP(tp): offset for tp, offset in begins.items() if offset is not None}

    def _report_expired(self, tp: TP, first: int, following: int, before: int) -> None:
        if following > first:
            expired = ExpiredUnread(*tp, first, following, self._taken.get(tp), before)
            report(expired, f"group {self.app.conf.id}")
            self.expired[tp] += expired.lost

    # -- acknowledgement and commit

    def ack(self, message: Message) -> bool:
        """Acknowledge a batch that is done.

        Upstream acknowledges whatever the stream lets go, also events that it skips because the
        flow is suspended or the generation old. Those must be read again: they are let go here
        without a trace, and the batches behind them are not committed.
        """
        fetched = cast(FetchedBatches, message.value)
        with ack_lock:
            message.acked = True
            self._unacked_messages.discard(message)
            # Upstream counts messages. Counted as one, batches of single records would have us
            # commit for every few of them, and fetching waits for a commit.
            self._n_acked += fetched.count
            notify(self._waiting_for_ack)
        return all(batch.done for batch in fetched.batches.values())

    def on_buffer_full(self, tp: TP) -> None:
        """Read on: where the stream's queue is full, the next message waits for it.

        Upstream reads no more of the partition that the last message is named after, which is one
        of several here, and looks a second later whether another one may be read.

        While it waits nothing is fetched, of the changelogs of standby copies neither; and where it
        waits for ``broker_max_poll_interval`` we leave the group, as one who hangs.
        """

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        """Yield the partitions whose first batch in flight is done.

        Upstream asks its list of acknowledged offsets, which a revocation empties before the
        last commit.
        """
        return (
            tp
            for tp, batches in list(self._in_flight.items())
            if batches
            and batches[0].done
            and (topics is None or tp in topics or tp.topic in topics)
        )

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset after the last batch of the done ones in front.

        Upstream takes each message for one offset, so the end of a batch is never committed.
        """
        batches = self._in_flight[tp]
        offset = None
        while batches and batches[0].done:
            offset = batches.popleft().next_offset
        return offset

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no gaps: upstream's let a commit pass a message that is still in flight."""

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight, and commit; what waits for the coordinator gives up.

        Who else writes for our partitions is waited for as well.

        Called when partitions are taken away, and when the app ends. After a crash there is nothing
        to wait for: what is not committed follows from batches that are read again. Upstream
        commits, and waits for ever for a consumer that the crash has ended already.

        Upstream also collects garbage before it looks whether anything has been acknowledged, again
        and again, for messages that were removed from a buffer and are still referred to. That
        stops the whole process for 0.1 s, on a busy machine for more than 1 s, each time, while the
        group waits. Here it is done where no acknowledgement comes.
        """
        self.membership.wake()
        if self.app.crashed:
            return
        while not self.should_stop and self._unacked_messages:
            acked = self._waiting_for_ack = self.loop.create_future()
            try:
                async with asyncio.timeout(ACK_TIMEOUT):
                    await acked
            except TimeoutError:
                gc.collect()
            finally:
                self._waiting_for_ack = None
            self._clean_unacked_messages()
        for nothing_is_written in self.also_wait_for:
            await nothing_is_written()
        # Who finds a commit under way waits for it, and commits nothing.
        await self.maybe_wait_for_commit_to_finish()
        await self.commit_and_end_transactions()

    # -- seeks

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the committed offsets, and to the beginning where nothing was committed.

        What is in flight is forgotten: it is read again. Where we begin is committed: what comes
        from now on, and expires before it is read, was ours to read.

        Upstream leaves a partition that was never committed, or at 0, wherever the fetcher is. It
        also fetches while aiokafka asks for the offset of one partition after the other, and moves
        on those that have been sought already. So all are sought once more, at one time.
        """
        committed = await super().seek_to_committed()
        self._in_flight.clear()
        positions = {ensure_TP(tp): at for tp, at in committed.items()}
        # What was assigned after we asked is sought by who has it assigned.
        assigned = positions.keys() & map(ensure_TP, self.assignment())
        sources = {tp: positions[tp] for tp in assigned if tp.topic in self.sources}
        known = {tp: at for tp, at in sources.items() if at is not None and at >= 0}
        fresh = sources.keys() - known.keys()
        self._expected.update(known)
        earliest = await self.earliest_offsets(*fresh) if fresh else {}
        begins = {ensure_TP(tp): offset or 0 for tp, offset in earliest.items()}
        for tp, offset in begins.items():
            self._in_flight[tp].append(_without_records(offset, offset))
        await self.seek_wait({**known, **begins})
        return committed

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seek, and expect what we sought."""
        sought = {ensure_TP(tp): offset for tp, offset in partitions.items()}
        self._expected.update(sought)
        await super().seek_wait(partitions)
        for tp in sought:
            self.handed_out.pop(tp, None)  # what was fetched before is not delivered

    # -- rebalance

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit what is in flight, then forget it."""
        self._revoking = True  # app.rebalancing may be reset by the end of the rebalance before
        try:
            await super().on_partitions_revoked(revoked)
        finally:
            self.is_joining = True
        for tp in revoked:
            self._in_flight.pop(tp, None)
            self._expected.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Expect nothing until a seek has said where to begin."""
        self._revoking = self.is_joining = False
        self._in_flight.clear()
        self._expected.clear()
        self._reread.clear()
        await super().on_partitions_assigned(assigned, generation_id)


def use_batched_transport(app: AppT, sources: set[str]) -> None:
    """Make ``app`` consume its ``sources`` and the changelogs of its tables in batches."""

    class Consumer(BatchedConsumer):
        logger = driver.logger

    class Transport(driver.Transport):
        logger = driver.logger

    Consumer.sources = frozenset(sources)
    Transport.Consumer = Consumer
    app.transport = Transport([URL(url) for url in app.conf.broker_consumer], app)
