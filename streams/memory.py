"""A row's memory of what has been told: fixed-width entries in one byte string, oldest first.

An entry is 16 bytes, big-endian: 8 of a hash, 2 that tag the sender's clock, 6 of that clock's
time in milliseconds since 1970. A memory holds its newest entries only; what it has to forget is
returned, so that the caller can still tell what is too old to judge from what is new.
"""

import hashlib
from zlib import crc32

ENTRY = 16
HASH = 8
MOST_MS = (1 << 48) - 1
"""The latest time that an entry can hold, in the year 10889."""


def hash_of(text: str) -> bytes:
    """Return a 64-bit hash of ``text``, the same in every process."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).digest()[:HASH]


def clock_tag(publisher_id: str) -> int:
    """Return the 16-bit tag of the clock by which a publisher tells the time."""
    return crc32(publisher_id.encode()) & 0xFFFF


def entry_of(key: bytes, clock: int, at_ms: int) -> bytes:
    """Return the entry of what has the hash ``key``, told at ``at_ms`` by the clock ``clock``."""
    return key + ((clock << 48) | at_ms).to_bytes(8, "big")


def clock_and_time(entry: bytes) -> tuple[int, int]:
    """Return (clock tag, ms since 1970) of an entry."""
    stamp = int.from_bytes(entry[HASH:], "big")
    return stamp >> 48, stamp & MOST_MS


def holds(memory: bytes, key: bytes) -> bool:
    """Return whether ``memory`` has an entry with the hash ``key``."""
    at = memory.find(key)
    while at >= 0 and at % ENTRY:
        at = memory.find(key, at + 1)
    return at >= 0


def remember(memory: bytes, entry: bytes, most: int) -> tuple[bytes, bytes]:
    """Return (memory with ``entry``, the entry that had to go or nothing)."""
    if len(memory) < most * ENTRY:
        return memory + entry, b""
    return memory[ENTRY:] + entry, memory[:ENTRY]
