"""What the core makes of an instance that a cloud no longer has, whatever was known of it."""

import pytest

from tests.support.playing import Outcome, play
from vimfed.model.records import Notification
from vimfed.nova.bare_state import BareState, FoundAction, bare_state_notification
from vimfed.nova.states import DELETED, TASK_STATES, VM_STATES

INSTANCE = "4f398943-7d39-4119-8058-74768d6dfa52"
BEFORE = "2026-01-01T12:00:00.000000Z"
AFTER = "2026-01-01T13:00:00.000000Z"


def said(state: BareState, sequence: int, action: FoundAction | None = None) -> Notification:
    return bare_state_notification(
        "a_b",
        state,
        source="poller",
        path="a_b/poller/1" if sequence == 0 else "a_b/poller/2",
        sequence=sequence,
        received_at=state.timestamp,
        action=action,
    )


def gone(at: str = AFTER) -> Notification:
    return said(BareState(instance_id=INSTANCE, state=DELETED, timestamp=at), 1)


def state(vm_state: str, task_state: str = "") -> BareState:
    return BareState(
        instance_id=INSTANCE, state=vm_state, state_description=task_state, timestamp=BEFORE
    )


def last(outcome: Outcome) -> tuple[str, bool, bool]:
    event = outcome.events[-1]
    return event.new_state, event.inferred, event.late


@pytest.mark.parametrize("vm_state", sorted(VM_STATES - {DELETED}))
def test_whatever_its_state_was_it_is_deleted(vm_state: str) -> None:
    for task_state in ("", *TASK_STATES):
        outcome = play([said(state(vm_state, task_state), 0), gone()])
        assert outcome.state(INSTANCE) == (DELETED, ""), task_state
        assert last(outcome) == (DELETED, True, False), task_state
        event = outcome.events[-1]
        assert (event.kind, event.phase) == ("DELETE", "end"), task_state


def test_it_is_deleted_although_a_clock_was_ahead() -> None:
    outcome = play([said(state("active"), 0), gone(at="2026-01-01T11:00:00.000000Z")])
    assert outcome.state(INSTANCE) == (DELETED, "")
    assert last(outcome) == (DELETED, True, False)


def test_it_is_deleted_although_a_deletion_had_failed() -> None:
    failed = FoundAction(kind="DELETE", phase="error", request_id="r", host="", at=BEFORE)
    outcome = play([said(state("error"), 0, failed), gone()])
    assert outcome.state(INSTANCE) == (DELETED, "")
    assert last(outcome) == (DELETED, True, False)


def test_it_is_deleted_although_the_end_of_a_deletion_had_been_told() -> None:
    failed = FoundAction(kind="DELETE", phase="end", request_id="r", host="", at=BEFORE)
    outcome = play([said(state("active"), 0, failed), gone()])
    assert outcome.state(INSTANCE) == (DELETED, "")
    assert last(outcome) == (DELETED, True, False)
    assert len(outcome.events) == 2


def test_what_is_deleted_already_is_left_alone() -> None:
    outcome = play([said(state(DELETED), 0), gone()])
    assert outcome.results == {"changed": 1, "agrees": 1}
    assert len(outcome.events) == 1
