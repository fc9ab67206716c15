"""What one piece of news changes: the next row of an instance, and the events to be told.

Pure: no clock, no I/O; times are those of the notifications. The rules:

1. A message id that is known already is a redelivery and changes nothing.
2. An action is told once: its identity is remembered. It does not matter which format or which
   path tells it first. What could be the repetition of something forgotten is too late to tell.
3. Within one path arrival decides what is newer; between paths the senders' clocks do.
4. What is not newer than the row's state leaves the state alone; its event is told, marked late.
5. A deleted instance stays deleted.
6. An update tells an event only where no action can: its own old and new states say that the
   vm_state changed while no task was running.
7. A report (a bare state, or a found action) that says nothing new leaves no trace. A state that it
   shows, and that no action told, is told as the event of the action that it shows, marked
   inferred; that action itself, if it is told after all, is then the same news.
"""

import hashlib
import math
from datetime import datetime
from typing import Literal, cast

import msgspec

from streams.kinds import KINDS, STATE, only_actions_make, shown_kind
from streams.memory import (
    HASH,
    clock_and_time,
    clock_tag,
    entry_of,
    hash_of,
    holds,
    remember,
)
from streams.normalise import InstanceNews
from streams.payloads import encode_flat, merged, with_state
from vimfed.nova_states import DELETED
from vimfed.records import Inference, InstanceState, Phase, Version, VmEvent

MOST_TOLD = 128
"""How many told identities a row remembers."""

MOST_MESSAGES = 64
"""How many message ids a row remembers; older ones are known by their senders' clocks."""

MOST_INFERENCES = 16
"""How many inferred events a row keeps in mind, until their actions are told."""

INFERENCE_SLACK = 5.0
"""Seconds by which an action's notification may come after the state that it makes was seen."""

HISTORY = 3600.0
"""Seconds: what changed longer ago when an instance is first seen makes a row, but no event."""

MOST_CLOCKS = 16
"""Of how many clocks a row knows how far it has forgotten their message ids."""

_EVENT_NAMESPACE = bytes.fromhex("6f0f5f3e8a1d5c0c9a3b2f64b7a1c9d2")
"""UUID namespace of the event ids."""

