"""Make measurements of the samples of one partition. Decides, and does nothing.

The log decides: the clock of a partition is the newest ``received_at`` of its records so far. An
interval is closed by the first record whose time is the interval's end and the grace later; then
what its samples say of each instance and host is a measurement, and the row of each knows of it.
So the same log gives the same measurements, however it is cut into batches.

Open intervals live in memory alone. Whoever takes a partition over reads its samples again from
where the oldest open interval began (``Metering.resume``), with the rows as the changelog left
them: what a row has measured is not measured again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.core.fold import SourceRecord


class Facts(NamedTuple):
    """What the instances table says of an instance."""

    tenant_id: str = ""
    display_name: str = ""
    host: str = ""
    vm_state: str = ""


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
        raise NotImplementedError


def read_resume(offset: int, metadata: str) -> Resume:
    """Return what was committed: an offset and its metadata.

    Metadata of somebody else (of a tool that moved the offset) is read as if nothing were known.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Rules:
    """How measurements are made; times in seconds."""

    interval: int = 60
    grace: int = 60
    """After an interval, in which its samples may still come."""
    retention: float = 86400.0
    """After the last measurement, in which a row is kept; at least FORGET_AFTER."""
    most_subjects: float = float("inf")
    """Instances and hosts of one cloud in the partition (see ``quota_of_partition``)."""


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

    def adopt(self, key: bytes, row: bytes) -> list[bytes]:
        """Take in a row of the table, at a takeover, before anything is folded.

        Return the encoded measurements in it that may not be on their topic: they are told again
        before anything else is. Raises msgspec.DecodeError, and NewerSchemaError.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    @property
    def clock(self) -> str:
        """The newest time of the records so far; empty before the first one."""
        raise NotImplementedError

    @property
    def resume(self) -> Resume:
        """Where to begin after a crash, as soon as all that was folded is durable."""
        raise NotImplementedError

    def is_due(self, now: str) -> bool:
        """Return whether something waits for a record that says that it is ``now``.

        The partition's owner then writes an empty SampleRecord into it.
        """
        raise NotImplementedError

    def outlived(self, committed: int) -> list[bytes]:
        """Return the keys of rows that have outlived their time: they are to be deleted.

        They are those of subjects that were not measured for ``Rules.retention``, or for
        FORGET_AFTER where the instances table does not know the instance. ``committed`` is the
        offset that was committed last: what it makes a successor read again keeps its row. A key is
        returned once.
        """
        raise NotImplementedError


def empty_record(now: str) -> bytes:
    """Return the value of a record that tells its partition the time, and nothing else."""
    raise NotImplementedError


FORGET_AFTER = 3600.0
"""Seconds after its last measurement in which no row is deleted."""
FUTURE = 60.0
"""Seconds that a sample may be ahead of the time at which it was received."""
REASONS = ("time", "future", "name", "volume", "too_many_series", "too_often", "over_quota")
"""Why samples are refused."""
