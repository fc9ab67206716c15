"""Bare states and found actions: what they change, what they tell, and that nothing comes twice."""

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.inference import HISTORY, MAX_INFERENCES
from streams.core.kinds import KINDS, STATE, shown_kind
from streams.core.telling import MAX_TOLD
from tests.simulated_nova import Server, all_told, live, lives, plain_lives
from tests.support.bare_states import api_time, bare
from tests.support.nova_messages import INSTANCE, VIM, in_order, legacy, versioned
from tests.support.playing import play, states_after_each
from vimfed.model.records import Notification, Phase, VmEvent
from vimfed.nova.bare_state import (
    BareState,
    BareStateError,
    bare_state_notification,
    read_bare_state,
)

PHASES: tuple[Phase, ...] = ("start", "end")
STOP: tuple[str, Phase, str] = ("POWER_OFF", "end", "req-1")


def told(*played: Notification) -> list[tuple[str, str, bool]]:
    return [(event.kind, event.phase, event.inferred) for event in play(played).events]


def active(at: float = 0.0) -> Notification:
    return legacy("power_on.end", at=at, request="req-0", path="queue")


def test_a_bare_state_that_differs_changes_the_row_and_tells_the_kind_that_it_shows() -> None:
    outcome = play([active(), bare("stopped", at=30, since=12)])
    row, event = outcome.rows[INSTANCE], outcome.events[-1]
    assert (row.vm_state, row.task_state, row.source) == ("stopped", "", "poller")
    assert (row.kind, row.phase, row.changed_at) == ("POWER_OFF", "end", api_time(12))
    assert (event.kind, event.phase, event.inferred) == ("POWER_OFF", "end", True)
    assert (event.old_state, event.new_state, event.changed_at) == (
        "active",
        "stopped",
        api_time(12),
    )
    assert not event.late


def test_a_bare_state_that_agrees_leaves_no_trace() -> None:
    before = play([active()]).rows
    for repeated in (bare("active", at=30), bare("active", at=-30), bare("active", at=30, since=9)):
        outcome = play([active(), repeated])
        assert outcome.rows == before
        assert len(outcome.events) == 1
        assert outcome.results["agrees"] == 1


def test_a_bare_state_that_shows_another_host_moves_the_instance_and_tells_nothing() -> None:
    known = play([active()])
    here = msgspec.json.decode(known.rows[INSTANCE].payload)["host"]

    def seen_on(host: str | None, at: float) -> Notification:
        one = bare("active", at=at)
        said = msgspec.json.decode(one.payload) | {"host": host}
        return msgspec.structs.replace(one, payload=msgspec.Raw(msgspec.json.encode(said)))

    for unmoved in (seen_on(here, 30), seen_on(None, 30), seen_on("", 30), seen_on("h2", -30)):
        assert play([active(), unmoved]).rows == known.rows
    moved = play([active(), seen_on("h2", 30)])
    row = moved.rows[INSTANCE]
    assert len(moved.events) == 1
    assert msgspec.json.decode(row.payload)["host"] == "h2"
    assert (row.vm_state, row.changed_at) == ("active", known.rows[INSTANCE].changed_at)
    again = play([active(), seen_on("h2", 30), seen_on("h2", 30), seen_on(here, 20)])
    assert again.rows == moved.rows


def test_an_older_bare_state_leaves_the_row_and_tells_nothing() -> None:
    outcome = play([active(at=10), bare("stopped", at=9)])
    assert outcome.state(INSTANCE) == ("active", "")
    assert outcome.results == {"changed": 1, "late": 1}
    assert len(outcome.events) == 1


