"""Which event a piece of news tells: rules 2 and 6 of streams/core/transition.py."""

import hashlib

import msgspec

from streams.core.kinds import STATE, Change, told_by_update
from streams.core.memory import (
    HASH,
    Teller,
    entry_at,
    find,
    remember,
    renewed,
    tellings_of,
    told_again,
    told_at,
    told_entry,
)
from streams.core.news import InstanceNews, Telling
from vimfed.model.records import InstanceState, Phase
from vimfed.model.times import read_time

MAX_TOLD = 128
"""How many told identities a row remembers."""

_DELETED = ("DELETE", "end")

_EVENT_NAMESPACE = bytes.fromhex("6f0f5f3e8a1d5c0c9a3b2f64b7a1c9d2")
"""UUID namespace of the event ids."""
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""What becomes of the digit of a hash of which a UUID's variant takes two bits."""
_NAMESPACE_SHA1 = hashlib.sha1(_EVENT_NAMESPACE, usedforsecurity=False)


def event_id(digest: bytes) -> str:
    """Return the UUIDv5 (RFC 4122, 4.3) of the event whose identity has the SHA-1 ``digest``."""
    text = digest.hex()
    variant = _VARIANT[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def as_told(row: InstanceState, news: InstanceNews, *, in_order: bool) -> InstanceNews | None:
    """Return ``news`` as that of which it tells an event; None where it tells none.

    An update tells a change that no action tells, and what an action tells where none will.
    ``in_order`` says that whatever came before it on its queue is known.
    """
    if not news.is_update:
        return news
    if news.old_vm_state in ("", news.vm_state):
        return None
    change = Change(
        (news.old_vm_state, news.old_task_state),
        (news.vm_state, news.task_state),
        has_host=not isinstance(news.payload, dict) and bool(news.payload.host),
        in_order=in_order,
        continues=row.state_version is None or row.operation == news.operation,
    )
    told = told_by_update(change)
    if told is not None and any(_has_told(row, news, *action) for action in told.unless):
        told = told.otherwise
    if told is None:
        return None
    if told.kind == STATE:
        return news
    if news.operation == news.notification.message_id:
        return None  # without a request, what the action tells would not be known as the same
    return msgspec.structs.replace(
        news,
        kind=told.kind,
        phase=told.phase,
        apart=told.apart,
        teller=Teller.OTHER,
        is_update=False,
    )


def tell(row: InstanceState, news: InstanceNews, *, is_fresh: bool) -> Telling:
    """Return what ``news`` tells. ``is_fresh``: see streams/core/versions.py.

    Each format tells a thing as often as it happens, so that its n-th telling in one format is the
    n-th in the other. A message that may be a redelivery, and what somebody else tells, is no
    further telling.
    """
    name = _name(news)
    digest = _digest(name + news.apart + _change(news))
    at = find(row.told, digest[:HASH])
    if at >= 0:
        return _told_again(row, news, name, digest, at, counts=is_fresh)
    if news.apart or news.teller is Teller.OTHER or (news.kind, news.phase) == _DELETED:
        known = _told_by_others(row, news, name, digest)
        if known is not None:
            return known
    if news.timestamp_ms <= row.told_forgotten:
        return Telling(row.told, row.told_forgotten, digest, is_too_late=True)
    return _told_first(row, news, name, digest)


def tell_first(row: InstanceState, news: InstanceNews) -> Telling:
    """Return what ``news`` tells, as something that was never told before."""
    name = _name(news)
    return _told_first(row, news, name, _digest(name + news.apart + _change(news)))


def _told_first(row: InstanceState, news: InstanceNews, name: str, digest: bytes) -> Telling:
    told, forgotten = _remember(row, row.told, news, digest[:HASH])
    for key in _other_keys(row, news, name):
        if find(told, key) >= 0:
            continue
        told, lost = _remember(row, told, news, key)
        forgotten = max(forgotten, lost)
    return Telling(told, forgotten, digest)


def _other_keys(row: InstanceState, news: InstanceNews, name: str) -> list[bytes]:
    """Return the further keys by which what ``news`` tells is known, if others tell it."""
    keys = []
    if news.apart:
        # Whoever finds out about it later does not name what tells it apart.
        keys.append(_key(name))
    if news.teller is Teller.OTHER and (news.kind, news.phase) == _DELETED:
        # Another request may tell the deletion after all: the instance is deleted once.
        keys.append(_key(_name_of(news, *_DELETED, operation="")))
    if news.phase == "error" and news.vm_state == "error" and news.tells_state:
        keys.append(_error_key(row, news))
    return keys


def _told_again(
    row: InstanceState, news: InstanceNews, name: str, digest: bytes, at: int, *, counts: bool
) -> Telling:
    entry = entry_at(row.told, at)
    if news.teller is Teller.OTHER or not counts:
        return Telling(row.told, row.told_forgotten, digest, is_known=True)
    tellings = tellings_of(entry)
    told = renewed(row.told, at, told_again(entry, news.teller, news.timestamp_ms))
    number = tellings[news.teller] + 1
    if number <= max(tellings):
        return Telling(told, row.told_forgotten, digest, is_known=True)
    digest = _digest(f"{name}{news.apart}{_change(news)}/{number}")
    return Telling(told, row.told_forgotten, digest)


def _told_by_others(
    row: InstanceState, news: InstanceNews, name: str, digest: bytes
) -> Telling | None:
    """Return what ``news`` tells if others have told it who gave it another identity."""
    if news.teller is Teller.OTHER:
        is_told = not news.is_report and find(row.told, _error_key(row, news)) >= 0
        return Telling(row.told, row.told_forgotten, digest, is_known=True) if is_told else None
    is_deletion = (news.kind, news.phase) == _DELETED
    if is_deletion:
        name = _name_of(news, *_DELETED, operation="")
    at = find(row.told, _key(name))
    if at < 0:
        return None
    entry = entry_at(row.told, at)
    if any(tellings_of(entry)[: Teller.OTHER]):
        return None
    if is_deletion and news.timestamp_ms < told_at(entry):
        return None  # the end of an earlier deletion, that failed
    entry = told_again(entry, news.teller, news.timestamp_ms)
    told, forgotten = _remember(row, renewed(row.told, at, entry), news, digest[:HASH])
    return Telling(told, forgotten, digest, is_known=True)


def _has_told(row: InstanceState, news: InstanceNews, kind: str, phase: Phase) -> bool:
    """Return whether the request of ``news`` has told of this action, wherever it happened."""
    return find(row.told, _key(_name_of(news, kind, phase, news.operation))) >= 0


def _remember(row: InstanceState, told: bytes, news: InstanceNews, key: bytes) -> tuple[bytes, int]:
    """Return ``told`` with one thing more, and until when the row's things are forgotten."""
    told, lost = remember(told, told_entry(key, news.teller, news.timestamp_ms), MAX_TOLD)
    if not lost:
        return told, row.told_forgotten
    return told, max(row.told_forgotten, forgotten_at(told_at(lost), row, news))


def forgotten_at(at_ms: int, row: InstanceState, news: InstanceNews) -> int:
    """Return the time of a forgotten entry (ms since 1970), at most that of the last arrival.

    Or a clock that was far ahead once would silence the instance until then.
    """
    received_at = news.notification.received_at
    if at_ms <= news.timestamp_ms and news.timestamp <= received_at:
        return at_ms
    # What is read again has arrived before what is known.
    arrival = read_time(max(row.received_at, received_at))
    return at_ms if arrival is None else min(at_ms, arrival[1])


def _error_key(row: InstanceState, news: InstanceNews) -> bytes:
    """Return the key of the STATE event of the change to error that ``news`` tells itself."""
    change = f"/{news.old_vm_state or row.vm_state}/error"
    return _key(f"{_name_of(news, STATE, 'end', news.operation)}{change}")


def _name(news: InstanceNews) -> str:
    """Return the identity of what is told, without what tells it apart."""
    return _name_of(news, news.kind, news.phase, news.operation)


def _name_of(news: InstanceNews, kind: str, phase: str, operation: str) -> str:
    return f"{news.notification.vim_id}/{news.instance_id}/{kind}/{phase}/{operation}/"


def _change(news: InstanceNews) -> str:
    return f"/{news.old_vm_state}/{news.vm_state}" if news.is_update else ""


def _digest(name: str) -> bytes:
    sha1 = _NAMESPACE_SHA1.copy()
    sha1.update(name.encode())
    return sha1.digest()


def _key(name: str) -> bytes:
    return _digest(name)[:HASH]
