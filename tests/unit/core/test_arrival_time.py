"""When notifications arrive and sessions begin: an order that no clock undoes."""

from datetime import UTC, datetime, timedelta

from vimfed.kafka.notification_writer import RisingClock, arrival_time

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_clock_that_is_set_back_or_stands_still_still_rises() -> None:
    wall = iter([NOON, NOON, NOON - timedelta(hours=1), NOON + timedelta(seconds=1)])
    clock = RisingClock(lambda: next(wall))
    microsecond = timedelta(microseconds=1)
    assert [clock.read() for _reading in range(4)] == [
        NOON,
        NOON + microsecond,
        NOON + 2 * microsecond,
        NOON + timedelta(seconds=1),
    ]


def test_each_arrival_time_sorts_behind_those_before() -> None:
    times = [arrival_time() for _reading in range(1000)]
    assert times == sorted(set(times))
