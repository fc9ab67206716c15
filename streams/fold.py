"""Fold a batch of notification records into rows and events. Decides, and does nothing."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aiokafka.structs import ConsumerRecord

from streams.normalise import (
    MalformedNotificationError,
    Passed,
    decode_notification,
    normalise,
)
from streams.transition import Outcome, encode_event, encode_row, transition
from vimfed.kafka import MAX_RECORD_BYTES
from vimfed.keys import instance_key
from vimfed.records import InstanceState

MAX_NOTIFICATION_BYTES = MAX_RECORD_BYTES - 16 * 1024
"""Largest notification from which rows and events are made: they hold its payload, and more."""
SURELY_FITS = MAX_RECORD_BYTES // 8
"""What is made of so many bytes of a notification and of an old payload need not be measured."""
HEADROOM = 400
"""So many calls further down the stack than elsewhere a batch is folded.

Python's stack bounds how deeply nested a payload can be to be decoded. What can be decoded here can
be wherever it is read later: in a row, an event or an answer, or from further down.
"""


@dataclass(slots=True)
class FoldedBatch:
    """What follows from a batch of records of one partition."""

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    """The last encoded row of each instance that changed, by key; None deletes it."""
    events: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Key and encoded VmEvent, in the order in which they are told."""
    rejected: list[tuple[ConsumerRecord, str]] = field(default_factory=list)
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
    records: Iterable[ConsumerRecord],
    read_row: Callable[[bytes], InstanceState | None],
    deleted_retention: float = math.inf,
) -> FoldedBatch:
    """Fold ``records``, reading an instance's row with ``read_row`` when it is first needed.

    ``deleted_retention`` is in seconds: what is told of an instance that was deleted longer ago,
    and has no row, makes none.
    """
    return _further_down(HEADROOM, lambda: _fold(records, read_row, deleted_retention))


def _further_down(calls: int, function: Callable[[], FoldedBatch]) -> FoldedBatch:
    return _further_down(calls - 1, function) if calls else function()


def _fold(
    records: Iterable[ConsumerRecord],
    read_row: Callable[[bytes], InstanceState | None],
    deleted_retention: float,
) -> FoldedBatch:
    folded = FoldedBatch()
    known: dict[bytes, InstanceState | None] = {}
    changed: dict[bytes, InstanceState] = {}
    for record in records:
        if len(record.value or b"") > MAX_NOTIFICATION_BYTES:
            folded.rejected.append((record, f"too large for a row: {len(record.value)} bytes"))
            folded.outcomes["too_large"] += 1
            continue
        try:
            notification = decode_notification(record.value or b"")
        except MalformedNotificationError as error:
            folded.rejected.append((record, str(error)))
            folded.outcomes["malformed"] += 1
            continue
        folded.received_at = max(folded.received_at, notification.received_at)
        news = normalise(notification)
        if isinstance(news, Passed):
            folded.passed[news.event_type] += 1
            folded.outcomes[news.reason] += 1
            continue
        key = instance_key(news.vim_id, news.instance_id)
        if key != record.key:
            # The row would lie in a partition where nobody looks for it.
            folded.rejected.append((record, f"the record's key is not {key.decode()}"))
            folded.outcomes["malformed"] += 1
            continue
        row = known[key] if key in known else read_row(key)
        try:
            outcome = transition(row, news, record.offset, deleted_retention)
        except RecursionError:
            folded.rejected.append((record, "nested too deeply"))
            folded.outcomes["malformed"] += 1
            continue
        events = [encode_event(event) for event in outcome.events]
        known_bytes = 0 if row is None else len(row.payload)
        if len(record.value) + known_bytes > SURELY_FITS and _is_too_large(
            key, outcome.row, events
        ):
            folded.rejected.append((record, "too large: what it says, with what was known before"))
            folded.outcomes["too_large"] += 1
            continue
        folded.outcomes[outcome.result] += 1
        if outcome.result == "too_late":
            folded.rejected.append((record, "too late to know whether it was told before"))
        if news.source == "poller" and row is not None and row.source == "oslo":
            folded.repaired += _repaired(key, outcome)
        if outcome.row is not None:
            row = changed[key] = outcome.row
        known[key] = row
        folded.events.extend((key, event) for event in events)
        if notification.source == "poller" and outcome.events:
            folded.reconciled[news.vim_id] += len(outcome.events)
    folded.rows = {key: encode_row(row) for key, row in changed.items()}
    return folded


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
