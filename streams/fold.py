"""Fold a batch of notification records into rows and events. Decides, and does nothing."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.normalise import (
    MalformedNotificationError,
    Passed,
    decode_notification,
    normalise,
)
from streams.payloads import Payload
from streams.transition import Outcome, encode_event, encode_row, transition
from vimfed.flat_payload import NULL
from vimfed.kafka import MAX_RECORD_BYTES
from vimfed.keys import instance_key
from vimfed.records import InstanceState

MAX_NOTIFICATION_BYTES = MAX_RECORD_BYTES - 16 * 1024
"""Largest notification from which rows and events are made: they hold its payload, and more."""
SURELY_FITS = MAX_RECORD_BYTES // 8
"""A row made of so many bytes of an old payload and of a notification need not be measured."""
HEADROOM = 500
"""By so many levels a payload could be nested more deeply, and still be decoded here.

Python's stack bounds the depth: payloads stand deeper in rows, events and answers, and are read
from further down the stack.
"""
_OPENED, _CLOSED = b"[" * HEADROOM, b"]" * HEADROOM
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


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
        if not _is_named_by_text(news.payload):
            folded.rejected.append((record, "display_name is no text"))
            folded.outcomes["malformed"] += 1
            continue
        row = known[key] if key in known else read_row(key)
        try:
            outcome = transition(row, news, record.offset, deleted_retention)
            _check_nesting(row, outcome)
        except RecursionError:
            folded.rejected.append((record, "nested too deeply"))
            folded.outcomes["malformed"] += 1
            continue
        events = [encode_event(event) for event in outcome.events]
        if _is_too_large(record, outcome.row, events):
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


def _check_nesting(row: InstanceState | None, outcome: Outcome) -> None:
    """Raise RecursionError where a payload is nested more deeply than all who read it can read."""
    checked = None if row is None else row.payload
    for told in (*outcome.events, outcome.row):
        if told is not None and told.payload is not checked:
            checked = told.payload
            _decode_any(b"".join((_OPENED, checked, _CLOSED)))


def _is_named_by_text(payload: Payload) -> bool:
    """Return whether a payload's display_name is one: whoever shows or sorts by it counts on it."""
    name = payload.get("display_name", NULL) if isinstance(payload, dict) else payload.display_name
    return name == NULL or bytes(name).startswith(b'"')


def _is_too_large(record: ConsumerRecord, row: InstanceState | None, events: list[bytes]) -> bool:
    """Return whether a row or an event is too large for a record of its own.

    It can be where the notification is not: states stand there more than once, and a report keeps
    what was known.
    """
    most = MAX_RECORD_BYTES - len(record.key)
    if any(len(event) > most for event in events):
        return True
    return (
        row is not None
        and len(record.value) + len(row.payload) > SURELY_FITS
        and len(encode_row(row)) > most
    )


def _repaired(key: bytes, outcome: Outcome) -> list[str]:
    news = [f"{event.kind} {event.phase}" for event in outcome.events]
    if not news and outcome.result == "changed" and outcome.row is not None:
        news = [f"now {outcome.row.vm_state} {outcome.row.task_state}".rstrip()]
    return [f"{key.decode()}: {each}" for each in news]
