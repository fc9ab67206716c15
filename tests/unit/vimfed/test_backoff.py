"""Pauses between attempts."""

from vimfed.process.backoff import Backoff


def test_pauses_double_up_to_the_maximum_with_jitter_and_begin_again() -> None:
    backoff = Backoff(1.0, 5.0)
    for most in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert most / 2 <= backoff.pause() <= most
    backoff.reset()
    assert 0.5 <= backoff.pause() <= 1.0


def test_pauses_of_two_differ() -> None:
    assert len({Backoff(1.0, 1.0).pause() for _ in range(20)}) > 10
