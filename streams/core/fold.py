"""Fold a batch of notification records into rows and events. Decides, and does nothing."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.core.bounds import OutOfBoundsError
from streams.core.normalise import (
    InstanceNews,
    MalformedNotificationError,
    Passed,
    decode_notification,
    normalise,
)
from streams.core.quota import CloudQuota
from streams.core.transition import Outcome, transition
from vimfed.model.keys import instance_key
from vimfed.model.records import (
    MAX_RECORD_BYTES,
    InstanceState,
    NewerSchemaError,
    encode_event,
    encode_row,
    stray_schema,
)

MAX_NOTIFICATION_BYTES = MAX_RECORD_BYTES - 16 * 1024
"""Largest notification from which rows and events are made: they hold its payload, and more."""
SURELY_FITS = MAX_RECORD_BYTES // 8
"""What is made of so many bytes of a notification and of an old payload need not be measured."""
HEADROOM = 400
"""So many calls further down the stack than elsewhere a batch is folded.

Python's stack bounds how deeply nested a payload can be to be decoded. What can be decoded here can
be wherever it is read later: in a row, an event or an answer, or from further down.
"""


class SourceRecord(Protocol):
    """A record of the notifications topic."""

    @property
    def key(self) -> bytes:
        """The key of the instance."""

    @property
    def value(self) -> bytes | None:
        """The notification as JSON."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


@dataclass(slots=True)
class FoldedBatch:
    """What follows from a batch of records of one partition."""

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    """The last encoded row of each instance that changed, by key; None deletes it."""
    events: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Key and encoded VmEvent, in the order in which they are told."""
    rejected: list[tuple[SourceRecord, str]] = field(default_factory=list)
    """Records that cannot be handled, each with its error."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How many notifications had which outcome."""
    passed: Counter[str] = field(default_factory=Counter)
    """Event types that were passed over, by name."""
    reconciled: Counter[str] = field(default_factory=Counter)
    """By cloud, how many of the events a poller has found before any notification told of them."""
    repaired: list[str] = field(default_factory=list)
    """What polling found of instances of which notifications had told last: instance and news."""
    received_at: str = ""
    """When the bridge received the newest of them."""


def fold(
    records: Iterable[SourceRecord],
    read_row: Callable[[bytes], InstanceState | None],
    deleted_retention: float = math.inf,
    quota: CloudQuota | None = None,
) -> FoldedBatch:
    """Fold ``records``, reading an instance's row with ``read_row`` when it is first needed.

    ``deleted_retention`` is in seconds: what is told of an instance that was deleted longer ago,
    and has no row, makes none. What would make a row beyond its cloud's ``quota`` is rejected.
    Raises NewerSchemaError where a newer version is known to have written a record.
    """
    quota = quota or CloudQuota()
    return _further_down(HEADROOM, lambda: _fold(records, read_row, deleted_retention, quota))


def _further_down(calls: int, function: Callable[[], FoldedBatch]) -> FoldedBatch:
    return _further_down(calls - 1, function) if calls else function()


