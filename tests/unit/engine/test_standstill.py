"""Partitions of which records wait, and none is done."""

import pytest

from streams.engine import standstill
from streams.engine.standstill import Place, StandstillWatch
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(standstill, "time", clock)
    return clock


def test_a_partition_with_lag_that_is_at_the_same_place_is_stuck(clock: Clock) -> None:
    watch = StandstillWatch(stuck_after=10.0)
    for seconds, stuck in ((0, {}), (5, {}), (6, {3: 11.0})):
        clock.now += seconds
        places = {3: Place(7, 2), 4: Place(9, 0), 5: Place(int(clock.now), 2)}
        assert watch.look(places) == stuck


def test_time_in_which_nobody_looks_makes_nothing_stuck_that_has_no_lag(clock: Clock) -> None:
    watch = StandstillWatch(stuck_after=10.0)
    assert watch.look({3: Place(7, 0), 4: Place(9, 1)}) == {}
    clock.now += 60
    assert watch.look({3: Place(7, 0), 4: Place(9, 1)}) == {4: 60.0}


def test_what_is_excused_or_not_named_begins_anew(clock: Clock) -> None:
    watch = StandstillWatch(stuck_after=10.0)
    watch.look({3: Place(7, 2), 4: Place(9, 1)})
    clock.now += 20
    assert watch.look({3: Place(7, 2)}, is_excused=True) == {}
    assert watch.look({3: Place(7, 2), 4: Place(9, 1)}) == {}
