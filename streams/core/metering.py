"""Make measurements of the samples of one partition. Decides, and does nothing.

The log decides: the clock of a partition is the newest ``received_at`` of its records so far, as
far as Kafka's own time of the record bears it out. An interval is closed by the first record whose
time is the interval's end and the grace later; then what its samples say of each instance and host
is a measurement, and the row of each knows of it. So the same log gives the same measurements,
however it is cut into batches.

Open intervals live in memory alone. Whoever takes a partition over reads its samples again from
where the oldest open interval began (``Metering.resume``), with the rows as the changelog left
them: what a row has measured is not measured again.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import msgspec

from streams.core.bounds import OutOfBoundsError
from streams.core.fold import SourceRecord
from streams.core.measurement import KEPT, Facts, Interval, Readings, measured, take
from streams.core.normalise import check_instance_id
from streams.core.sample_bounds import fault_of
from vimfed.model.decoding import UNREADABLE
from vimfed.model.keys import home_key, kind_of_key, split_instance_key
from vimfed.model.records import NewerSchemaError, Recorded, stray_schema
from vimfed.model.samples import (
    MetersState,
    Sample,
    SampleRecord,
    decode_meters,
    decode_samples,
    encode_measurement,
    encode_meters,
    encode_samples,
)
from vimfed.model.times import milliseconds, read_time, text_of_second

MAX_MEASUREMENTS = 1000
"""A batch has so many: then it is written, and others have their turn."""
MAX_ROW_BYTES = 100_000
"""A row that is larger takes no further measurement of the batch: with one more, of MAX_SERIES
values, it is within MAX_RECORD_BYTES."""
FORGET_AFTER = 3600
"""Seconds after its last measurement in which no row is deleted."""
FUTURE = 60
"""Seconds that a sample may be ahead of the time at which it was received, and that time of the one
at which Kafka took the record: whose clock is further ahead is not believed."""
REASONS = (
    "time",
    "future",
    "name",
    "volume",
    "too_many_series",
    "too_often",
    "too_many",
    "over_quota",
)
"""Why samples are refused."""

_LOOK_EVERY = 600
"""Seconds: rows are looked at for their age at full multiples of it, many of them at a time."""
_END_OF_TIME = "9999"
"""Times from that year on are none: an interval must have an end."""


class Resume(NamedTuple):
    """Where whoever takes over a partition begins to read its samples: what is committed."""

    offset: int
    """Of the first record with samples of an interval that is open; of the next record where none
    is."""
    clock: str = ""
    """The partition's clock there."""
    told: int = 0
    """Measurements closed by records before this offset are on their topic."""

    def metadata(self) -> str:
        """Return what is committed beside the offset."""
        return msgspec.json.encode(_Metadata(self.clock, self.told)).decode()


class _Metadata(msgspec.Struct, frozen=True):
    clock: str
    told: int


def read_resume(offset: int, metadata: str) -> Resume:
    """Return what was committed: an offset and its metadata.

    Metadata of somebody else (of a tool that moved the offset) is read as if nothing were known.
    """
    try:
        read = msgspec.json.decode(metadata, type=_Metadata)
    except msgspec.DecodeError:
        return Resume(offset, "", offset)
    return Resume(offset, read.clock, read.told)


@dataclass(frozen=True, slots=True)
class Rules:
    """How measurements are made; times in seconds."""

    interval: int = 60
    grace: int = 60
    """After an interval, in which its samples may still come."""
    retention: float = 86400.0
    """After the last measurement, in which a row is kept; at least FORGET_AFTER."""
    most_subjects: float = math.inf
    """Instances and hosts of one cloud in the partition (see ``quota_of_partition``)."""
    most_samples: float = math.inf
    """Samples of one cloud that an interval of the partition keeps; of a gauge it keeps one."""


@dataclass(slots=True)
class Metered:
    """What follows from a batch of records: what is to be made durable, in this order."""

    rejected: list[tuple[SourceRecord, str]] = field(default_factory=list)
    """Records that cannot be read, each with its error: dead letters."""
    rows: dict[bytes, bytes] = field(default_factory=dict)
    """The last encoded row (MetersState) of each subject that was measured, by key."""
    measurements: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Key and encoded Measurement, in the order in which they are told."""
    samples: Counter[str] = field(default_factory=Counter)
    """By cloud: all that came, also those of the three counters below."""
    late: Counter[str] = field(default_factory=Counter)
    """By cloud: their interval was closed."""
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By cloud and reason (REASONS)."""
    repeated: Counter[str] = field(default_factory=Counter)
    """By cloud: read again after a takeover, and measured before it."""
    measured: Counter[str] = field(default_factory=Counter)
    """Measurements, by cloud."""
    is_full: bool = False
    """Nothing more may be folded into it: it is to be made durable, and another one begun."""


