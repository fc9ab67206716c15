"""Both recorded runs of real nova, played in every way in which a cloud could deliver them.

However they come, every server ends in the state that nova's API told, and each start, end and
error that nova told is told once.
"""

from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from streams.normalise import Passed, normalise
from streams.transition import encode_row
from tests.playing import (
    Outcome,
    Played,
    each_on_its_own_path,
    each_twice,
    is_update,
    is_versioned,
    on_two_paths,
    play,
    with_skewed_clocks,
)
from tests.told_by_nova import (
    changes_told_by_updates_alone,
    requests_with_actions,
    told_by_nova,
)
from tests.traces import PLAIN, ROUGH, notifications, truth
from vimfed.records import Notification

LATE_ERRORS = {
    "3bf8885b-97c9-49b1-832a-08e12e24add3",
    "56cf2c6d-4e06-4469-aa43-2cef6a65aaf8",
    "aa8e9421-8d06-4452-b2fb-c864a01a060b",
    "6ce7086a-0f1e-4a49-bc64-1683e994d72f",
    "1e48bfc7-539c-43b7-b9e4-722ec5f84576",
    "897fe634-8b6b-419d-902f-f987c00aaac4",
}
"""Servers of the rough run whose live migration failed at last: only an update tells the error."""

pytestmark = pytest.mark.parametrize("run", [PLAIN, ROUGH])


def _changes(played: Iterable[Notification]) -> Counter[tuple[str, str, str]]:
    return Counter(change[:3] for change in changes_told_by_updates_alone(played))


def assert_told_like_nova(outcome: Outcome, played: Played) -> None:
    assert outcome.told() == told_by_nova(played)
    assert outcome.changes() == _changes(played)
    assert len({event.id for event in outcome.events}) == len(outcome.events)


def assert_ends_in_truth(outcome: Outcome, run: str) -> None:
    states = truth(run).states
    assert outcome.rows.keys() == states.keys() | truth(run).unreachable
    assert {server: outcome.state(server) for server in states} == states


def assert_right(played: Played, run: str) -> Outcome:
    outcome = play(played)
    assert_ends_in_truth(outcome, run)
    assert_told_like_nova(outcome, played)
    return outcome


def test_a_trace_as_it_is_ends_in_novas_truth(run: str) -> None:
    outcome = assert_right(list(notifications(run)), run)
    assert outcome.results["duplicate"] == outcome.results["too_late"] == 0


def test_the_legacy_half_alone_ends_in_novas_truth(run: str) -> None:
    assert_right([one for one in notifications(run) if not is_versioned(one)], run)


def test_the_versioned_half_alone_ends_in_novas_truth(run: str) -> None:
    played = [one for one in notifications(run) if is_versioned(one)]
    outcome = play(played)
    assert_ends_in_truth(outcome, run)
    assert outcome.told() == told_by_nova(played)
    # The counting script reads legacy updates; both formats tell the same changes.
    assert outcome.changes() == _changes(notifications(run))


def test_without_updates_all_is_right_but_errors_that_no_action_tells(run: str) -> None:
    played = [one for one in notifications(run) if not is_update(one)]
    outcome = play(played)
    assert_told_like_nova(outcome, played)
    wrong = {
        server for server, state in truth(run).states.items() if outcome.state(server) != state
    }
    assert wrong == (LATE_ERRORS if run == ROUGH else set())


def test_each_message_delivered_twice_up_to_60_s_late_changes_nothing(run: str) -> None:
    for seed in range(3):
        outcome = assert_right(each_twice(notifications(run), Random(seed)), run)
        assert outcome.results["too_late"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_publishers_clocks_that_differ_by_seconds_do_not_matter_on_one_path(
    run: str, seed: int
) -> None:
    played = with_skewed_clocks(notifications(run), Random(seed))
    outcome = assert_right(played, run)
    assert outcome.results["late"] == outcome.results["too_late"] == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lagging_versioned", [True, False])
def test_of_two_paths_one_may_lag_60_s(run: str, seed: int, lagging_versioned: bool) -> None:
    played = on_two_paths(notifications(run), Random(seed), lagging_versioned=lagging_versioned)
    assert_right(played, run)


@pytest.mark.parametrize("seed", range(5))
def test_every_message_on_its_own_path_may_be_shuffled_within_2_s(run: str, seed: int) -> None:
    assert_right(each_on_its_own_path(notifications(run), Random(seed)), run)


def test_state_events_are_exactly_the_resets_and_the_late_errors(run: str) -> None:
    played = notifications(run)
    outcome = play(played)
    told = changes_told_by_updates_alone(played)
    assert outcome.changes() == Counter(change[:3] for change in told)
    assert {event.phase for event in outcome.events if event.kind == "STATE"} <= {"end"}
    if run == PLAIN:
        assert told == set()
        return
    # A late error comes under the request of the action that failed, a reset under its own.
    actions = requests_with_actions(played)
    late_errors = {change[0] for change in told if change[3] in actions}
    resets = [change[:3] for change in told if change[3] not in actions]
    assert late_errors == LATE_ERRORS
    assert Counter((old, new) for _, old, new in resets) == {
        ("active", "error"): 8,
        ("error", "active"): 10,  # two were reset to error in the middle of a live migration
    }
    reset_by_the_run = {server for server, did in truth(run).did.items() if "reset_state" in did}
    assert reset_by_the_run <= {server for server, _, _ in resets}


def test_both_formats_of_one_thing_told_have_one_event_id(run: str) -> None:
    def ids(versioned: bool) -> set[str]:
        played = [one for one in notifications(run) if is_versioned(one) == versioned]
        return {event.id for event in play(played).events}

    # nova tells locks in versioned notifications only.
    only_versioned = {
        event.id for event in play(notifications(run)).events if event.kind in ("LOCK", "UNLOCK")
    }
    assert ids(versioned=True) - ids(versioned=False) == only_versioned
    assert ids(versioned=False) <= ids(versioned=True)


def test_what_is_passed_over_is_counted_by_why(run: str) -> None:
    outcome = play(notifications(run))
    assert set(outcome.passed) <= {"audit", "not_instance", "failure"}
    passed = [one for one in map(normalise, notifications(run)) if isinstance(one, Passed)]
    assert sum(outcome.passed.values()) == len(passed)


def test_a_row_stays_small(run: str) -> None:
    assert max(len(encode_row(row)) for row in play(notifications(run)).rows.values()) < 5000
