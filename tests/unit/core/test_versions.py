"""Which of two pieces of news is newer, over sessions on one queue."""

import pytest

from streams.core.versions import arrived_later
from streams.core.versions import is_newer as is_newer_given
from vimfed.model.records import Version


def version(
    sequence: int = 1,
    *,
    at: str = "12:00:00",
    session: str = "",
    received: str = "",
    path: str = "queue",
    redelivered: bool = False,
) -> Version:
    return Version(path, sequence, at, 2, session, received, redelivered)


def is_newer(one: Version, known: Version | None, *, is_fresh: bool, wins_tie: bool) -> bool:
    came_later = arrived_later(one, known)
    return is_newer_given(one, known, came_later, is_fresh=is_fresh, wins_tie=wins_tie)


def test_within_a_session_the_sequence_decides_and_not_the_clocks() -> None:
    known = version(5, at="12:00:09", session="10")
    assert arrived_later(version(6, at="12:00:00", session="10"), known) is True
    assert arrived_later(version(4, at="12:00:20", session="10"), known) is False


def test_a_session_that_began_after_a_message_was_received_was_given_what_came_later() -> None:
    known = version(5, at="12:00:09", session="10", received="15")
    assert arrived_later(version(1, session="16", received="17"), known) is True
    assert arrived_later(known, version(1, session="16", received="17")) is False


def test_sessions_that_overlap_leave_it_to_the_clocks() -> None:
    known = version(5, at="12:00:09", session="10", received="17")
    assert arrived_later(version(1, session="16", received="18"), known) is None
    earlier, later = (
        version(1, at=at, session="16", received="18") for at in ("12:00:08", "12:00:10")
    )
    assert not is_newer(earlier, known, is_fresh=True, wins_tie=True)
    assert is_newer(later, known, is_fresh=True, wins_tie=False)


@pytest.mark.parametrize("session", ["10", "16"])
def test_what_was_given_out_before_is_left_to_the_clocks(session: str) -> None:
    known = version(5, at="12:00:09", session="10", received="15")
    assert arrived_later(version(6, session=session, redelivered=True), known) is None
    # What comes after it, and was not, came later.
    again = version(5, at="12:00:09", session="10", received="15", redelivered=True)
    assert arrived_later(version(6, session="10"), again) is True


def test_between_paths_and_without_one_the_clocks_decide() -> None:
    assert arrived_later(version(6), version(5, path="other")) is None
    assert arrived_later(version(6, path=""), version(5, path="")) is None


def test_a_redelivery_that_has_been_forgotten_is_not_newer() -> None:
    assert not is_newer(version(6), version(5), is_fresh=False, wins_tie=True)
    assert is_newer(version(6), None, is_fresh=False, wins_tie=False)
