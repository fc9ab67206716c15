"""Alerts from outside on their way through the fold: with rows, quotas, time and other news."""

import msgspec
import pytest

from streams.core.alarms import MAX_ACTIVE
from tests.support.alarm_life import assert_alarms_live
from tests.support.folded_table import FoldedTable, Record, alert, at, numbered, record
from tests.support.nova_messages import VIM
from tests.unit.core.test_hosts import down, up, vm
from vimfed.kafka.notification_writer import clock_record
from vimfed.model.keys import alerts_key, home_key
from vimfed.model.records import AlarmStep, encode_event
from vimfed.nova.alert_report import AlertReport, alert_notification
from vimfed.settings import KafkaSettings


def told(
    seconds: float,
    fingerprint: str = "f",
    *,
    instance_id: str = "",
    host: str = "",
    is_active: bool = True,
) -> Record:
    report = AlertReport(
        fingerprint=fingerprint,
        name="Fire",
        is_active=is_active,
        started_at=at(seconds),
        instance_id=instance_id,
        host=host,
        summary="on fire",
    )
    notification = alert_notification(
        VIM, report, source="ingest", timestamp=at(seconds), received_at=at(seconds)
    )
    return alert(notification, home_key(VIM, instance_id, host))


def clock(time: str) -> Record:
    made = clock_record(KafkaSettings(), VIM, time, 0)
    return record(made.key or b"", made.value or b"")


def alerts_of(table: FoldedTable) -> list[tuple[str, str]]:
    """Return the steps and the summaries of alerts from outside."""
    steps = (event.alarm for event in table.events if event.kind == "ALERT")
    return [(step.step, step.summary) for step in steps if isinstance(step, AlarmStep)]


def test_an_alert_about_a_vm_on_a_host_that_is_down_says_so_once_it_is_told_again() -> None:
    table = FoldedTable()
    table.fold(numbered([vm("a", "h1", 1), told(2, instance_id="a")]))
    assert alerts_of(table) == [("raised", "on fire")]
    table.fold(numbered([down("h1", 3), told(4, instance_id="a")]))
    assert alerts_of(table)[1:] == [("changed", "on fire (host h1 is down)")]
    table.fold(numbered([up("h1", 5), told(6, instance_id="a", is_active=False)]))
    assert alerts_of(table)[2:] == [("cleared", "on fire (host h1 is down)")]
    assert not assert_alarms_live(table.events)


def test_a_row_of_alerts_is_no_instance_and_the_instance_stays_as_it_is() -> None:
    table = FoldedTable()
    table.fold(numbered([vm("a", "h1", 1)]))
    before = table.instance("a")
    table.fold(numbered([told(2, instance_id="a")]))
    assert table.instance("a") == before
    assert alerts_key(VIM, "a") in table.rows


def test_the_alert_of_a_deleted_vm_stays_its_monitors() -> None:
    table = FoldedTable(alerts_expire_after=100)
    gone = vm("a", "h1", 3, event="delete.end", state="deleted")
    table.fold(numbered([vm("a", "h1", 1), told(2, instance_id="a"), gone]))
    assert alerts_of(table) == [("raised", "on fire")]
    table.fold(numbered([clock(at(102))]))
    assert alerts_of(table)[1:] == [("cleared", "on fire")]
    assert table.events[-1].reason == "expired"


def test_where_nothing_else_comes_a_clock_lets_alarms_age_out() -> None:
    table = FoldedTable(alerts_expire_after=100)
    table.fold(numbered([told(0)]))
    table.fold(numbered([clock(at(99))]))
    assert len(table.events) == 1
    table.fold(numbered([clock(at(150))]))
    (event,) = table.events[1:]
    assert (event.reason, event.changed_at) == ("expired", at(100))
    table.fold(numbered([clock(at(151)), clock("2026-01-03T00:00:00.000000Z")]))
    assert len(table.events) == 2
    assert alerts_key(VIM) not in table.rows, "the row goes, too"


def test_a_repetition_before_the_clock_keeps_the_alarm() -> None:
    table = FoldedTable(alerts_expire_after=100)
    table.fold(numbered([told(0)]))
    table.fold(numbered([told(90), clock(at(101))]))
    assert [step for step, _summary in alerts_of(table)] == ["raised"]


def test_more_alarms_than_a_source_can_have_are_dead_letters() -> None:
    table = FoldedTable()
    table.fold(numbered(told(number, f"f{number}") for number in range(MAX_ACTIVE + 1)))
    assert len(table.events) == MAX_ACTIVE
    assert ["active alarms" in why for why in table.rejected] == [True]


@pytest.mark.parametrize("instance_id", ["a/b", "i" * 65])
def test_an_instance_that_cannot_be_is_a_dead_letter(instance_id: str) -> None:
    table = FoldedTable()
    table.fold(numbered([told(0, instance_id=instance_id)]))
    assert len(table.rejected) == 1
    assert not table.events


def test_a_report_under_a_foreign_key_is_a_dead_letter() -> None:
    table = FoldedTable()
    value = told(0, host="h1").value or b""
    table.fold(numbered([record(home_key(VIM, host="h2"), value)]))
    assert len(table.rejected) == 1


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_of_any_size_tell_the_same_bytes(size: int) -> None:
    records = numbered(
        [
            vm("a", "h1", 1),
            told(2, instance_id="a"),
            told(3, host="h1"),
            down("h1", 4),
            told(5, "g", instance_id="a"),
            told(6),
            told(7, host="h1", is_active=False),
            told(8, instance_id="a"),
            vm("a", "h2", 9, event="update"),
            told(10, instance_id="a", is_active=False),
            told(11, "g", instance_id="a", is_active=False),
        ]
    )
    whole, parts = FoldedTable(), FoldedTable()
    whole.fold(records)
    for begin in range(0, len(records), size):
        parts.fold(records[begin : begin + size])
    assert list(map(encode_event, parts.events)) == list(map(encode_event, whole.events))
    assert parts.rows == whole.rows
    active = assert_alarms_live(whole.events)
    assert {condition for _source, condition in active} == {"host_down", "alert/f"}
    assert msgspec.json.decode(whole.events[-1].payload)["instance_id"] == "a"
