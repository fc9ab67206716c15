"""The life cycle of alarms, and which news of an instance raises and clears them."""

from typing import Any

import msgspec
import pytest

from streams.core.alarms import (
    MAX_ACTIVE,
    MAX_CLEARED,
    AlarmText,
    TooManyAlarmsError,
    active_alarm,
    change_alarm,
    clear_alarm,
    raise_alarm,
    refuse_another,
)
from streams.core.news import InstanceNews
from streams.core.normalise import normalise
from tests.support.alarm_life import assert_alarms_live
from tests.support.folded_table import FoldedTable, Record, nova_record, numbered, record
from tests.support.nova_messages import INSTANCE, VIM, legacy
from tests.support.playing import play
from tests.support.traces import RUNS, notifications
from vimfed.model.keys import instance_key
from vimfed.model.records import Alarm, AlarmStep, Notification, VmEvent, decode_row, encode_row
from vimfed.nova.bare_state import BARE_STATE


def test_an_alarm_is_raised_changed_and_cleared_once() -> None:
    says = AlarmText("critical", "DiskFull", "no room")
    alarms, step = raise_alarm((), "1", "alert/x", "t1", says)
    assert step == AlarmStep(
        step="raised", id="1", condition="alert/x", started_at="t1",
        severity="critical", name="DiskFull", summary="no room",
    )  # fmt: skip
    assert raise_alarm(alarms, "2", "alert/x", "t2") == (alarms, None)
    assert change_alarm(alarms, "alert/x", "t2", says) == (alarms, None)
    alarms, step = change_alarm(alarms, "alert/x", "t3", says._replace(severity="minor"))
    assert step is not None
    assert (step.step, step.id, step.started_at, step.sequence) == ("changed", "1", "t1", 1)
    alarms, step = clear_alarm(alarms, "alert/x", "t4")
    assert step is not None
    assert (step.step, step.id, step.started_at, step.sequence) == ("cleared", "1", "t1", 2)
    assert step.severity == "minor"
    assert clear_alarm(alarms, "alert/x", "t5") == (alarms, None)
    assert change_alarm(alarms, "alert/x", "t5", says) == (alarms, None)
    (alarm,) = alarms
    assert (alarm.cleared_at, alarm.changed_at) == ("t4", "t4")
    alarms, step = raise_alarm(alarms, "2", "alert/x", "t6")
    assert step is not None
    assert (step.id, step.sequence) == ("2", 0)


def test_a_row_keeps_so_many_alarms_and_no_more() -> None:
    alarms: tuple[Alarm, ...] = ()
    for number in range(MAX_ACTIVE):
        alarms, _step = raise_alarm(alarms, str(number), f"alert/{number}", "t")
    with pytest.raises(TooManyAlarmsError):
        refuse_another(alarms, "alert/x")
    refuse_another(alarms, "alert/0")
    assert raise_alarm(alarms, "x", "alert/0", "t").step is None
    for number in range(20):
        alarms, _step = clear_alarm(alarms, f"alert/{number}", f"t{number}")
    cleared = [alarm.condition for alarm in alarms if alarm.cleared_at]
    assert cleared == [f"alert/{number}" for number in range(20 - MAX_CLEARED, 20)]
    assert len(alarms) == MAX_ACTIVE - 20 + MAX_CLEARED
    assert active_alarm(alarms, "alert/19") is None
    assert active_alarm(alarms, "alert/20") is not None


def nova(event: str, state: str, at: float, **more: Any) -> Record:
    one = legacy(event, state, at=at, request=f"req-{at}", message_id=f"{event} {at}", **more)
    return nova_record(msgspec.structs.replace(one, sequence=int(at)), INSTANCE)


def steps(events: list[VmEvent]) -> list[tuple[str, str, str, str]]:
    return [
        (event.kind, event.phase, event.alarm.step, event.alarm.condition)
        for event in events
        if isinstance(event.alarm, AlarmStep)
    ]


def test_an_instance_with_many_alarmed_actions_is_told_of_as_ever() -> None:
    table = FoldedTable()
    table.fold([nova("create.end", "active", 1)])
    key = instance_key(VIM, INSTANCE)
    row = decode_row(table.rows[key])
    for number in range(MAX_ACTIVE):
        alarms, _step = raise_alarm(row.alarms, str(number), f"action_ended/{number}", "t")
        row = msgspec.structs.replace(row, alarms=alarms)
    table.rows[key] = encode_row(row)
    table.fold([nova("rebuild.error", "error", 2)])
    assert steps(table.events) == [("REBUILD", "error", "raised", "vm_error")]


def test_an_instance_in_error_has_an_alarm_until_an_action_ends_that_leaves_it_otherwise() -> None:
    table = FoldedTable()
    table.fold([nova("create.end", "active", 1)])
    error = nova("update", "error", 2, old=("active", None))
    assert steps(table.fold([error])) == [("STATE", "end", "raised", "vm_error")]
    assert steps(table.fold([error, nova("rebuild.start", "error", 3)])) == []
    assert steps(table.fold([nova("rebuild.end", "active", 4)])) == [
        ("REBUILD", "end", "cleared", "vm_error")
    ]
    assert_alarms_live(table.events)
    (alarm,) = table.instance(INSTANCE).alarms
    assert alarm.cleared_at == table.events[-1].changed_at


def test_an_error_that_is_told_late_raises_nothing() -> None:
    table = FoldedTable()
    table.fold([nova("pause.end", "paused", 9)])
    late = legacy("update", "error", at=1, old=("active", None), path="another", request="r")
    (event,) = table.fold([nova_record(late, INSTANCE)])
    assert (event.new_state, event.late) == ("error", True)
    assert steps([event]) == []


