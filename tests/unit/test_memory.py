"""What a row remembers of what came before."""

import pytest

from streams.memory import ENTRY, HASH, clock_and_time, entry_of, holds, remember

ONE, TWO = (bytes([digit]) * HASH for digit in (1, 2))


def test_an_entry_tells_its_clock_and_its_time() -> None:
    assert clock_and_time(entry_of(ONE, 0xFFFF, 2**48 - 1)) == (0xFFFF, 2**48 - 1)
    assert clock_and_time(entry_of(ONE, 7, 1_770_000_000_123)) == (7, 1_770_000_000_123)


def test_a_memory_holds_what_it_was_given() -> None:
    memory = entry_of(ONE, 0, 5) + entry_of(TWO, 0, 6)
    assert holds(memory, ONE)
    assert holds(memory, TWO)
    assert not holds(memory, b"\3" * HASH)
    assert not holds(b"", ONE)


@pytest.mark.parametrize("at", range(1, ENTRY))
def test_what_looks_like_a_hash_between_two_entries_is_none(at: int) -> None:
    key = bytes(range(100, 100 + HASH))
    entries = bytearray(3 * ENTRY)
    entries[at : at + HASH] = key
    assert not holds(bytes(entries), key)
    assert holds(bytes(entries) + entry_of(key, 0, 0), key)


def test_an_entry_is_found_beside_what_looks_like_its_hash() -> None:
    entry = entry_of(ONE, 0, 1)
    for end in (0x01, 0x0101):
        assert holds(entry_of(TWO, 0, end) + entry, ONE)
    straddling = entry_of(TWO, 0, int.from_bytes(ONE[:6], "big")) + ONE[:2] + bytes(ENTRY - 2)
    assert holds(entry + straddling, ONE)
    assert holds(straddling + entry + straddling, ONE)
    assert not holds(straddling, ONE)


def test_the_oldest_entry_has_to_go() -> None:
    first, second, third = (entry_of(bytes([n]) * HASH, 0, n) for n in (1, 2, 3))
    memory, lost = remember(first, second, 2)
    assert (memory, lost) == (first + second, b"")
    assert remember(memory, third, 2) == (second + third, first)
