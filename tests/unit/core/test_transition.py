"""The transition rules, one by one."""

import json
import uuid
from datetime import UTC
from typing import Any

import msgspec
import pytest

from streams.core.news import InstanceNews, Outcome
from streams.core.normalise import normalise
from streams.core.telling import MAX_TOLD
from streams.core.transition import (
    MAX_CLOCKS,
    MAX_MESSAGES,
    OTHER_CLOCKS,
    has_outlived,
    transition,
)
from tests.support.nova_messages import BEGIN, INSTANCE, in_order, legacy, versioned
from tests.support.playing import play
from vimfed.model.records import InstanceState, Notification
from vimfed.nova.states import TASK_STATES

DAY = 86_400.0
TASKS = sorted(TASK_STATES)
BUILDERS = (legacy, versioned)
GONE = {"deleted_at": "2026-01-01T12:00:09.000000", "terminated_at": "2026-01-01T12:00:09.000000"}


def step(row: InstanceState | None, one: Notification, **options: Any) -> Outcome:
    news = normalise(one)
    assert isinstance(news, InstanceNews)
    return transition(row, news, 7, **options)


def after(*notifications: Notification) -> InstanceState:
    return play(notifications).rows[INSTANCE]


def test_an_event_id_is_the_uuid5_of_what_was_told() -> None:
    (event,) = play([legacy("pause.end", "paused", request="req-9")]).events
    namespace = uuid.UUID("6f0f5f3e-8a1d-5c0c-9a3b-2f64b7a1c9d2")
    name = f"openstack_region/{INSTANCE}/PAUSE/end/req-9/"
    assert event.id == str(uuid.uuid5(namespace, name))


def test_without_a_request_id_the_message_id_takes_its_place() -> None:
    def events(build: Any, first: str, second: str) -> int:
        messages = [
            build("pause.end", "paused", request=None, message_id=first, at=1),
            build("pause.end", "paused", request=None, message_id=second, at=2),
        ]
        return len(play(in_order(*messages)).events)

    assert events(legacy, "m-1", "m-2") == 2
    assert events(legacy, "m-1", "m-1") == 1
    # A versioned payload names the request itself.
    twin = versioned("pause.end", "paused", request=None, fields={"request_id": "req-1"})
    assert len(play(in_order(legacy("pause.end", "paused"), twin)).events) == 1


def test_an_event_tells_the_states_before_and_after() -> None:
    outcome = play(
        in_order(
            legacy("power_off.start", "active", "powering-off", at=1),
            legacy("power_off.end", "stopped", at=2),
        )
    )
    first, second = outcome.events
    assert (first.old_state, first.old_task_state) == ("", "")
    assert (second.old_state, second.old_task_state) == ("active", "powering-off")
    assert (second.new_state, second.new_task_state) == ("stopped", "")
    assert second.changed_at == "2026-01-01T12:00:02.123456Z"
    assert not second.late


def test_late_news_is_told_and_leaves_the_state() -> None:
    newer = legacy("resume.end", "active", at=5, request="req-2", path="a")
    older = versioned("suspend.end", "suspended", at=4, path="b")
    outcome = play([newer, older])
    late = outcome.events[-1]
    assert (late.kind, late.late, late.new_state) == ("SUSPEND", True, "suspended")
    assert (late.old_state, late.old_task_state) == ("", "")
    row = outcome.rows[INSTANCE]
    assert (row.vm_state, row.kind, row.changed_at) == (
        "active",
        "RESUME",
        "2026-01-01T12:00:05.123456Z",
    )
    assert outcome.results == {"changed": 1, "late": 1}


def test_the_last_action_is_the_newest_though_an_update_is_newer_still() -> None:
    messages = [
        legacy("create.end", "active", at=1, path="a"),
        legacy("update", "active", None, old=("active", None), at=3, path="b"),
        versioned("lock", "active", at=2, request="req-2", path="c"),
    ]
    row = after(*messages)
    assert row.kind == "LOCK"
    assert row.state_version is not None
    assert row.state_version.path == "b"


def test_the_repetition_in_the_other_format_tells_the_power_state() -> None:
    first = legacy("power_off.end", "stopped", at=1)
    twin = versioned("power_off.end", "stopped", at=2, fields={"power_state": "shutdown"})
    assert after(*in_order(first)).power_state == ""
    assert after(*in_order(first, twin)).power_state == "shutdown"
    # It is no longer known when another vm_state is told without it.
    started = legacy("power_on.end", "active", at=3, request="req-2")
    assert after(*in_order(first, twin, started)).power_state == ""


