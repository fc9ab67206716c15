"""Follows the samples of the partitions that a worker owns: measurements out.

Samples wait for events, never the other way round. They lie on a topic of their own, which is read
by a consumer of its own, with little in flight; they are folded in steps of some milliseconds, take
half of the event loop's time at most, and none while notifications wait.

What follows from them becomes durable in an order of its own: the rows, which keep the newest
measurements, then the measurements on their topic, then the offset. Whatever is killed reads its
samples again from there, and tells again what its rows may have told nobody.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice

from streams.core.measurement import Facts
from streams.core.metering import Metered, Metering, Resume, Rules, empty_record, read_resume
from streams.engine.batched_transport import BatchedConsumer
from streams.engine.row_table import CHUNK, RowTable
from streams.worker.instance_index import InstanceIndex
from streams.worker.samples_metrics import SampleCounters
from streams.worker.table_writer import TableWriter
from vimfed.kafka.aio import (
    AIOKafkaProducer,
    ConsumerRecord,
    KafkaError,
    TopicPartition,
)
from vimfed.kafka.appending import append_all
from vimfed.kafka.clients import OutgoingRecord, new_consumer
from vimfed.kafka.dead_letter import dead_letter_of
from vimfed.kafka.expiry import ExpiryWatch, committed_of
from vimfed.kafka.notification_writer import arrival_time
from vimfed.kafka.topics import TopicNames
from vimfed.model.keys import kind_of_key, split_instance_key
from vimfed.model.records import SCHEMA_VERSION, schema_headers
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

STEP = 0.005
"""Seconds of folding before others have their turn on the event loop."""
MOST_RECORDS = 500
"""Records that are taken from the consumer at a time."""
FETCH_BYTES, FETCH_BYTES_OF_PARTITION = 1024 * 1024, 256 * 1024
"""What a broker may send at once: it waits in memory while notifications go first."""
FETCH_MAX_WAIT_MS = 500
POLL_MS = 200
PAUSE = 0.05
"""Seconds until the next look where nothing can be done now."""
RETRY_PAUSE = 1.0
"""The same where Kafka does not answer."""
COMMIT_EVERY = 1.0
"""Seconds between two commits: a successor reads as much more again."""
TELL_EVERY = 10.0
"""Seconds until a partition is told the time again, where something is still due."""

_HEADERS = schema_headers(SCHEMA_VERSION)


class _Followed:
    """A partition whose samples are followed."""

    def __init__(self, partition: int, taken_in: int, metering: Metering, offset: int) -> None:
        self.partition = partition
        self.taken_in = taken_in
        """The generation of the group in which it became ours."""
        self.metering = metering
        self.next_offset = offset
        """Of the first record that is not folded."""
        self.committed: Resume | None = None
        """What we have committed."""
        self.told_at = -TELL_EVERY
        """When (monotonic) it was told the time."""


class SamplesFollower:
    """Follows the samples whose meters, and instances, lie at this worker."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        rules: Rules,
        meters: RowTable,
        instances: RowTable,
        index: InstanceIndex,
        writer: TableWriter,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
        counters: SampleCounters,
        is_behind: Callable[[], bool],
    ) -> None:
        """``writer`` writes to ``meters``; ``consumer`` is the group's, and knows what we own.

        ``is_behind`` tells whether notifications wait.
        """
        self._kafka = kafka
        self._rules = rules
        self._names = TopicNames(kafka.topic_prefix)
        self._meters = meters
        self._instances = instances
        self._index = index
        self._writer = writer
        self._group = consumer
        self._producer = producer
        self._counters = counters
        self._is_behind = is_behind
        self._followed: dict[int, _Followed] = {}
        self._is_in_place = False
        """Whether the consumer reads what we follow, from where we are."""
        self._writing = asyncio.Lock()
        """Held from the look whether a partition is ours until what follows from it is durable."""
        self._committed_at = -COMMIT_EVERY
        self._consumer = new_consumer(
            kafka,
            group_id=self._names.samples_group,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES_OF_PARTITION,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        )
        self._expiry = ExpiryWatch(
            self._consumer, f"group {self._names.samples_group}", counters.expired
        )
        consumer.also_wait_for.append(self.quiet)

    async def run(self) -> None:
        """Follow until the app ends. What goes wrong ends it."""
        app = self._meters.app
        try:
            await self._consumer.start()
            try:
                while not app.should_stop:
                    await self._round()
            finally:
                await self._consumer.stop()
        except Exception as error:
            await app.crash(error)
            raise

    async def quiet(self) -> None:
        """Return once nothing is being written. Nothing more is while partitions are taken away."""
        async with self._writing:
            pass

    def lags(self) -> Mapping[int, int]:
        """Return by partition that is followed how many records are not done, as far as we know."""
        return {partition: self._lag(each) or 0 for partition, each in self._followed.items()}

    async def look(self, partition: int) -> None:
        """Tell a partition of ours the time if something is due there, and nothing else comes."""
        followed, now = self._followed.get(partition), arrival_time()
        if (
            followed is None
            or time.monotonic() < followed.told_at + TELL_EVERY
            or self._lag(followed) != 0
            or not followed.metering.is_due(now)
        ):
            return
        followed.told_at = time.monotonic()
        record = OutgoingRecord(self._names.samples, partition, b"", empty_record(now), _HEADERS)
        try:
            await append_all(self._producer, [record])
        except KafkaError as error:
            LOG.warning("samples, partition %s: is not told the time: %r", partition, error)

    # -- what is followed

    def _source(self, partition: int) -> TopicPartition:
        return TopicPartition(self._names.samples, partition)

    def _lag(self, followed: _Followed) -> int | None:
        """Return how many records are not done; None before Kafka has said where they end."""
        source = self._source(followed.partition)
        end = self._consumer.highwater(source) if source in self._consumer.assignment() else None
        return None if end is None else max(0, end - followed.next_offset)

    def _owned(self) -> Mapping[int, int] | None:
        """Return which partitions are ours, and since which generation; None: they may change.

        Only those of which both tables are here: while workers with and without samples run side by
        side, Faust assigns the tables apart from each other.
        """
        generation = self._meters.app.consumer_generation_id
        if self._group.is_leaving or any(
            table.generation != generation for table in (self._meters, self._instances)
        ):
            return None
        taken_in = self._meters.taken_in
        return {each: taken_in[each] for each in self._meters.active & self._instances.active}

    def _is_ours(self, followed: _Followed) -> bool:
        owned = self._owned()
        return owned is not None and owned.get(followed.partition) == followed.taken_in

    async def _owns(self, followed: _Followed) -> bool:
        """Return whether nobody else can own a partition yet."""
        is_member = await self._group.is_member(self._meters.generation)
        return is_member and self._is_ours(followed)

    async def _round(self) -> None:
        """Take over what is ours, and fold what came of it."""
        owned = self._owned()
        if owned is None or self._is_behind():
            await asyncio.sleep(PAUSE)
            return
        try:
            await self._keep_up_with(owned)
            fetched = await self._fetch()
            await self._expiry.look(fetched)
        except KafkaError as error:
            if not error.retriable:
                raise
            LOG.warning("samples cannot be read now: %r", error)
            await asyncio.sleep(RETRY_PAUSE)
            return
        for tp, records in fetched.items():
            followed = self._followed[tp.partition]
            if not await self._process(followed, records):
                # What was fetched of others, too, is read again.
                self._let_go(followed)
                return
        if time.monotonic() > self._committed_at + COMMIT_EVERY:
            self._committed_at = time.monotonic()
            await self._commit()
            await self._sweep()

    async def _keep_up_with(self, owned: Mapping[int, int]) -> None:
        """Follow what is ours, from where each partition is. Raises KafkaError."""
        for followed in list(self._followed.values()):
            if owned.get(followed.partition) != followed.taken_in:
                self._let_go(followed)
        for partition in owned.keys() - self._followed.keys():
            taken = await self._take_over(partition, owned[partition])
            if taken is not None:
                self._followed[partition] = taken
                self._is_in_place = False
        if self._followed and not self._is_in_place:
            self._consumer.assign(list(map(self._source, self._followed)))
            for followed in self._followed.values():
                self._consumer.seek(self._source(followed.partition), followed.next_offset)
            self._is_in_place = True

    def _let_go(self, followed: _Followed) -> None:
        del self._followed[followed.partition]
        self._is_in_place = False

    async def _take_over(self, partition: int, taken_in: int) -> _Followed | None:
        """Begin where the last owner was, and tell what it may have told nobody.

        Return None where the partition may have another owner by then. Raises KafkaError.
        """
        source = self._source(partition)
        place = await committed_of(self._consumer, source)
        if place is None:
            begins = await self._consumer.beginning_offsets([source])
            resume = Resume(begins[source])
        else:
            resume = read_resume(place.offset, place.metadata)
        metering = Metering(
            self._rules, partial(self._row, partition), partial(self._facts, partition), resume
        )
        followed = _Followed(partition, taken_in, metering, resume.offset)
        untold: list[tuple[bytes, bytes]] = []
        rows = self._meters.partition(partition).items()
        while chunk := list(islice(rows, CHUNK)):
            untold += ((key, each) for key, row in chunk for each in metering.adopt(key, row))
            await asyncio.sleep(0)
            if not self._is_ours(followed):
                return None
        async with self._writing:
            if not await self._owns(followed):
                return None
            await self._tell(partition, untold)
        return followed

    def _row(self, partition: int, key: bytes) -> bytes | None:
        return self._meters.partition(partition).get(key)

    def _facts(self, partition: int, key: bytes) -> Facts | None:
        if kind_of_key(key) != "instance":
            return None
        entry = self._index.entry(partition, *split_instance_key(key))
        if entry is None:
            return None
        return Facts(entry.tenant_id, entry.display_name, entry.host, entry.group.vm_state)

    # -- what comes

    async def _fetch(self) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        if not self._followed:
            await asyncio.sleep(PAUSE)
            return {}
        fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=MOST_RECORDS)
        return fetched

    async def _process(self, followed: _Followed, records: Sequence[ConsumerRecord]) -> bool:
        """Fold records, and make what follows durable.

        Return False where the partition may have another owner: what was folded is void then.
        """
        left = records
        while left:
            metered = Metered()
            while left and not metered.is_full:
                began = time.thread_time()
                done = followed.metering.fold(left, metered, _after(STEP))
                left = left[done:]
                await _rest(time.thread_time() - began)
                if not self._is_ours(followed):
                    return False
            began = time.thread_time()
            if not await self._make_durable(followed, metered):
                return False
            followed.next_offset = left[0].offset if left else records[-1].offset + 1
            self._counters.metered(metered)
            await _rest(time.thread_time() - began)
        return True

    async def _make_durable(self, followed: _Followed, metered: Metered) -> bool:
        """Write what follows from samples; return False where somebody else may own them by now."""
        partition = followed.partition
        async with self._writing:
            if not await self._owns(followed):
                return False
            await append_all(
                self._producer,
                [self._dead_letter(record, error) for record, error in metered.rejected],
            )
            if not await self._put(partition, metered.rows):
                return False
            # Once more the fence: a stop meanwhile must not tell what the next owner measures.
            if not await self._owns(followed):
                return False
            await self._tell(partition, metered.measurements)
        return True

    async def _put(self, partition: int, rows: Mapping[bytes, bytes | None]) -> bool:
        async with self._writer.lock(partition):
            return await self._writer.put(partition, dict(rows), self._meters.generation)

    async def _tell(self, partition: int, measurements: Sequence[tuple[bytes, bytes]]) -> None:
        await append_all(
            self._producer,
            [
                OutgoingRecord(self._names.measurements, partition, key, measurement, _HEADERS)
                for key, measurement in measurements
            ],
        )

    def _dead_letter(self, record: ConsumerRecord, error: str) -> OutgoingRecord:
        place = f"{record.topic}-{record.partition}@{record.offset}"
        LOG.warning("dead letter: %s: %s", place, error)
        return dead_letter_of(self._kafka, record, error, origin="samples")

    # -- now and then

    async def _commit(self) -> None:
        """Commit how far we are, where that has changed. All that was folded is durable."""
        due = {
            followed.partition: (followed, followed.metering.resume)
            for followed in self._followed.values()
            if followed.metering.resume != followed.committed
        }
        async with self._writing:
            due = {partition: each for partition, each in due.items() if await self._owns(each[0])}
            if not due:
                return
            try:
                await self._consumer.commit(
                    {
                        self._source(partition): (resume.offset, resume.metadata())
                        for partition, (_followed, resume) in due.items()
                    }
                )
            except KafkaError as error:
                if not error.retriable:
                    raise
                LOG.warning("cannot commit how far samples are followed: %r", error)
                return
        for followed, resume in due.values():
            followed.committed = resume

    async def _sweep(self) -> None:
        """Delete rows that have outlived their time: some of each partition at a time."""
        for followed in list(self._followed.values()):
            if followed.committed is None:
                continue
            began = time.thread_time()
            outlived = followed.metering.outlived(followed.committed.offset, _after(STEP))
            await _rest(time.thread_time() - began)
            async with self._writing:
                is_done = not outlived or (
                    await self._owns(followed)
                    and await self._put(followed.partition, dict.fromkeys(outlived))
                )
            if not is_done:
                self._let_go(followed)


def _after(seconds: float) -> Callable[[], bool]:
    """Return a function that tells whether some time has passed since now."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end


async def _rest(seconds: float) -> None:
    """Leave the event loop to others for as long as it was used."""
    await asyncio.sleep(seconds)