def test_a_deletion_clears_what_an_instance_has() -> None:
    table = FoldedTable(["RESIZE"])
    table.fold([nova("create.end", "active", 1)])
    raised = steps(table.fold([nova("resize.error", "active", 2)]))
    assert raised == [("RESIZE", "error", "raised", "action_failed/RESIZE")]
    table.fold([nova("update", "error", 4, old=("active", None))])
    events = table.fold([nova("delete.end", "deleted", 5)])
    # One event carries one step: the second one has an event of its own.
    assert steps(events) == [
        ("DELETE", "end", "cleared", "action_failed/RESIZE"),
        ("STATE", "end", "cleared", "vm_error"),
    ]
    assert [event.late for event in events] == [False, False]
    assert assert_alarms_live(table.events) == {}


def test_what_a_deletion_ends_is_told_before_the_row_goes_where_nobody_told_its_end() -> None:
    table = FoldedTable()
    table.fold([nova("update", "error", 1, old=("active", None))])
    # Without a request it tells no event: the end of the deletion would be another one.
    silent = nova("update", "deleted", 2, old=("error", None))
    silent = record(silent.key or b"", (silent.value or b"").replace(b'"req-2"', b"null"))
    assert table.fold([silent]) == []
    assert table.instance(INSTANCE).vm_state == "deleted"
    table.alarmed = (instance_key(VIM, INSTANCE),)
    (event,) = table.fold([nova("exists", "active", 90)])
    assert steps([event]) == [("STATE", "end", "cleared", "vm_error")]
    assert (event.new_state, event.changed_at) == ("deleted", "2026-01-01T12:01:30.123456Z")
    assert table.fold([nova("exists", "active", 91)]) == []
    assert assert_alarms_live(table.events) == {}


def test_the_failure_of_an_action_is_an_alarm_only_where_the_settings_say_so() -> None:
    silent, told = FoldedTable(), FoldedTable(["RESIZE"])
    story = [
        nova("create.end", "active", 1),
        nova("resize.error", "active", 2),
        nova("resize.error", "active", 3),
        nova("power_off.end", "stopped", 4),
        nova("resize.end", "resized", 5),
    ]
    silent.fold(numbered(story))
    told.fold(numbered(story))
    assert steps(silent.events) == []
    assert steps(told.events) == [
        ("RESIZE", "error", "raised", "action_failed/RESIZE"),
        ("RESIZE", "end", "cleared", "action_failed/RESIZE"),
    ]
    assert [event.id for event in silent.events] == [event.id for event in told.events]


def test_the_end_of_an_action_is_an_alarm_until_another_one_leaves_the_vm_active() -> None:
    table = FoldedTable(action_ends=["POWER_OFF", "REBOOT"])
    table.fold([nova("create.end", "active", 1)])
    story = [
        nova("power_off.start", "active", 2),
        nova("power_off.end", "stopped", 3),
        nova("snapshot.end", "stopped", 4),
        nova("power_off.end", "stopped", 5),
        nova("power_on.end", "active", 6),
        nova("reboot.end", "active", 7),
        nova("power_off.end", "stopped", 8),
        nova("delete.end", "deleted", 9),
    ]
    table.fold(numbered(story))
    assert steps(table.events) == [
        ("POWER_OFF", "end", "raised", "action_ended/POWER_OFF"),
        ("POWER_ON", "end", "cleared", "action_ended/POWER_OFF"),
        ("REBOOT", "end", "raised", "action_ended/REBOOT"),
        ("POWER_OFF", "end", "raised", "action_ended/POWER_OFF"),
        ("DELETE", "end", "cleared", "action_ended/REBOOT"),
        ("STATE", "end", "cleared", "action_ended/POWER_OFF"),
    ]
    assert assert_alarms_live(table.events) == {}


def test_an_error_from_before_the_upgrade_has_no_alarm_until_something_is_told() -> None:
    table = FoldedTable()
    table.fold([nova("create.error", "error", 1)])
    key = instance_key(VIM, INSTANCE)
    old = msgspec.structs.replace(decode_row(table.rows[key]), alarms=())
    cleared = FoldedTable()
    table.rows[key] = cleared.rows[key] = encode_row(old)
    assert steps(table.fold([nova("rebuild.start", "error", 3)])) == [
        ("REBUILD", "start", "raised", "vm_error")
    ]
    assert steps(cleared.fold([nova("rebuild.end", "active", 3)])) == []


def test_what_was_in_error_long_before_it_is_first_seen_is_not_told() -> None:
    table = FoldedTable()
    said = {"instance_id": INSTANCE, "state": "error", "changed_at": "2025-12-01T00:00:00Z"}
    one = legacy("exists", at=5)
    one = msgspec.structs.replace(
        one,
        event_type=BARE_STATE,
        payload=msgspec.Raw(msgspec.json.encode(said)),
        source="poller",
    )
    assert table.fold([nova_record(one, INSTANCE)]) == []
    assert table.instance(INSTANCE).vm_state == "error"


@pytest.mark.parametrize("run", RUNS)
def test_alarms_tell_no_further_event_of_what_nova_really_sent(run: str) -> None:
    recorded = notifications(run)
    table = FoldedTable()
    table.fold(numbered(map(as_record, recorded)))
    assert table.rejected == []
    assert [event.id for event in table.events] == [event.id for event in play(recorded).events]
    active = {source.partition("/")[2] for source, _condition in assert_alarms_live(table.events)}
    assert active == {row.instance_id for row in table.instances() if row.vm_state == "error"}


def as_record(one: Notification) -> Record:
    news = normalise(one)
    about = news.instance_id if isinstance(news, InstanceNews) else ""
    return record(instance_key(one.vim_id, about), msgspec.json.encode(one))
