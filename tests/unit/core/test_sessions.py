"""A listener that reconnects: the order on the queue outlives its sessions, whatever clocks say.

Both the recorded runs of real nova and the simulated one. Within a session arrival decides; a later
session's messages are newer; redelivered ones, and those of sessions at one time, are compared by
the senders' clocks.
"""

from functools import cache
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulated_nova import CLOUDS, Cloud, Server, lives
from tests.support.nova_messages import INSTANCE, in_order, legacy
from tests.support.playing import Outcome, by_two_listeners, in_sessions, play, with_skewed_clocks
from tests.support.right_outcome import assert_right
from tests.support.traces import PLAIN, ROUGH, notifications, truth

few = settings(max_examples=60, deadline=None)
with_updates = [cloud for cloud in CLOUDS if cloud.updates]


@cache
def never_broken(run: str) -> Outcome:
    return play(notifications(run))


def assert_as_if_never_broken(outcome: Outcome, run: str) -> None:
    states = truth(run).states
    assert {server: outcome.state(server) for server in states} == states
    clean = never_broken(run)
    assert outcome.told() == clean.told()
    assert outcome.changes() == clean.changes()
    assert {event.id for event in outcome.events} == {event.id for event in clean.events}
    assert outcome.results["late"] <= clean.results["late"]
    assert outcome.results["too_late"] == 0


@pytest.mark.parametrize("run", [PLAIN, ROUGH])
@pytest.mark.parametrize("repeated", [False, True], ids=["all-acknowledged", "tails-come-again"])
@pytest.mark.parametrize("seed", range(2))
def test_recorded_sessions_of_50_messages_outlive_clocks_that_are_5_s_wrong(
    run: str, repeated: bool, seed: int
) -> None:
    random = Random(seed)
    skewed = with_skewed_clocks(notifications(run), random)
    played = in_sessions(skewed, random, repeated=repeated)
    assert len({one.session for one in played}) > len(played) / 50
    outcome = play(played)
    assert_as_if_never_broken(outcome, run)
    assert (outcome.results["duplicate"] > 0) == repeated


@pytest.mark.parametrize("run", [PLAIN, ROUGH])
def test_what_was_delivered_but_not_written_comes_first_in_the_next_session(run: str) -> None:
    random = Random(0)
    played = in_sessions(notifications(run), random, repeated=True, unwritten=True)
    assert_as_if_never_broken(play(played), run)


@pytest.mark.parametrize("run", [PLAIN, ROUGH])
def test_two_sessions_at_one_time_are_compared_by_the_senders_clocks(run: str) -> None:
    outcome = play(by_two_listeners(notifications(run), Random(0)))
    states = truth(run).states
    assert {server: outcome.state(server) for server in states} == states
    assert outcome.told() == never_broken(run).told()


@given(
    lives(),
    st.sampled_from(CLOUDS),
    st.randoms(use_true_random=False),
    st.integers(1, 20),
    st.booleans(),
)
@few
def test_a_life_over_sessions_is_right_whatever_the_clocks_say(
    server: Server, cloud: Cloud, random: Random, longest: int, repeated: bool
) -> None:
    skewed = with_skewed_clocks(in_order(*cloud.sent(server)), random)
    outcome = play(in_sessions(skewed, random, longest=longest, repeated=repeated))
    assert_right(outcome, server, cloud)


@given(
    lives(), st.sampled_from(with_updates), st.randoms(use_true_random=False), st.integers(1, 20)
)
@few
def test_a_life_with_messages_written_a_session_later_is_right(
    server: Server, cloud: Cloud, random: Random, longest: int
) -> None:
    played = in_sessions(
        in_order(*cloud.sent(server)), random, longest=longest, repeated=True, unwritten=True
    )
    assert_right(play(played), server, cloud)


LATER = "2026-01-01T12:01:00.000000Z"
"""A session that begins when everything else here has arrived."""


def two_sessions(*, redelivered: bool, began: str = LATER) -> Outcome:
    """Stop an instance in one session, and start it in the next by a clock that is behind."""
    first = legacy("power_off.end", "stopped", at=20, request="req-1", sequence=7)
    second = legacy("power_on.end", at=10, request="req-2", received=70, publisher="compute.other")
    return play(
        [
            msgspec.structs.replace(first, session="2026-01-01T12:00:00.000000Z"),
            msgspec.structs.replace(second, session=began, redelivered=redelivered),
        ]
    )


def test_a_later_session_is_newer_though_its_senders_clock_is_behind() -> None:
    assert two_sessions(redelivered=False).state(INSTANCE) == ("active", "")


def test_what_is_redelivered_or_came_to_a_session_at_that_time_is_compared_by_clocks() -> None:
    assert two_sessions(redelivered=True).state(INSTANCE) == ("stopped", "")
    at_that_time = two_sessions(redelivered=False, began="2026-01-01T12:00:19.000000Z")
    assert at_that_time.state(INSTANCE) == ("stopped", "")