def test_a_task_tells_the_start_of_its_action_and_rest_its_end() -> None:
    assert told(
        active(),
        bare("active", "powering-off", at=1, sequence=1),
        bare("stopped", at=2, sequence=2),
        bare("stopped", "rebuilding", at=3, sequence=3),
        bare("stopped", "rebuild_spawning", at=4, sequence=4),
        bare("stopped", at=5, sequence=5),
    )[1:] == [
        ("POWER_OFF", "start", True),
        ("POWER_OFF", "end", True),
        ("REBUILD", "start", True),
        ("REBUILD", "end", True),
    ]


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (("active", ""), ("paused", ""), ("PAUSE", "end")),
        (("paused", ""), ("active", ""), ("UNPAUSE", "end")),
        (("stopped", ""), ("active", ""), ("POWER_ON", "end")),
        (("active", "pausing"), ("active", ""), (STATE, "end")),
        (("stopped", "powering-on"), ("stopped", ""), (STATE, "end")),
        (("active", "rebooting"), ("active", ""), ("REBOOT", "end")),
        (("stopped", "rebooting_hard"), ("active", ""), ("REBOOT", "end")),
        (("active", "migrating"), ("active", ""), (STATE, "end")),
        (("active", "resize_migrating"), ("active", "resize_migrated"), (STATE, "end")),
        (("", ""), ("building", ""), ("CREATE", "start")),
        (("building", ""), ("building", "spawning"), (STATE, "end")),
        (("building", "spawning"), ("error", ""), ("CREATE", "error")),
        (("building", "spawning"), ("active", ""), ("CREATE", "end")),
        (("active", ""), ("error", ""), (STATE, "end")),
        (("error", ""), ("active", ""), (STATE, "end")),
        (("paused", ""), ("error", ""), (STATE, "end")),
        (("resized", ""), ("active", ""), (STATE, "end")),
        (("resized", ""), ("stopped", ""), (STATE, "end")),
        (("resized", "resize_reverting"), ("active", ""), ("RESIZE_REVERT", "end")),
        (("active", "resize_finish"), ("resized", ""), ("RESIZE_FINISH", "end")),
        (("active", ""), ("active", "deleting"), ("DELETE", "start")),
        (("active", "deleting"), ("deleted", ""), ("DELETE", "end")),
        (("soft-delete", ""), ("active", ""), ("RESTORE", "end")),
        (("shelved_offloaded", ""), ("shelved_offloaded", "spawning"), ("UNSHELVE", "start")),
        (("shelved_offloaded", "spawning"), ("active", ""), ("UNSHELVE", "end")),
        (("active", ""), ("active", "a task of tomorrow"), (STATE, "end")),
        (("active", ""), ("a state of tomorrow", ""), (STATE, "end")),
    ],
)
def test_what_a_change_shows(
    old: tuple[str, str], new: tuple[str, str], shown: tuple[str, str]
) -> None:
    assert shown_kind(old, new) == shown


def test_every_state_of_an_actions_own_shows_it() -> None:
    for action in KINDS.values():
        if action.end_vm_state and action.kind != "RESIZE_FINISH":
            assert shown_kind(("active", ""), (action.end_vm_state, "")) == (action.kind, "end")
        for task in action.task_states:
            kind, phase = shown_kind(("active", ""), ("active", task))
            assert phase == "start"
            assert task in KINDS[kind].task_states


def test_an_action_that_was_told_is_not_inferred_again_from_the_state_that_it_leaves() -> None:
    notified = in_order(
        active(),
        legacy("power_off.end", "stopped", at=10, request="req-1"),
        legacy("update", "stopped", "powering-on", at=11, old=("stopped", "")),
    )
    outcome = play([*notified, bare("stopped", at=30)])
    assert outcome.events == play(notified).events
    assert outcome.rows[INSTANCE].inferences == ()


def test_the_action_itself_is_not_told_after_it_was_inferred() -> None:
    for build in (legacy, versioned):
        start = build("power_off.start", "active", "powering-off", at=10, request="req-1")
        end = build("power_off.end", "stopped", at=11, request="req-1")
        seen = bare("stopped", at=12)
        assert told(active(), seen, end) == told(active(), seen) == told(active(), seen, end, end)
        # The start was never told: it is late news.
        outcome = play([active(), seen, start, end])
        assert [(e.kind, e.phase, e.late) for e in outcome.events][1:] == [
            ("POWER_OFF", "end", False),
            ("POWER_OFF", "start", True),
        ]
        assert outcome.state(INSTANCE) == ("stopped", "")