def test_a_row_tells_where_its_state_was_learned_and_from_which_record() -> None:
    polled = msgspec.structs.replace(legacy("pause.end", "paused"), source="poller")
    row = step(None, polled).row
    assert row is not None
    assert (row.source, row.source_offset) == ("poller", 7)


def test_what_may_have_been_forgotten_is_too_late_to_tell() -> None:
    operations = [
        legacy("reboot.end", "active", at=at, request=f"req-{at}") for at in range(MAX_TOLD + 10)
    ]
    row = after(*in_order(*operations))
    assert len(play(in_order(*operations)).events) == len(operations)
    forgotten = legacy("reboot.end", at=5, request="req-5", message_id="twin", path="other")
    assert step(row, forgotten) == Outcome("too_late")
    remembered = legacy("reboot.end", at=20, request="req-20", message_id="twin", path="other")
    assert step(row, remembered).result == "late"
    assert step(row, remembered).events == ()
    never_told = legacy("pause.start", at=20, request="req-new", path="other")
    assert [event.kind for event in step(row, never_told).events] == ["PAUSE"]


def test_a_redelivery_is_known_even_when_its_message_id_is_forgotten() -> None:
    updates = [
        legacy(
            "update",
            "active",
            TASKS[at % len(TASKS)],
            old=("active", None),
            at=at,
            message_id=f"m{at}",
        )
        for at in range(3 * MAX_MESSAGES)
    ]
    row = after(*in_order(*updates, updates[0], updates[40], updates[-1]))
    assert row.task_state == TASKS[(3 * MAX_MESSAGES - 1) % len(TASKS)]


def test_a_row_keeps_apart_no_more_clocks_than_it_may() -> None:
    updates = [
        legacy(
            "update", "active", None, at=at, message_id=f"m{at}", publisher=f"compute.h{at % 40}"
        )
        for at in range(4 * MAX_MESSAGES)
    ]
    forgotten = after(*in_order(*updates)).messages_forgotten
    assert len(forgotten) == MAX_CLOCKS + 1
    # Those are kept that were forgotten last, each at the time of its newest; the newest of all
    # others stands for them.
    newest = [int(BEGIN.replace(tzinfo=UTC).timestamp() * 1000) + 1000 * at for at in range(192)]
    assert sorted(forgotten.values()) == newest[-MAX_CLOCKS - 1 :]
    assert forgotten[OTHER_CLOCKS] == min(forgotten.values())


def test_a_redelivery_by_a_clock_that_was_dropped_is_no_further_telling() -> None:
    begun = legacy("pause.start", at=0, publisher="compute.h0", message_id="first")
    others = [
        legacy(
            "update",
            old=("active", None),
            at=number,
            publisher=f"compute.host{number % 20}",
            message_id=f"{number}",
        )
        for number in range(1, 120)
    ]
    outcome = play(in_order(begun, *others, begun))
    assert [event.kind for event in outcome.events] == ["PAUSE"]


def test_of_a_clock_that_goes_back_the_newest_forgotten_time_counts() -> None:
    updates = [
        legacy("update", at=-at, old=("active", "rebooting"), message_id=f"m-{at}", received=60)
        for at in range(MAX_MESSAGES + 9)
    ]
    (at_ms,) = after(*in_order(*updates)).messages_forgotten.values()
    assert at_ms == int(BEGIN.replace(tzinfo=UTC).timestamp() * 1000)


def test_a_clock_that_was_far_ahead_once_silences_nothing() -> None:
    years = 14 * 365 * DAY
    ahead = [
        legacy("reboot.end", at=years, request=f"ahead-{n}", message_id=f"a{n}", received=n)
        for n in range(3)
    ]
    then = [
        legacy("pause.end", "paused", at=10 + n, request=f"req-{n}", message_id=f"m{n}")
        for n in range(MAX_TOLD + MAX_MESSAGES)
    ]
    outcome = play(in_order(*ahead, *then))
    assert len(outcome.events) == len(ahead) + len(then)
    assert outcome.state(INSTANCE) == ("paused", "")


def test_a_deleted_row_is_kept_for_a_time_after_its_last_record_arrived() -> None:
    row = after(legacy("delete.end", "deleted", fields=GONE, received=3600))
    assert row.received_at == "2026-01-01T13:00:00.123456Z"
    assert not has_outlived(row, "2026-01-02T13:00:00.000000Z", DAY)
    assert has_outlived(row, "2026-01-02T13:00:01.000000Z", DAY)
    assert not has_outlived(row, "", DAY)
    alive = after(legacy("pause.end", "paused"))
    assert not has_outlived(alive, "2027-01-01T00:00:00.000000Z", DAY)


