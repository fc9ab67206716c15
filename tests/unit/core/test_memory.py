"""What a row remembers of what came before."""

import pytest

from streams.core.memory import (
    ENTRY,
    HASH,
    Teller,
    Tellings,
    clock_and_time,
    find,
    message_entry,
    remember,
    renewed,
    tellings_of,
    told_again,
    told_at,
    told_entry,
)

ONE, TWO = (bytes([digit]) * HASH for digit in (1, 2))


def test_an_entry_tells_its_clock_and_its_time() -> None:
    assert clock_and_time(message_entry(ONE, 0xFFFF, 2**48 - 1)) == (0xFFFF, 2**48 - 1)
    assert clock_and_time(message_entry(ONE, 7, 1_770_000_000_123)) == (7, 1_770_000_000_123)


def test_a_memory_holds_what_it_was_given() -> None:
    memory = message_entry(ONE, 0, 5) + message_entry(TWO, 0, 6)
    assert find(memory, ONE) >= 0
    assert find(memory, TWO) >= 0
    assert find(memory, b"\3" * HASH) < 0
    assert find(b"", ONE) < 0


@pytest.mark.parametrize("at", range(1, ENTRY))
def test_what_looks_like_a_hash_between_two_entries_is_none(at: int) -> None:
    key = bytes(range(100, 100 + HASH))
    entries = bytearray(3 * ENTRY)
    entries[at : at + HASH] = key
    assert find(bytes(entries), key) < 0
    assert find(bytes(entries) + message_entry(key, 0, 0), key) >= 0


def test_an_entry_is_found_beside_what_looks_like_its_hash() -> None:
    entry = message_entry(ONE, 0, 1)
    for end in (0x01, 0x0101):
        assert find(message_entry(TWO, 0, end) + entry, ONE) >= 0
    straddling = message_entry(TWO, 0, int.from_bytes(ONE[:6], "big")) + ONE[:2] + bytes(ENTRY - 2)
    assert find(entry + straddling, ONE) >= 0
    assert find(straddling + entry + straddling, ONE) >= 0
    assert find(straddling, ONE) < 0


def test_the_oldest_entry_has_to_go() -> None:
    first, second, third = (message_entry(bytes([n]) * HASH, 0, n) for n in (1, 2, 3))
    memory, lost = remember(first, second, 2)
    assert (memory, lost) == (first + second, b"")
    assert remember(memory, third, 2) == (second + third, first)


def test_an_entry_counts_the_tellings_of_each_teller() -> None:
    entry = told_entry(ONE, Teller.VERSIONED, 1_770_000_000_123)
    assert (tellings_of(entry), told_at(entry)) == (Tellings(0, 1, 0), 1_770_000_000_123)
    for teller in (Teller.LEGACY, Teller.LEGACY, Teller.VERSIONED, Teller.OTHER, Teller.OTHER):
        entry = told_again(entry, teller, 1_770_000_000_000)
    assert (tellings_of(entry), told_at(entry)) == (Tellings(2, 2, 1), 1_770_000_000_123)
    assert told_at(told_again(entry, Teller.OTHER, 1_770_000_000_500)) == 1_770_000_000_500
    assert entry[:HASH] == ONE


@pytest.mark.parametrize("teller", [Teller.LEGACY, Teller.VERSIONED])
def test_more_than_255_tellings_are_255(teller: Teller) -> None:
    entry = told_entry(ONE, teller, 5)
    for _ in range(300):
        entry = told_again(entry, teller, 5)
    assert tellings_of(entry)[teller] == 255
    assert sum(tellings_of(entry)) == 255
    assert told_at(entry) == 5


def test_a_time_that_no_entry_can_hold_is_the_latest_that_one_can() -> None:
    assert told_at(told_entry(ONE, Teller.LEGACY, 2**60)) == 2**44 - 1
    assert tellings_of(told_entry(ONE, Teller.LEGACY, 2**60)) == Tellings(1, 0, 0)


def test_what_release_0_1_0_remembers_counts_as_told_once_in_each_format() -> None:
    # It wrote the tag of the sender's clock there: 2 bytes of any value.
    entry = message_entry(ONE, 0xA31F, 1_770_000_000_123)
    assert (tellings_of(entry), told_at(entry)) == (Tellings(1, 1, 0), 1_770_000_000_123)


def test_a_renewed_entry_is_the_newest() -> None:
    first, second, third = (message_entry(bytes([n]) * HASH, 0, n) for n in (1, 2, 3))
    assert renewed(first + second, ENTRY, third) == first + third
    assert renewed(first + second, 0, third) == second + third