@dataclass(slots=True)
class _OpenInterval:
    """The samples of all subjects in an interval that is not closed."""

    begin: str
    end: str
    offset: int
    """Of the first record with one of its samples."""
    clock: str
    """After that record: whoever reads it again decides as it was decided."""
    readings: dict[bytes, Readings] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)
    """How many samples of each cloud that is."""
    due: list[bytes] = field(default_factory=list)
    """While it is being closed: the keys that are left, the next one last."""


class _KnownRow(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of a row as is needed at a takeover."""

    measured_until: str = ""
    closed_by: int = -1


_decode_known = msgspec.json.Decoder(_KnownRow).decode


class UnreadableRecordError(ValueError):
    """A record cannot be read; the text says why."""


_read_time = lru_cache(maxsize=1024)(read_time)
"""The samples of a record mostly have one time."""
_milliseconds = lru_cache(maxsize=1024)(milliseconds)
_home_key = lru_cache(maxsize=1024)(home_key)
"""A pollster's message is about the instances of a host: so are those that come with it."""


def _never() -> bool:
    return False


class Metering:
    """The samples of one partition, and what becomes of them. Not safe for threads.

    At a takeover: ``adopt`` each row of the table, tell again what that returns, then ``fold`` from
    ``resume.offset`` on. Per batch: ``fold`` until a Metered is full or nothing more is there; make
    it durable (rejected, rows, then measurements); then commit ``resume``.
    """

    def __init__(
        self,
        rules: Rules,
        read_row: Callable[[bytes], bytes | None],
        facts_of: Callable[[bytes], Facts | None],
        resume: Resume,
    ) -> None:
        """``read_row`` returns a row of the meters table, as it was before the batch.

        ``facts_of`` returns what the instances table says of the instance with a key; None where it
        does not know it. Both are called when an interval is closed, for one key after the other.
        """
        self._rules = rules
        self._read_row = read_row
        self._facts_of = facts_of
        self._committed = resume
        self._next_offset = resume.offset
        self._clock = resume.clock
        self._clock_ms = milliseconds(resume.clock) or 0
        self._open: dict[int, _OpenInterval] = {}
        """By end, in seconds since 1970."""
        self._soonest = math.inf
        """The first of these ends."""
        self._subjects: dict[bytes, str] = {}
        """By key of each row and each subject that will have one: ``measured_until``."""
        self._held: Counter[str] = Counter()
        """How many of them each cloud has."""
        self._looks: list[tuple[int, bytes]] = []
        """A heap: when, in seconds since 1970, the age of each row is looked at."""

    def adopt(self, key: bytes, row: bytes) -> list[bytes]:
        """Take in a row of the table, at a takeover, before anything is folded.

        Return the encoded measurements in it that may not be on their topic: they are told again
        before anything else is. Raises msgspec.DecodeError, and NewerSchemaError.
        """
        known = _decode_known(row)
        self._hold(key)
        self._has_measured(key, known.measured_until)
        if known.closed_by < self._committed.told:
            return []
        return [encode_measurement(each) for each in decode_meters(row).measurements]

    def fold(
        self,
        records: Sequence[SourceRecord],
        metered: Metered,
        must_pause: Callable[[], bool] = _never,
    ) -> int:
        """Fold records into ``metered``; return how many of them are done, from the first one on.

        It ends early where ``must_pause`` says so, which is asked after each step, or where
        ``metered.is_full``. What is not done is folded next, in the same order; a record that has
        closed some of the intervals that are due is not done. Raises NewerSchemaError where a newer
        version is known to have written a record.
        """
        for done, record in enumerate(records):
            try:
                read, received_at, received_ms = _read(record)
            except UnreadableRecordError as error:
                metered.rejected.append((record, str(error)))
            else:
                if received_ms > self._clock_ms:
                    self._clock, self._clock_ms = received_at, received_ms
                for _each in self._close_due(record.offset, metered):
                    if metered.is_full or must_pause():
                        return done
                self._take(record, read, received_ms, metered)
            self._next_offset = record.offset + 1
            if must_pause():
                return done + 1
        return len(records)

    @property
    def clock(self) -> str:
        """The newest time of the records so far; empty before the first one."""
        return self._clock

    @property
    def resume(self) -> Resume:
        """Where to begin after a crash, as soon as all that was folded is durable."""
        told = max(self._committed.told, self._next_offset)
        oldest = min(self._open.values(), key=lambda each: each.offset, default=None)
        if oldest is None:
            return Resume(self._next_offset, self._clock, told)
        return Resume(oldest.offset, oldest.clock, told)

    def is_due(self, now: str) -> bool:
        """Return whether something waits for a record that says that it is ``now``.

        The partition's owner then writes an empty SampleRecord into it.
        """
        look = self._looks[0][0] if self._looks else math.inf
        now_ms = milliseconds(now) or 0
        return now_ms >= min(self._soonest + self._rules.grace, look) * 1000

    def outlived(self, committed: int, must_pause: Callable[[], bool] = _never) -> list[bytes]:
        """Return the keys of rows that have outlived their time: they are to be deleted.

        They are those of subjects that were not measured for ``Rules.retention``, or for
        FORGET_AFTER where the instances table does not know the instance. ``committed`` is the
        offset that was committed last: what it makes a successor read again keeps its row. A key is
        returned once. It ends early where ``must_pause`` says so, which is asked after each row;
        the others are looked at next time.
        """
        outlived = []
        now = self._clock_ms // 1000
        while self._looks and self._looks[0][0] <= now:
            key = heapq.heappop(self._looks)[1]
            if self._has_outlived(key, now, committed):
                self._let_go(key)
                outlived.append(key)
            else:
                self._look_at(key, self._next_look(key, now))
            if must_pause():
                break
        return outlived

    # -- samples come

    def _take(
        self, record: SourceRecord, read: SampleRecord, received_ms: int, metered: Metered
    ) -> None:
        if not read.vim_id:
            return
        key, vim_id = record.key, read.vim_id
        metered.samples[vim_id] += len(read.samples)
        for sample in read.samples:
            outcome = self._take_one(key, vim_id, sample, received_ms, record.offset)
            if outcome == "late":
                metered.late[vim_id] += 1
            elif outcome == "repeated":
                metered.repeated[vim_id] += 1
            elif outcome:
                metered.refused[vim_id, outcome] += 1

    def _take_one(
        self, key: bytes, vim_id: str, sample: Sample, received_ms: int, offset: int
    ) -> str:
        """Take a sample of a subject; return ``late``, ``repeated``, a reason, or nothing."""
        at, at_ms = _read_time(sample.at) or ("", 0)
        if not at_ms:  # before 1970, too, where all times would be one
            return "time"
        if at_ms > received_ms + FUTURE * 1000:
            return "future"
        fault = fault_of(sample)
        if fault:
            return fault
        end = (at_ms // 1000 // self._rules.interval + 1) * self._rules.interval
        if self._is_due_by_clock(end):
            return "late"
        until = self._subjects.get(key)
        if until is not None and at < until:
            return "repeated"
        interval = self._open.get(end)
        has_room = interval is None or interval.kept[vim_id] < self._rules.most_samples
        if interval is None or key not in interval.readings:
            if not has_room:
                return "too_many"
            if until is None and not self._hold_one_more(key, vim_id):
                return "over_quota"
            interval = interval or self._begin(end, offset)
            interval.readings[key] = {}
        outcome = take(interval.readings[key], sample, at, has_room=has_room)
        if outcome == KEPT:
            interval.kept[vim_id] += 1
            return ""
        return outcome

    def _begin(self, end: int, offset: int) -> _OpenInterval:
        begin, until = text_of_second(end - self._rules.interval), text_of_second(end)
        interval = self._open[end] = _OpenInterval(begin, until, offset, self._clock)
        self._soonest = min(self._soonest, end)
        return interval

    # -- intervals are closed

    def _is_due_by_clock(self, end: float) -> bool:
        return (end + self._rules.grace) * 1000 <= self._clock_ms

    def _close_due(self, offset: int, metered: Metered) -> Iterator[None]:
        """Close what is due, step by step, by end and then by key, until all is or it is full."""
        while self._is_due_by_clock(self._soonest):
            interval = self._open[int(self._soonest)]
            if not interval.due:
                interval.due = sorted(interval.readings, reverse=True)
            closed = Interval(interval.begin, interval.end, offset, self._clock)
            while interval.due:
                key = interval.due[-1]
                if not self._measure(key, interval.readings[key], closed, metered):
                    metered.is_full = True
                    yield
                del interval.readings[interval.due.pop()]
                yield
            del self._open[int(self._soonest)]
            self._soonest = min(self._open, default=math.inf)

    def _measure(
        self, key: bytes, readings: Readings, interval: Interval, metered: Metered
    ) -> bool:
        """Add a measurement to the batch; return False where there is no room for it."""
        if len(metered.rows.get(key, b"")) > MAX_ROW_BYTES:
            return False
        row = self._row_in(key, metered)
        facts = None if kind_of_key(key) == "host" else self._facts_of(key)
        measurement, row = measured(key, interval, readings, row, facts)
        metered.rows[key] = encode_meters(row)
        metered.measurements.append((key, encode_measurement(measurement)))
        metered.measured[measurement.vim_id] += 1
        metered.is_full = len(metered.measurements) >= MAX_MEASUREMENTS
        self._has_measured(key, interval.end)
        return True

    def _row_in(self, key: bytes, metered: Metered) -> MetersState | None:
        """Return a row with the measurements of this batch alone."""
        in_batch = metered.rows.get(key)
        if in_batch is not None:
            return decode_meters(in_batch)
        before = self._read_row(key)
        if before is None:
            return None
        return msgspec.structs.replace(decode_meters(before), measurements=())

    # -- which subjects there are

    def _hold(self, key: bytes) -> None:
        self._subjects[key] = ""
        self._held[split_instance_key(key)[0]] += 1

    def _hold_one_more(self, key: bytes, vim_id: str) -> bool:
        """Hold a subject if its cloud may have one more; return whether it may."""
        if self._held[vim_id] >= self._rules.most_subjects:
            return False
        self._hold(key)
        return True

    def _let_go(self, key: bytes) -> None:
        del self._subjects[key]
        self._held[split_instance_key(key)[0]] -= 1

    def _has_measured(self, key: bytes, until: str) -> None:
        if not self._subjects[key]:
            self._subjects[key] = until
            self._look_at(key, self._measured_at(key) + FORGET_AFTER)
        self._subjects[key] = until

    def _measured_at(self, key: bytes) -> int:
        return (milliseconds(self._subjects[key]) or 0) // 1000

    def _look_at(self, key: bytes, second: int) -> None:
        heapq.heappush(self._looks, (-(-second // _LOOK_EVERY) * _LOOK_EVERY, key))

    def _next_look(self, key: bytes, now: int) -> int:
        measured_at = self._measured_at(key)
        kept_until = measured_at + int(self._rules.retention)
        looks = (measured_at + FORGET_AFTER, kept_until, now + FORGET_AFTER)
        return min(each for each in looks if each > now)

    def _has_outlived(self, key: bytes, now: int, committed: int) -> bool:
        passed = now - self._measured_at(key)
        if passed < FORGET_AFTER or any(key in each.readings for each in self._open.values()):
            return False
        is_forgotten = passed >= self._rules.retention or (
            kind_of_key(key) == "instance" and self._facts_of(key) is None
        )
        row = self._read_row(key) if is_forgotten else None
        return row is not None and _decode_known(row).closed_by < committed


def empty_record(now: str) -> bytes:
    """Return the value of a record that tells its partition the time, and nothing else."""
    return encode_samples(SampleRecord(received_at=now))


def _read(record: SourceRecord) -> tuple[SampleRecord, str, int]:
    """Return what a record says, and when it was received, as a text and in ms since 1970.

    Raises UnreadableRecordError, and NewerSchemaError where a newer version wrote it.
    """
    try:
        read = decode_samples(record.value or b"")
    except UNREADABLE as error:
        raise UnreadableRecordError(f"no samples: {error}") from None
    except NewerSchemaError as error:
        stray = stray_schema(error, record.headers)
        if not stray:
            raise
        raise UnreadableRecordError(stray) from None
    received_ms = check_record(read, record.key)
    latest = record.timestamp // 1000 + FUTURE
    if received_ms > latest * 1000:
        return read, text_of_second(latest), latest * 1000
    return read, read.received_at, received_ms


def check_record(read: SampleRecord, key: bytes) -> int:
    """Return when a record was received, in ms since 1970.

    Raises UnreadableRecordError where it says no such time, or does not lie under the key of what
    it is about.
    """
    received_ms = _milliseconds(read.received_at)
    if received_ms is None or read.received_at >= _END_OF_TIME:
        raise UnreadableRecordError(f"not a time: received_at {read.received_at!r}")
    if read.vim_id or read.samples:
        _check_key(read, key)
    return received_ms


def _check_key(read: SampleRecord, key: bytes) -> None:
    if not (read.vim_id and (read.instance_id or read.host)):
        raise UnreadableRecordError("samples of neither an instance nor a host of a cloud")
    try:
        check_instance_id(read.instance_id)
    except OutOfBoundsError as error:
        raise UnreadableRecordError(str(error)) from None
    own = _home_key(read.vim_id, read.instance_id, read.host)
    if own != key:
        # The row would lie in a partition where nobody looks for it.
        raise UnreadableRecordError(f"the record's key is not {own.decode()}")