def test_old_news_of_an_unknown_instances_deletion_makes_no_row() -> None:
    old = legacy("delete.end", "deleted", fields=GONE, received=DAY + 1)
    outcome = step(None, old, deleted_retention=DAY)
    assert (outcome.result, outcome.row) == ("unknown_deleted", None)
    (event,) = outcome.events
    assert (event.kind, event.late) == ("DELETE", True)
    assert json.loads(bytes(event.payload)) == json.loads(bytes(old.payload))
    update = legacy("update", "deleted", old=("active", "deleting"), received=DAY + 1)
    assert step(None, update, deleted_retention=DAY) == Outcome("unknown_deleted")
    fresh = legacy("delete.end", "deleted", fields=GONE, received=60)
    assert step(None, fresh, deleted_retention=DAY).row is not None


def test_a_trace_of_last_year_makes_rows_of_what_lives() -> None:
    old = legacy("pause.end", "paused", received=400 * DAY)
    assert step(None, old, deleted_retention=DAY).row is not None


def test_a_notification_that_tells_no_time_is_as_new_as_its_arrival() -> None:
    one = msgspec.structs.replace(legacy("pause.end", "paused"), timestamp="", received_at="")
    assert after(one).changed_at == ""
    assert after(one).vm_state == "paused"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("resized", "active"),
        ("resized", "stopped"),
    ],
)
def test_an_update_does_not_tell_what_an_action_tells(old: str, new: str) -> None:
    outcome = play([legacy("update", new, None, old=(old, None))])
    assert outcome.events == []
    assert outcome.rows[INSTANCE].vm_state == new


@pytest.mark.parametrize(
    ("kind", "action", "state"),
    [("DELETE", "delete", "deleted"), ("SOFT_DELETE", "soft_delete", "soft-delete")],
)
def test_an_update_tells_a_deletion_only_where_its_request_has_told_no_start(
    kind: str, action: str, state: str
) -> None:
    begun = legacy(f"{action}.start", "active", "deleting", at=1)
    gone = [build("update", state, None, old=("active", None), at=2) for build in BUILDERS]
    ended = [build(f"{action}.end", state, at=3) for build in BUILDERS]

    def told(*messages: Notification) -> list[tuple[str, str]]:
        return [(event.kind, event.phase) for event in play(in_order(*messages)).events]

    assert told(*gone) == [(kind, "end")]
    assert told(*gone, *ended) == [(kind, "end")]
    assert told(begun, *gone) == [(kind, "start")]
    assert told(begun, *gone, *ended) == [(kind, "start"), (kind, "end")]
    elsewhere = msgspec.structs.replace(begun, request_id="req-0")
    assert told(elsewhere, *gone) == [(kind, "start"), (kind, "end")]


def test_two_late_errors_of_one_request_are_two_events() -> None:
    messages = [
        legacy("update", "error", None, old=("active", None), at=1, message_id="1"),
        legacy("update", "active", None, old=("error", None), at=2, message_id="2"),
        versioned("update", "error", None, old=("active", None), at=1.1, message_id="3"),
    ]
    assert len(play(in_order(*messages)).events) == 2


def test_a_stale_copy_of_an_unknown_instance_says_what_its_vm_state_may_be() -> None:
    row = after(legacy("live_migration._post.end", "active", "migrating", at=1, path="a"))
    assert (row.vm_state, row.task_state, row.state_version) == ("active", "", None)
    assert row.kind == "LIVE_MIGRATION_POST"
    then = legacy("pause.end", "paused", at=0, request="req-2", path="b")
    assert step(row, then).row is not None
    assert step(row, then).result == "changed"


def test_the_payload_of_a_row_is_that_of_its_newest_notification() -> None:
    messages = in_order(
        legacy("create.end", at=1),
        legacy("update", old=("active", None), at=2, fields={"metadata": {"role": "db"}}),
    )
    assert json.loads(bytes(after(*messages).payload))["metadata"] == {"role": "db"}