Result = Literal[
    "changed",  # the state changed; where an action says so, its event was told
    "told",  # the state stayed; an event was told
    "unchanged",  # newer, but it says nothing new
    "known",  # an action that has been told already; the state stayed
    "duplicate",  # this very message came before
    "late",  # older than the state
    "after_deletion",  # the instance is deleted and stays so
    "stale",  # a copy that tells an action, but no state
    "too_late",  # older than what the row remembers: nobody knows whether it has been told
    "unknown_deleted",  # of an instance whose row has been swept
    "agrees",  # a report of what is known already: it leaves no trace
]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What follows from one piece of news."""

    result: Result
    row: InstanceState | None = None
    """The row to write; None leaves it as it is."""
    events: tuple[VmEvent, ...] = ()


encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(InstanceState).decode
encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(VmEvent).decode

_RANKS: dict[Phase, int] = {"start": 0, "end": 2, "error": 2}
_UPDATE_RANK = 1
_DELETION_RANK = 3


def transition(
    row: InstanceState | None,
    news: InstanceNews,
    offset: int,
    deleted_retention: float = math.inf,
) -> Outcome:
    """Return what ``news``, which lies at ``offset`` in its topic, makes of ``row``. Never raises.

    ``deleted_retention`` says for how many seconds the row of a deleted instance is kept.
    """
    is_first = row is None
    if row is None:
        if news.vm_state == DELETED and _age(news.timestamp, news.received_at) > deleted_retention:
            return _tell_unknown_deleted(news)
        row = _blank_row(news)

    message = hash_of(news.message_id)
    if holds(row.messages, message):
        return Outcome("duplicate")
    identity = _identity(news) if _tells_event(news) else b""
    is_known = identity != b"" and holds(row.told, identity[:HASH])
    if identity and not is_known and news.timestamp_ms <= row.told_forgotten:
        # Who finds an action finds it again and again: it was told then.
        return Outcome("known" if news.is_report else "too_late")

    clock = clock_tag(news.publisher_id)
    is_fresh = news.timestamp_ms > row.messages_forgotten.get(clock, -1)
    version = Version(news.path, news.sequence, news.timestamp, _rank(news))
    applies = news.tells_state and _is_newer(
        version,
        row.state_version,
        is_fresh,
        (news.vm_state, news.task_state) >= (row.vm_state, row.task_state),
    )
    changes = applies and (news.vm_state, news.task_state) != (row.vm_state, row.task_state)
    if news.is_report and (is_known or news.is_update):
        if not changes:
            return Outcome(_result_of_report(row, news))
        news = _infer(row, news)
        is_known = False
        identity = _identity(news) if _tells_inferred(row, news, is_first=is_first) else b""
    is_new = identity != b"" and not is_known
    inference = _inference_of(row, news) if is_new else None
    tells = is_new and inference is None
    acts = tells and _is_newer(
        version, row.action_version, is_fresh, (news.kind, news.phase) >= (row.kind, row.phase)
    )
    is_late = not (applies if news.tells_state else acts)

    payload = row.payload
    if tells or (applies and (changes or not is_known)):
        payload = _payload(row, news)
    events = (_event(row, news, identity, payload, is_late=is_late),) if tells else ()

    messages, messages_forgotten = _with_message(row, news, message, clock)
    told, told_forgotten = (
        _with_told(row, news, identity, clock) if is_new else (row.told, row.told_forgotten)
    )
    moves = changes or (acts and (applies or not news.tells_state))
    next_row = InstanceState(
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        vm_state=news.vm_state if applies else row.vm_state,
        task_state=news.task_state if applies else row.task_state,
        power_state=_power_state(row, news) if applies else row.power_state,
        kind=news.kind if acts else row.kind,
        phase=news.phase if acts else row.phase,
        changed_at=news.changed_at if moves else row.changed_at,
        source=news.source if applies else row.source,
        payload=payload if applies else row.payload,
        state_version=version if applies else row.state_version,
        action_version=version if acts else row.action_version,
        told=told,
        told_forgotten=told_forgotten,
        inferences=_inferences(row, news, inference) if is_new else row.inferences,
        messages=messages,
        messages_forgotten=messages_forgotten,
        received_at=news.received_at,
        source_offset=offset,
    )
    return Outcome(
        _result(row, news, applies=applies, changes=changes, tells=tells, is_known=is_known),
        next_row,
        events,
    )


def has_outlived(row: InstanceState, arrival: str, deleted_retention: float) -> bool:
    """Return whether the instance is deleted, and was for ``deleted_retention`` seconds before
    ``arrival``, the time at which a later notification was received.
    """
    return row.vm_state == DELETED and _age(row.received_at, arrival) > deleted_retention


def _is_newer(version: Version, known: Version | None, is_fresh: bool, wins_tie: bool) -> bool:
    """Return whether ``version`` replaces ``known``.

    Deletion is final, whatever the clocks say. Within a path arrival decides, unless the message
    could be the redelivery of one that has been forgotten. Between paths the clocks decide.
    """
    if known is None:
        return True
    if (version.rank == _DELETION_RANK) != (known.rank == _DELETION_RANK):
        return version.rank == _DELETION_RANK
    if version.path and version.path == known.path:
        return is_fresh and version.sequence > known.sequence
    mine, theirs = (version.timestamp, version.rank), (known.timestamp, known.rank)
    return mine > theirs or (mine == theirs and wins_tie)


def _rank(news: InstanceNews) -> int:
    if news.vm_state == DELETED:
        return _DELETION_RANK
    return _UPDATE_RANK if news.is_update else _RANKS[news.phase]


def _tells_event(news: InstanceNews) -> bool:
    """Return whether there is an event to tell: an action, or a change that no action tells."""
    return not news.is_update or (
        news.old_vm_state not in ("", news.vm_state)
        and news.vm_state != ""
        and news.task_state == ""
        and news.old_task_state == ""
        and not only_actions_make(news.old_vm_state, news.vm_state)
    )


def _identity(news: InstanceNews) -> bytes:
    """Return the SHA-1 of an event's identity, as UUIDv5 takes it; its start is the told hash."""
    change = f"/{news.old_vm_state}/{news.vm_state}" if news.is_update else ""
    name = (
        f"{news.vim_id}/{news.instance_id}/{news.kind}/{news.phase}"
        f"/{news.operation}/{news.host}{change}"
    )
    return hashlib.sha1(_EVENT_NAMESPACE + name.encode(), usedforsecurity=False).digest()


