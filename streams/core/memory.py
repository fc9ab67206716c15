"""A row's memories: fixed-width entries in one byte string, oldest first.

There are two of them. ``messages`` holds message ids, by which a redelivery is known. ``told``
holds the identities of what has been told, and how often each teller has told it, by which the same
thing told by another teller is known. Both hold their newest entries only (in ``told`` what was
told again is the newest); what has to be forgotten is returned, so that the caller can still tell
what is too old to judge from what is new.

An entry is 16 bytes, big-endian: 8 of a hash, then

- in ``messages`` 2 that tag the sender's clock, and 6 of that clock's time in ms since 1970;
- in ``told`` 1 that counts the tellings in legacy notifications, 1 that counts those in versioned
  ones, and 6 for the time of the last one in ms since 1970. Of these 6 the highest bit says that
  the entry counts, and the fourth whether somebody else told the thing (a report, or an update in
  its stead).

Release 0.1.0 wrote a clock's tag into ``told`` too: such an entry counts as one telling of each.
"""

import hashlib
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

ENTRY = 16
HASH = 8
MAX_MS = (1 << 48) - 1
"""Latest time of a message id, in the year 10889."""
MAX_TOLD_MS = (1 << 44) - 1
"""Latest time of a told thing, in the year 2527."""

_SHA1 = hashlib.sha1(usedforsecurity=False)
"""Copied for each hash: that is faster than to make one anew."""

_COUNTS = 1 << 47
_OTHERS = 1 << 44


class Teller(IntEnum):
    """Who tells: each format tells a thing as often as it happens, others any number of times."""

    LEGACY = 0
    VERSIONED = 1
    OTHER = 2


class Tellings(NamedTuple):
    """How often each teller has told a thing; of others only whether one has."""

    legacy: int
    versioned: int
    others: int


_ONCE = (1 << 56 | _COUNTS, 1 << 48 | _COUNTS, _OTHERS | _COUNTS)
"""By teller: what stands above the time in the entry of what that teller alone told, once."""

_ONCE_EACH = 1 << 56 | 1 << 48 | _COUNTS
"""What stands above the time where both formats told a thing once."""
_COUNTERS = ((1 << 56, 0xFF << 56), (1 << 48, 0xFF << 48), (_OTHERS, _OTHERS))
"""By teller: what one telling adds to an entry, and the bits that hold its tellings."""


def hash_of(text: str) -> bytes:
    """Return a 64-bit hash of ``text``, the same in every process."""
    sha1 = _SHA1.copy()
    sha1.update(text.encode())
    return sha1.digest()[:HASH]


@lru_cache(maxsize=4096)
def clock_tag(publisher_id: str) -> int:
    """Return the 16-bit tag of the clock by which a publisher tells the time."""
    return crc32(publisher_id.encode()) & 0xFFFF


def message_entry(key: bytes, clock: int, at_ms: int) -> bytes:
    """Return the entry of a message id with the hash ``key``, sent at ``at_ms`` by ``clock``."""
    return key + ((clock << 48) | at_ms).to_bytes(8, "big")


def clock_and_time(entry: bytes) -> tuple[int, int]:
    """Return (clock tag, ms since 1970) of a message id's entry."""
    stamp = int.from_bytes(entry[HASH:], "big")
    return stamp >> 48, stamp & MAX_MS


def told_entry(key: bytes, teller: Teller, at_ms: int) -> bytes:
    """Return the entry of a thing with the hash ``key``, told once, by ``teller`` at ``at_ms``."""
    return key + (_ONCE[teller] | min(at_ms, MAX_TOLD_MS)).to_bytes(8, "big")


def told_at(entry: bytes) -> int:
    """Return when a thing was last told, in ms since 1970."""
    return int.from_bytes(entry[HASH:], "big") & MAX_TOLD_MS


def tellings_of(entry: bytes) -> Tellings:
    """Return how often each teller has told a thing."""
    stamp = int.from_bytes(entry[HASH:], "big")
    if not stamp & _COUNTS:
        return Tellings(1, 1, 0)
    return Tellings(stamp >> 56, stamp >> 48 & 0xFF, stamp >> 44 & 1)


def told_again(entry: bytes, teller: Teller, at_ms: int) -> bytes:
    """Return the entry of a thing that ``teller`` has told once more; 255 times are the most."""
    stamp = int.from_bytes(entry[HASH:], "big")
    last = stamp & MAX_TOLD_MS
    counts = stamp - last if stamp & _COUNTS else _ONCE_EACH
    lowest, most = _COUNTERS[teller]
    if counts & most != most:
        counts += lowest
    return entry[:HASH] + (counts | max(last, min(at_ms, MAX_TOLD_MS))).to_bytes(8, "big")


def find(memory: bytes, key: bytes) -> int:
    """Return where in ``memory`` the entry with the hash ``key`` begins; -1 where there is none."""
    at = memory.find(key)
    while at >= 0 and at % ENTRY:
        at = memory.find(key, at + 1)
    return at


def entry_at(memory: bytes, at: int) -> bytes:
    """Return the entry that begins at ``at``."""
    return memory[at : at + ENTRY]


def renewed(memory: bytes, at: int, entry: bytes) -> bytes:
    """Return ``memory`` with ``entry`` as the newest, instead of the one that begins at ``at``."""
    return memory[:at] + memory[at + ENTRY :] + entry


def remember(memory: bytes, entry: bytes, most: int) -> tuple[bytes, bytes]:
    """Return (memory with ``entry``, the entry that had to go or nothing)."""
    if len(memory) < most * ENTRY:
        return memory + entry, b""
    return memory[ENTRY:] + entry, memory[:ENTRY]