def test_what_comes_later_than_an_inferred_action_is_another_one() -> None:
    seen = bare("stopped", at=12)
    again = legacy("power_off.end", "stopped", at=90, request="req-2")
    assert told(active(), seen, again)[2:] == [("POWER_OFF", "end", False)]


def test_an_inferred_action_stands_for_one_of_novas_and_not_for_the_next() -> None:
    played = [
        active(),
        bare("paused", at=10, since=9),
        legacy("pause.end", "paused", at=9, request="req-1", path="queue"),
        legacy("pause.end", "paused", at=9.5, request="req-2", path="queue"),
    ]
    assert told(*in_order(*played))[1:] == [("PAUSE", "end", True), ("PAUSE", "end", False)]


def test_an_action_from_before_the_state_that_was_known_is_another_one() -> None:
    played = [
        active(at=5),
        bare("paused", at=10, since=9),
        legacy("pause.end", "paused", at=3, request="req-1", path="other queue"),
    ]
    assert told(*played)[1:] == [("PAUSE", "end", True), ("PAUSE", "end", False)]


def test_a_state_that_an_inferred_failure_leaves_is_in_the_payload() -> None:
    played = [
        bare("building", "spawning", at=1, sequence=1),
        bare("error", at=2, sequence=2),
    ]
    outcome = play(played)
    assert (outcome.events[-1].kind, outcome.events[-1].phase) == ("CREATE", "error")
    assert json.loads(bytes(outcome.events[-1].payload))["state"] == "error"


def test_a_found_action_is_the_same_news_as_novas_notification() -> None:
    notified = legacy("power_off.end", "stopped", at=11.4, request="req-1", sequence=1)
    found = bare("stopped", at=30, since=11, action=STOP)
    for played in ([active(), notified, found], [active(), found, notified]):
        outcome = play(played)
        assert [event.kind for event in outcome.events] == ["POWER_ON", "POWER_OFF"]
        assert outcome.state(INSTANCE) == ("stopped", "")
    ids = [play([active(), one]).events[-1].id for one in (notified, found)]
    assert ids[0] == ids[1]


def test_a_found_action_that_is_known_leaves_no_trace_where_its_state_agrees() -> None:
    notified = [active(), legacy("power_off.end", "stopped", at=11.4, request="req-1", sequence=1)]
    before = play(notified).rows
    for found in (
        bare("stopped", at=30, since=11, action=STOP),
        bare("", at=11, action=STOP),
    ):
        assert play([*notified, found]).rows == before


def test_a_found_action_without_a_state_tells_what_its_kind_says() -> None:
    outcome = play(
        [
            active(),
            bare("", at=1, action=("POWER_OFF", "start", "r"), sequence=1),
            bare("", at=2, action=("POWER_OFF", "end", "r"), sequence=2),
            bare("", at=3, action=("POWER_ON", "start", "s"), sequence=3),
            bare("active", at=9, since=4, action=("POWER_ON", "end", "s"), sequence=4),
        ]
    )
    assert outcome.state(INSTANCE) == ("active", "")
    states = [
        (event.kind, event.phase, event.new_state, event.new_task_state, event.late)
        for event in outcome.events[1:]
    ]
    assert states == [
        ("POWER_OFF", "start", "active", "powering-off", False),
        ("POWER_OFF", "end", "stopped", "", False),
        ("POWER_ON", "start", "active", "powering-on", False),
        ("POWER_ON", "end", "active", "", False),
    ]
    for event in outcome.events[1:]:
        payload = json.loads(bytes(event.payload))
        assert (payload["state"], payload["state_description"]) == (
            event.new_state,
            event.new_task_state,
        )


def test_an_action_that_is_found_again_long_after_is_no_dead_letter() -> None:
    told = [
        bare("", at=number, action=("REBOOT", phase, f"r{number}"), sequence=2 * number + rank)
        for number in range(MAX_TOLD)
        for rank, phase in enumerate(PHASES)
    ]
    again = bare("", at=1, action=("REBOOT", "end", "r1"), path="after a restart")
    outcome = play([active(), *told, again, msgspec.structs.replace(again, message_id="again")])
    assert len(outcome.events) == 1 + 2 * MAX_TOLD
    assert outcome.results["known"] == 2


