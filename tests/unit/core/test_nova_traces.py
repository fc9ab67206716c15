"""The recorded runs of real nova, played in every way in which a cloud could deliver them.

However they come, every server ends in the state that nova's API told, and each start, end and
error that nova told is told once.
"""

from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from streams.core.news import Passed
from streams.core.normalise import normalise
from tests.support.playing import (
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
from tests.support.told_by_nova import (
    changes_told_by_updates_alone,
    errors_told,
    requests_with_actions,
    states_in_actions,
    told_by_nova,
)
from tests.support.traces import FAULTS, NEWEST, PLAIN, ROUGH, RUNS, notifications, truth
from vimfed.model.records import Notification, encode_row

UNDONE = ("soft delete fails", "unshelve fails")
"""Operations after whose start only an update tells that the state before is back."""

NEEDING_UPDATES = {PLAIN: 0, ROUGH: 6, FAULTS: 25, "nova-31": 0, "nova-26": 0}
"""How many servers of each run end in a state of which no action tells."""

RESETS = {
    PLAIN: {},
    # Two were reset to error in the middle of a live migration.
    ROUGH: {("active", "error"): 10, ("error", "active"): 10},
    # A reversion that fails at once tells no action.
    FAULTS: {("active", "error"): 3, ("error", "active"): 6, ("resized", "error"): 1},
    "nova-31": {("active", "error"): 7, ("error", "active"): 7},
    "nova-26": {("active", "error"): 7, ("error", "active"): 7},
}
"""How often each run changed a server's (old, new) vm_state in a request that tells no action."""

of_every_nova = pytest.mark.parametrize("run", RUNS)
in_any_order = pytest.mark.parametrize("run", NEWEST)
"""What a delivery may do to the order is the same whatever nova was the sender."""


def _changes(played: Iterable[Notification]) -> Counter[tuple[str, str, str]]:
    return Counter(change[:3] for change in changes_told_by_updates_alone(played).elements())


def assert_told_like_nova(outcome: Outcome, played: Played) -> None:
    assert outcome.told() == told_by_nova(played)
    assert outcome.changes() == _changes(played)
    assert len({event.id for event in outcome.events}) == len(outcome.events)


def assert_errors_are_news(outcome: Outcome, played: Played) -> None:
    """Each change to error is told: by the error of an action, or as a change of state."""
    events = Counter(
        event.instance_id
        for event in outcome.events
        if event.new_state == "error" and (event.kind == "STATE" or event.phase == "error")
    )
    errors = errors_told(played)
    assert {server for server in errors if events[server] < errors[server]} == set()


def assert_ends_in_truth(outcome: Outcome, run: str) -> None:
    states = truth(run).states
    assert outcome.rows.keys() == states.keys() | truth(run).unreachable
    assert {server: outcome.state(server) for server in states} == states


def assert_right(played: Played, run: str) -> Outcome:
    outcome = play(played)
    assert_ends_in_truth(outcome, run)
    assert_told_like_nova(outcome, played)
    assert_errors_are_news(outcome, played)
    return outcome


@of_every_nova
def test_a_trace_as_it_is_ends_in_novas_truth(run: str) -> None:
    outcome = assert_right(list(notifications(run)), run)
    assert outcome.results["duplicate"] == outcome.results["too_late"] == 0


@of_every_nova
def test_the_legacy_half_alone_ends_in_novas_truth(run: str) -> None:
    assert_right([one for one in notifications(run) if not is_versioned(one)], run)


@of_every_nova
def test_the_versioned_half_alone_ends_in_novas_truth(run: str) -> None:
    played = [one for one in notifications(run) if is_versioned(one)]
    assert_right(played, run)


@of_every_nova
def test_without_updates_all_is_right_but_errors_that_no_action_tells(run: str) -> None:
    played = [one for one in notifications(run) if not is_update(one)]
    outcome = play(played)
    assert_told_like_nova(outcome, played)
    wrong = {
        server for server, state in truth(run).states.items() if outcome.state(server) != state
    }
    carried, ran = states_in_actions(played), truth(run)
    untold = {server for server, state in ran.states.items() if state not in carried[server]}
    undone = {server for server, did in ran.did.items() if did[-1] in UNDONE}
    assert wrong == untold | undone
    assert len(wrong) == NEEDING_UPDATES[run]


@in_any_order
def test_each_message_delivered_twice_up_to_60_s_late_changes_nothing(run: str) -> None:
    for seed in range(3):
        outcome = assert_right(each_twice(notifications(run), Random(seed)), run)
        assert outcome.results["too_late"] == 0


@in_any_order
@pytest.mark.parametrize("seed", range(20))
def test_publishers_clocks_that_differ_by_seconds_do_not_matter_on_one_path(
    run: str, seed: int
) -> None:
    played = with_skewed_clocks(notifications(run), Random(seed))
    outcome = assert_right(played, run)
    assert outcome.results["late"] == outcome.results["too_late"] == 0


@in_any_order
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lagging_versioned", [True, False])
def test_of_two_paths_one_may_lag_60_s(run: str, seed: int, lagging_versioned: bool) -> None:
    played = on_two_paths(notifications(run), Random(seed), lagging_versioned=lagging_versioned)
    assert_right(played, run)


@in_any_order
@pytest.mark.parametrize("seed", range(5))
def test_every_message_on_its_own_path_may_be_shuffled_within_2_s(run: str, seed: int) -> None:
    assert_right(each_on_its_own_path(notifications(run), Random(seed)), run)


@of_every_nova
def test_state_events_are_exactly_what_no_action_tells(run: str) -> None:
    played = notifications(run)
    outcome = play(played)
    told = changes_told_by_updates_alone(played)
    assert outcome.changes() == _changes(played)
    assert {event.phase for event in outcome.events if event.kind == "STATE"} <= {"end"}
    # A late error comes under the request of the action that failed, a reset under its own.
    actions = requests_with_actions(played)
    resets = [change for change in told.elements() if change.request not in actions]
    assert Counter((change.old, change.new) for change in resets) == RESETS[run]
    reset_by_the_run = {
        server
        for server, did in truth(run).did.items()
        if {"reset_state", "reset to error"} & {*did}
    }
    assert reset_by_the_run <= {change.instance for change in resets}


@of_every_nova
def test_both_formats_of_one_thing_told_have_one_event_id(run: str) -> None:
    def events(versioned: bool) -> dict[str, tuple[str, str, str]]:
        played = [one for one in notifications(run) if is_versioned(one) == versioned]
        return {one.id: (one.instance_id, one.kind, one.phase) for one in play(played).events}

    legacy, versioned = events(versioned=False), events(versioned=True)
    assert legacy.keys() & versioned.keys()
    for one, other in ((legacy, versioned), (versioned, legacy)):
        # nova tells locks, say, in versioned notifications only.
        assert {one[only] for only in one.keys() - other.keys()}.isdisjoint(other.values())


@of_every_nova
def test_what_is_passed_over_is_counted_by_why(run: str) -> None:
    outcome = play(notifications(run))
    assert set(outcome.passed) <= {"audit", "not_instance", "failure"}
    passed = [one for one in map(normalise, notifications(run)) if isinstance(one, Passed)]
    assert sum(outcome.passed.values()) == len(passed)


@of_every_nova
def test_a_row_stays_small(run: str) -> None:
    assert max(len(encode_row(row)) for row in play(notifications(run)).rows.values()) < 5000