def test_the_time_of_change_moves_with_states_and_with_actions_and_with_nothing_else() -> None:
    messages = in_order(
        legacy("power_on.end", "active", at=1),
        legacy("update", "active", "rebooting", old=("active", None), at=2),
        legacy("update", "active", "rebooting", old=("active", "rebooting"), at=3),
        legacy("update", "active", old=("active", "rebooting"), at=4),
        versioned("lock", "active", at=5, request="req-2"),
        legacy("update", "active", old=("active", None), at=6),
    )
    times = [after(*messages[: count + 1]).changed_at[17:19] for count in range(len(messages))]
    assert times == ["01", "02", "02", "04", "05", "05"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_actions_at_one_time_on_two_paths_the_same_is_the_last_in_either_order(
    order: tuple[int, int],
) -> None:
    both = [
        versioned("lock", "active", at=2, request="req-1", path="a"),
        versioned("unlock", "active", at=2, request="req-2", path="b"),
    ]
    assert after(*(both[index] for index in order)).kind == "UNLOCK"


DELETED = legacy("delete.end", "deleted", at=5, path="a", fields=GONE)


@pytest.mark.parametrize(
    ("messages", "result"),
    [
        ([legacy("pause.end", "paused", at=1)], "changed"),
        ([versioned("snapshot.end", at=2, request="req-2")], "told"),
        ([versioned("lock", at=2, request="req-2")], "stale"),
        ([legacy("update", old=("active", None), at=2)], "unchanged"),
        (
            [build("snapshot.end", at=2, request="req-2") for build in (legacy, versioned)],
            "known",
        ),
        ([legacy("pause.end", "paused", at=-1, path="b")], "late"),
        ([DELETED, legacy("pause.end", "paused", at=9, path="b")], "after_deletion"),
        ([DELETED, legacy("delete.end", "deleted", at=4, path="b", fields=GONE)], "late"),
        ([legacy("live_migration._post.end", "active", "migrating", at=2)], "stale"),
    ],
)
def test_the_result_says_what_came_of_a_notification(
    messages: list[Notification], result: str
) -> None:
    first = legacy("power_on.end", "active", at=0, request="req-0")
    *before, last = in_order(first, *messages)
    assert step(after(*before), last).result == result


def test_late_news_leaves_all_that_a_row_knows_of_the_state() -> None:
    newer = versioned("power_off.end", "stopped", at=5, fields={"power_state": "shutdown"})
    older = legacy("suspend.end", "suspended", at=4, request="req-2", path="b")
    row = after(newer, older)
    before = after(newer)
    assert (row.power_state, row.payload, row.source) == ("shutdown", before.payload, before.source)
    other = msgspec.structs.replace(older, source="poller")
    assert after(newer, other).source == before.source


def test_a_state_that_is_told_again_without_its_power_state_keeps_it() -> None:
    first = versioned("power_off.end", "stopped", at=1, fields={"power_state": "shutdown"})
    again = legacy("update", "stopped", old=("stopped", None), at=2)
    assert after(*in_order(first, again)).power_state == "shutdown"


def test_the_repetition_of_an_action_leaves_the_payload() -> None:
    first = legacy("pause.end", "paused", at=1)
    twin = versioned("pause.end", "paused", at=2, fields={"display_name": "of the twin"})
    assert after(*in_order(first, twin)).payload == after(first).payload


def test_a_stale_copy_that_is_the_last_action_moves_the_time_of_change() -> None:
    messages = in_order(
        legacy("power_on.end", "active", at=1),
        legacy("live_migration._post.end", "active", "migrating", at=2, request="req-2"),
    )
    row = after(*messages)
    assert (row.kind, row.changed_at[17:19], row.task_state) == ("LIVE_MIGRATION_POST", "02", "")


def test_news_of_the_state_is_not_late_though_a_newer_action_was_told() -> None:
    outcome = play(
        [
            legacy("power_on.end", "active", at=1, path="a"),
            legacy("live_migration._post.end", "active", "migrating", at=5, request="2", path="c"),
            legacy("pause.end", "paused", at=3, request="req-3", path="b"),
        ]
    )
    assert (outcome.events[-1].kind, outcome.events[-1].late) == ("PAUSE", False)
    assert outcome.state(INSTANCE) == ("paused", "")
    assert outcome.rows[INSTANCE].kind == "LIVE_MIGRATION_POST"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_an_action_and_an_update_at_one_time_on_two_paths_the_end_is_newer(
    order: tuple[int, int],
) -> None:
    both = [
        legacy("pause.end", "active", at=2, path="a"),
        legacy("update", "suspended", None, old=("active", None), at=2, path="b"),
    ]
    assert after(*(both[index] for index in order)).vm_state == "active"


def test_an_update_that_names_no_new_state_tells_no_change() -> None:
    assert play([legacy("update", "", None, old=("active", None))]).events == []