def test_a_state_that_no_action_explains_is_inferred_beside_the_known_one() -> None:
    notified = [active(), legacy("power_off.end", "stopped", at=11.4, request="req-1", sequence=1)]
    assert told(*notified, bare("error", at=30, since=11, action=STOP))[2:] == [
        (STATE, "end", True)
    ]


def test_what_a_report_does_not_know_stays_known() -> None:
    known = {"host": "compute09", "display_name": "VM9"}
    outcome = play([active(), bare("stopped", at=30, known=known)])
    before = json.loads(bytes(outcome.events[0].payload))
    for payload in (outcome.rows[INSTANCE].payload, outcome.events[-1].payload):
        assert json.loads(bytes(payload)) == before | known | {"state": "stopped"}


def test_an_instance_first_seen_gets_all_fields_and_an_event_unless_it_is_history() -> None:
    (fresh,) = play([bare("paused", at=30, since=29)]).events
    assert json.loads(bytes(fresh.payload))["metadata"] == {}
    assert (fresh.kind, fresh.phase) == ("PAUSE", "end")
    outcome = play([bare("paused", at=30, since=29 - HISTORY)])
    assert outcome.events == []
    assert outcome.rows[INSTANCE].changed_at == api_time(29 - HISTORY)


def test_a_deleted_instance_stays_deleted_whatever_is_pushed() -> None:
    outcome = play([active(), bare("deleted", at=5, sequence=1), bare("active", at=9, sequence=2)])
    assert outcome.state(INSTANCE) == ("deleted", "")
    assert [event.kind for event in outcome.events] == ["POWER_ON", "DELETE"]


def test_a_retry_of_a_pushed_state_is_recognised() -> None:
    push = bare("stopped", at=5, source="ingest", path="", received=6)
    retry = bare("stopped", at=5, source="ingest", path="", received=60)
    assert push.message_id == retry.message_id
    assert told(active(), push, active(at=7), retry) == told(active(), push, active(at=7))


def test_what_is_pushed_cannot_be_newer_than_its_arrival() -> None:
    future = bare("stopped", at=1e6, source="ingest", received=10)
    assert play([active(), future, active(at=20)]).state(INSTANCE) == ("active", "")


def test_a_row_keeps_few_inferences() -> None:
    states = ["stopped", "active", "paused", "active"] * 10
    row = play(bare(state, at=number, sequence=number) for number, state in enumerate(states)).rows[
        INSTANCE
    ]
    assert len(row.inferences) == MAX_INFERENCES


def _story(server: Server) -> list[tuple[Notification, Notification]]:
    """Each message with the bare state that was right after it."""
    story = []
    told = all_told(server)
    states = states_after_each(in_order(*told), INSTANCE)
    for number, (one, state) in enumerate(zip(told, states, strict=True)):
        at = (number + 1) * 1e-6
        seen = bare(*state, at=0, sequence=number)
        sent = one.timestamp.replace(" ", "T") + "Z"
        fields: dict[str, Any] = json.loads(bytes(seen.payload))
        fields |= {"timestamp": sent, "changed_at": sent}
        seen = msgspec.structs.replace(
            seen,
            timestamp=sent,
            message_id=f"seen {at}",
            payload=msgspec.Raw(json.dumps(fields).encode()),
        )
        story.append((one, seen))
    return story


few = settings(max_examples=40, deadline=None)


@given(lives(), st.data())
@few
def test_bare_states_between_the_messages_change_nothing(
    server: Server, data: st.DataObject
) -> None:
    story = _story(server)
    sent = [one for one, _seen in story]
    clean = play(in_order(*sent))
    played: list[Notification] = []
    for sequence, (one, seen) in enumerate(story):
        played.append(msgspec.structs.replace(one, sequence=sequence))
        if data.draw(st.booleans(), "seen"):
            played.append(seen)
    outcome = play(played)
    assert outcome.rows == clean.rows or (
        _but_offsets(outcome.rows[INSTANCE]) == _but_offsets(clean.rows[INSTANCE])
    )
    assert [event.id for event in outcome.events] == [event.id for event in clean.events]