def _uuid5(digest: bytes) -> str:
    """Return the UUIDv5 of a SHA-1 digest (RFC 4122, 4.3)."""
    octets = bytearray(digest[:16])
    octets[6] = octets[6] & 0x0F | 0x50
    octets[8] = octets[8] & 0x3F | 0x80
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _event(
    row: InstanceState, news: InstanceNews, identity: bytes, payload: msgspec.Raw, *, is_late: bool
) -> VmEvent:
    old, new = (row.vm_state, row.task_state), (news.vm_state, news.task_state)
    if news.is_update:
        old = (news.old_vm_state, news.old_task_state)
    elif is_late:
        old = ("", "")
    if not news.tells_state:
        new = _found_state(row, news) if news.is_report else (row.vm_state, row.task_state)
    return VmEvent(
        id=_uuid5(identity),
        vim_id=news.vim_id,
        instance_id=news.instance_id,
        kind=news.kind,
        phase=news.phase,
        old_state=old[0],
        old_task_state=old[1],
        new_state=new[0],
        new_task_state=new[1],
        changed_at=news.changed_at,
        late=is_late,
        inferred=news.is_inferred,
        source=news.source,
        payload=payload,
    )


def _payload(row: InstanceState, news: InstanceNews) -> msgspec.Raw:
    """Return the news' payload; where it says little, what is known with the state that it says."""
    if news.is_report:
        known = merged(row.payload, cast(dict[str, msgspec.Raw], news.payload))
        return known if news.tells_state else with_state(known, *_found_state(row, news))
    if not news.is_sparse:
        return encode_flat(news.payload)
    return with_state(row.payload, news.vm_state or row.vm_state, news.task_state)


def _found_state(row: InstanceState, news: InstanceNews) -> tuple[str, str]:
    """Return the states that a found action had then, as far as its kind says so."""
    action = KINDS[news.kind]
    if news.phase == "start":
        return row.vm_state, next(iter(action.task_states), "")
    return (action.end_vm_state if news.phase == "end" else "") or row.vm_state, ""


def _infer(row: InstanceState, news: InstanceNews) -> InstanceNews:
    """Return a report as news of the action that its state shows."""
    kind, phase = shown_kind((row.vm_state, row.task_state), (news.vm_state, news.task_state))
    return msgspec.structs.replace(
        news,
        kind=kind,
        phase=phase,
        is_update=False,
        operation=news.message_id,
        host="",
        is_inferred=True,
    )


def _tells_inferred(row: InstanceState, news: InstanceNews, *, is_first: bool) -> bool:
    """Return whether an inferred action is to be told: the row's last one has been told already."""
    if is_first and _age(news.changed_at, news.received_at) > HISTORY:
        return False
    if news.kind == STATE:
        return news.vm_state != row.vm_state
    return (news.kind, news.phase) != (row.kind, row.phase)


def _inference_of(row: InstanceState, news: InstanceNews) -> Inference | None:
    """Return the inference by which an action has been told already."""
    if news.is_inferred:
        return None
    for inference in row.inferences:
        if (
            (inference.kind, inference.phase) == (news.kind, news.phase)
            and _age(inference.after, news.timestamp) >= 0
            and _age(inference.until, news.timestamp) <= INFERENCE_SLACK
        ):
            return inference
    return None


def _inferences(
    row: InstanceState, news: InstanceNews, met: Inference | None
) -> tuple[Inference, ...]:
    """Return the row's inferences without the one that was met, and with a new one."""
    kept = tuple(inference for inference in row.inferences if inference is not met)
    if not news.is_inferred:
        return kept
    after = row.state_version.timestamp if row.state_version else ""
    return (*kept, Inference(news.kind, news.phase, after, news.timestamp))[-MOST_INFERENCES:]


