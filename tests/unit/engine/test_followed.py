"""Up to when a copy is known to be complete."""

from streams.engine.followed import Followed


def test_a_copy_is_complete_up_to_when_the_changelog_ended_where_it_is_now() -> None:
    followed = Followed(until=10.0)
    followed.saw(end=100, at=20.0)
    followed.reached(99)
    assert followed.until == 10.0
    followed.reached(100)
    assert followed.until == 20.0


def test_a_copy_that_never_reaches_the_newest_end_is_as_old_as_the_ends_that_it_passes() -> None:
    followed = Followed(until=10.0)
    for second in range(20, 30):
        followed.saw(end=second * 10, at=float(second))
        followed.reached(second * 10 - 5)
    assert followed.until == 28.0


def test_old_answers_do_not_make_a_copy_older() -> None:
    followed = Followed(until=30.0)
    followed.saw(end=1, at=20.0)
    followed.reached(1)
    assert followed.until == 30.0