def _but_offsets(row: Any) -> Any:
    return msgspec.structs.replace(row, source_offset=0)


@given(lives(), st.data())
@few
def test_lost_messages_are_repaired_by_the_next_bare_state(
    server: Server, data: st.DataObject
) -> None:
    story = _story(server)
    sent = [one for one, _seen in story]
    clean = play(in_order(*sent))
    lost = data.draw(st.sets(st.integers(0, len(sent) - 1)), "lost")
    played = [
        msgspec.structs.replace(one, sequence=number)
        for number, one in enumerate(sent)
        if number not in lost
    ]
    outcome = play([*played, story[-1][1]])
    assert outcome.state(INSTANCE) == clean.state(INSTANCE)
    assert not twice(outcome.events, clean.events)


@given(plain_lives(), st.data())
@few
def test_bare_states_may_come_before_the_messages_that_made_them(
    server: Server, data: st.DataObject
) -> None:
    story = _story(server)
    clean = play(in_order(*(one for one, _seen in story)))
    held: list[Notification] = []
    played: list[Notification] = []
    for sequence, (one, seen) in enumerate(story):
        held.append(msgspec.structs.replace(one, sequence=sequence))
        played.append(seen)
        if len(held) == MAX_INFERENCES or data.draw(st.booleans(), "delivered"):
            played += held
            held = []
    outcome = play([*played, *held])
    assert outcome.state(INSTANCE) == clean.state(INSTANCE)
    assert not twice(outcome.events, clean.events)


def twice(events: list[VmEvent], once: list[VmEvent]) -> Counter[tuple[str, str]]:
    """Return what was told more often than by nova itself.

    Left out is what a state cannot show: STATE says that nobody knows what it was, and whether an
    error is that of the action before is a guess.
    """

    def count(told: list[VmEvent]) -> Counter[tuple[str, str]]:
        return Counter(
            (event.kind, event.phase)
            for event in told
            if event.kind != STATE and event.phase != "error"
        )

    return count(events) - count(once)


def test_reading_a_bare_state_keeps_what_is_known() -> None:
    text = {
        "instance_id": INSTANCE,
        "state": "stopped",
        "state_description": None,
        "timestamp": "2026-01-01 12:00:00",
        "display_name": "VM1",
        "metadata": {"a": 1},
    }
    state = read_bare_state(json.dumps(text).encode())
    assert state == BareState(
        instance_id=INSTANCE,
        state="stopped",
        timestamp="2026-01-01T12:00:00.000000Z",
        known={"display_name": msgspec.Raw(b'"VM1"'), "metadata": msgspec.Raw(b'{"a": 1}')},
    )
    made = bare_state_notification(
        VIM, state, source="ingest", path="", sequence=1, received_at="2026-01-01T12:00:01.000000Z"
    )
    assert json.loads(bytes(made.payload))["metadata"] == {"a": 1}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"instance_id": ""}, "instance_id"),
        ({"instance_id": "a/b"}, "instance_id"),
        ({"instance_id": "x" * 256}, "instance_id"),
        ({"instance_id": 7}, "instance_id"),
        ({"state": "POWER_OFF"}, "'POWER_OFF'"),
        ({"state": None}, "state"),
        ({"state_description": "sleeping"}, "'sleeping'"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 5}, "timestamp"),
        ({"changed_at": "0001-01-01T00:00+14:00"}, "changed_at"),
        ({"colour": "red"}, "colour"),
        ({"root_gb": "much"}, "root_gb"),
    ],
)
def test_what_is_no_bare_state_is_refused_by_field(wrong: dict[str, Any], named: str) -> None:
    text = {"instance_id": INSTANCE, "state": "stopped", **wrong}
    with pytest.raises(BareStateError, match=named):
        read_bare_state(json.dumps(text).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 5000, b'{"state":"\xff"}'])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(BareStateError):
        read_bare_state(text)


def test_a_life_is_told_by_bare_states_alone() -> None:
    server = live([], deleted=True)
    seen = [state for _one, state in _story(server)]
    outcome = play(seen)
    assert outcome.state(INSTANCE) == ("deleted", "")
    assert outcome.events[-1].kind == "DELETE"