def _result_of_report(row: InstanceState, news: InstanceNews) -> Result:
    """Return the result of a report that tells and changes nothing."""
    if (news.vm_state, news.task_state) == (row.vm_state, row.task_state):
        return "agrees"
    if not news.tells_state:
        return "known"
    return "after_deletion" if row.vm_state == DELETED else "late"


def _power_state(row: InstanceState, news: InstanceNews) -> str:
    """Return the told power_state; one that was told with another vm_state is no longer known."""
    return news.power_state or (row.power_state if news.vm_state == row.vm_state else "")


def _blank_row(news: InstanceNews) -> InstanceState:
    """Return the row of an instance of which nothing is known yet."""
    return InstanceState(
        vim_id=news.vim_id,
        instance_id=news.instance_id,
        vm_state="",
        task_state="",
        kind=STATE,
        phase="end",
        changed_at=news.changed_at,
        payload=encode_flat(news.payload),
    )


def _tell_unknown_deleted(news: InstanceNews) -> Outcome:
    """Return what follows from old news of a deletion, where the row has probably been swept."""
    if not _tells_event(news):
        return Outcome("unknown_deleted")
    row = _blank_row(news)
    event = _event(row, news, _identity(news), row.payload, is_late=True)
    return Outcome("unknown_deleted", None, (event,))


def _result(
    row: InstanceState,
    news: InstanceNews,
    *,
    applies: bool,
    changes: bool,
    tells: bool,
    is_known: bool,
) -> Result:
    if not news.tells_state:
        return "stale"
    if not applies:
        return "after_deletion" if row.vm_state == DELETED != news.vm_state else "late"
    if changes:
        return "changed"
    if tells:
        return "told"
    return "known" if is_known else "unchanged"


def _with_told(
    row: InstanceState, news: InstanceNews, identity: bytes, clock: int
) -> tuple[bytes, int]:
    """Return what the row has told with one more event, and until when it has forgotten some."""
    entry = entry_of(identity[:HASH], clock, news.timestamp_ms)
    told, lost = remember(row.told, entry, MOST_TOLD)
    if not lost:
        return told, row.told_forgotten
    return told, max(row.told_forgotten, _forgotten_at(lost, news))


def _with_message(
    row: InstanceState, news: InstanceNews, message: bytes, clock: int
) -> tuple[bytes, dict[int, int]]:
    """Return the row's messages with one more, and per clock until when it has forgotten some."""
    entry = entry_of(message, clock, news.timestamp_ms)
    messages, lost = remember(row.messages, entry, MOST_MESSAGES)
    if not lost:
        return messages, row.messages_forgotten
    lost_clock, _at_ms = clock_and_time(lost)
    return messages, _forget(row.messages_forgotten, lost_clock, _forgotten_at(lost, news))


def _forgotten_at(lost: bytes, news: InstanceNews) -> int:
    """Return the time of a forgotten entry (ms since 1970), at most the arrival of ``news``.

    Or a clock that was far ahead once would silence the instance until then.
    """
    _clock, at_ms = clock_and_time(lost)
    try:
        arrival = datetime.fromisoformat(news.received_at).timestamp()
    except ValueError:
        return at_ms
    return min(at_ms, int(arrival * 1000))


def _forget(forgotten: dict[int, int], clock: int, at_ms: int) -> dict[int, int]:
    """Return ``forgotten`` with the time of one more message id, of at most MOST_CLOCKS clocks."""
    after = {**forgotten, clock: max(at_ms, forgotten.get(clock, at_ms))}
    if len(after) > MOST_CLOCKS:
        del after[min(after, key=after.__getitem__)]
    return after


def _age(told: str, arrived: str) -> float:
    """Return the seconds from one normalised time to another; 0 where either is unknown."""
    try:
        return (datetime.fromisoformat(arrived) - datetime.fromisoformat(told)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