class _RefusedError(Exception):
    """A record cannot be handled; the text says why."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


def _fold(
    records: Iterable[SourceRecord],
    read_row: Callable[[bytes], InstanceState | None],
    deleted_retention: float,
    quota: CloudQuota,
) -> FoldedBatch:
    folded = FoldedBatch()
    known: dict[bytes, InstanceState | None] = {}
    changed: dict[bytes, InstanceState] = {}
    for record in records:
        try:
            news = _read(record, folded)
            if news is None:
                continue
            row = known[record.key] if record.key in known else read_row(record.key)
            outcome, events = _applied(record, row, news, deleted_retention, quota)
        except _RefusedError as refused:
            folded.rejected.append((record, str(refused)))
            folded.outcomes[refused.outcome] += 1
            continue
        _count(folded, record, row, news, outcome)
        if outcome.row is not None:
            row = changed[record.key] = outcome.row
        known[record.key] = row
        folded.events.extend((record.key, event) for event in events)
    folded.rows = {key: encode_row(row) for key, row in changed.items()}
    return folded


def _over_quota(vim_id: str, most: float) -> str:
    return (
        f"cloud {vim_id} has {most:.0f} instances in this partition, its share of "
        "worker.instances_per_cloud: a new one is not taken in"
    )


def _read(record: SourceRecord, folded: FoldedBatch) -> InstanceNews | None:
    """Return what a record says, or None where it is passed over.

    Raises _RefusedError, and NewerSchemaError where a newer version wrote it.
    """
    value = record.value or b""
    if len(value) > MAX_NOTIFICATION_BYTES:
        raise _RefusedError("too_large", f"too large for a row: {len(value)} bytes")
    try:
        notification = decode_notification(value)
    except MalformedNotificationError as error:
        raise _RefusedError("malformed", str(error)) from None
    except NewerSchemaError as error:
        stray = stray_schema(error, record.headers)
        if not stray:
            raise
        raise _RefusedError("newer_schema", stray) from None
    folded.received_at = max(folded.received_at, notification.received_at)
    try:
        news = normalise(notification)
    except OutOfBoundsError as error:
        raise _RefusedError("out_of_bounds", str(error)) from None
    if isinstance(news, Passed):
        folded.passed[news.event_type] += 1
        folded.outcomes[news.reason] += 1
        return None
    key = instance_key(news.vim_id, news.instance_id)
    if key != record.key:
        # The row would lie in a partition where nobody looks for it.
        raise _RefusedError("malformed", f"the record's key is not {key.decode()}")
    return news


def _applied(
    record: SourceRecord,
    row: InstanceState | None,
    news: InstanceNews,
    deleted_retention: float,
    quota: CloudQuota,
) -> tuple[Outcome, list[bytes]]:
    """Return what ``news`` makes of ``row``, and its encoded events. Raises _RefusedError."""
    try:
        outcome = transition(row, news, record.offset, deleted_retention)
    except RecursionError:
        raise _RefusedError("malformed", "nested too deeply") from None
    events = [encode_event(event) for event in outcome.events]
    size = len(record.value or b"") + (0 if row is None else len(row.payload))
    if size > SURELY_FITS and _is_too_large(record.key, outcome.row, events):
        raise _RefusedError("too_large", "too large: what it says, with what was known before")
    if row is None and outcome.row is not None and not quota.take(news.vim_id):
        raise _RefusedError("over_quota", _over_quota(news.vim_id, quota.most))
    return outcome, events


def _count(
    folded: FoldedBatch,
    record: SourceRecord,
    row: InstanceState | None,
    news: InstanceNews,
    outcome: Outcome,
) -> None:
    folded.outcomes[outcome.result] += 1
    if outcome.result == "too_late":
        folded.rejected.append((record, "too late to know whether it was told before"))
    if news.source != "poller":
        return
    if row is not None and row.source == "oslo":
        folded.repaired += _repaired(record.key, outcome)
    if outcome.events:
        folded.reconciled[news.vim_id] += len(outcome.events)


def _is_too_large(key: bytes, row: InstanceState | None, events: list[bytes]) -> bool:
    """Return whether a row or an event is too large for a record of its own.

    It can be where the notification is not: states stand there more than once, and a report keeps
    what was known.
    """
    values = events if row is None else [*events, encode_row(row)]
    return any(len(key) + len(value) > MAX_RECORD_BYTES for value in values)


def _repaired(key: bytes, outcome: Outcome) -> list[str]:
    news = [f"{event.kind} {event.phase}" for event in outcome.events]
    if not news and outcome.result == "changed" and outcome.row is not None:
        news = [f"now {outcome.row.vm_state} {outcome.row.task_state}".rstrip()]
    return [f"{key.decode()}: {each}" for each in news]
