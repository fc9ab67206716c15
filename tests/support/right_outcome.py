"""Compares what came of a simulated server's notifications with nova's own truth."""

from collections import Counter

from tests.simulated_nova import Cloud, Server, truth
from tests.support.nova_messages import INSTANCE
from tests.support.playing import Outcome


def assert_right(outcome: Outcome, server: Server, cloud: Cloud) -> None:
    """Fail unless state, events and errors are those that ``cloud`` told of ``server``."""
    assert_told(outcome, server, cloud)
    assert_errors_are_told(outcome, truth(server, cloud).errors)


def assert_told(
    outcome: Outcome, server: Server, cloud: Cloud, *, is_in_order: bool = True
) -> None:
    """Fail unless state and events are those that ``cloud`` told of ``server``.

    Out of order an update cannot know that an action tells the change as well: it may say more.
    """
    true = truth(server, cloud)
    if true.state is not None:
        assert outcome.state(INSTANCE) == true.state
    ids = [event.id for event in outcome.events]
    assert len(ids) == len(set(ids)), "two events have one id"
    assert outcome.told()[INSTANCE] == true.told
    told = Counter({(old, new): count for (_, old, new), count in outcome.changes().items()})
    assert not true.changes - told, "a change that updates alone tell was not told"
    if is_in_order:
        assert not told - true.changes - true.may_change, "a change was told twice"


def assert_errors_are_told(outcome: Outcome, errors: int) -> None:
    """Fail unless each change to error is told, and none by two events."""
    saying = [event for event in outcome.events if event.new_state == "error"]
    entering = [event for event in saying if event.old_state != "error"]
    # What is late, or first, says nothing of the state before.
    told = [event for event in entering if event.old_state]
    assert len(told) <= errors, "it was told to go into error more often than it did"
    news = [event for event in saying if event in entering or event.phase == "error"]
    assert len(news) >= errors, "an error was never told"
