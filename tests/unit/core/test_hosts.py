"""What news of hosts makes of hosts, and of the instances on them."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from streams.core import fold as fold_module
from tests.support.alarm_life import assert_alarms_live
from tests.support.folded_table import (
    FoldedTable,
    Record,
    at,
    heartbeat,
    nova_record,
    numbered,
    record,
    report_record,
    told,
)
from tests.support.nova_messages import VIM, legacy
from vimfed.model.keys import host_key, instance_key
from vimfed.model.records import AlarmStep
from vimfed.nova.host_report import CloudReport, HostReport


def vm(
    name: str, host: str | None, seconds: float, event: str = "create.end", state: str = "active"
) -> Record:
    fields = {"instance_id": name, "host": host}
    old = (state, None) if event == "update" else None
    message = f"{name} {event} {seconds}"
    one = legacy(event, state, fields=fields, at=seconds, old=old, message_id=message)
    one = msgspec.structs.replace(one, sequence=int(seconds * 10), request_id=f"req-{message}")
    return nova_record(one, name)


def up(host: str, seconds: float, **more: Any) -> Record:
    return report_record(HostReport(host=host, is_up=True), seconds, **more)


def down(host: str, seconds: float, **more: Any) -> Record:
    return report_record(HostReport(host=host, is_up=False), seconds, **more)


def forced(host: str, seconds: float, value: bool = True) -> Record:
    return report_record(HostReport(host=host, forced_down=value), seconds)


def gone(host: str, seconds: float) -> Record:
    return report_record(HostReport(host=host, is_gone=True), seconds)


def table_of(*records: Record) -> FoldedTable:
    table = FoldedTable()
    table.fold(numbered(records))
    return table


HOST_START = ("h1", "HOST_DOWN", "start", "host_down")
HOST_END = ("h1", "HOST_DOWN", "end", "host_up")


def test_the_instances_of_a_host_that_dies_are_unavailable_and_no_others() -> None:
    table = table_of(
        vm("a", "h1", 0),
        vm("b", "h1", 0),
        vm("elsewhere", "h2", 0),
        vm("nowhere", None, 0),
        vm("offloaded", "h1", 0, "shelve_offload.end", "shelved_offloaded"),
        vm("gone", "h1", 0),
        vm("gone", "h1", 1, "delete.end", "deleted"),
    )
    events = table.fold([down("h1", 5)])
    assert told(events) == [
        HOST_START,
        ("a", "UNAVAILABLE", "start", "host_down"),
        ("b", "UNAVAILABLE", "start", "host_down"),
    ]
    outage = table.instance("a").outage
    assert outage is not None
    assert (outage.since, outage.reason, outage.host) == (at(5), "host_down", "h1")
    event = events[1]
    assert (event.old_state, event.new_state, event.late) == ("active", "active", False)
    assert (event.host, event.changed_at) == ("h1", at(5))
    assert event.payload == table.instance("a").payload
    assert event.alarm == AlarmStep(
        step="raised", id=table.instance("a").alarms[0].id, condition="vm_unavailable",
        started_at=at(5),
    )  # fmt: skip
    for spared in ("elsewhere", "nowhere", "offloaded", "gone"):
        assert table.instance(spared).outage is None

    events = table.fold([up("h1", 9)])
    assert told(events) == [
        HOST_END,
        ("a", "UNAVAILABLE", "end", "host_up"),
        ("b", "UNAVAILABLE", "end", "host_up"),
    ]
    assert table.instance("a").outage is None
    assert assert_alarms_live(table.events) == {}


def test_a_repeated_snapshot_changes_nothing() -> None:
    table = table_of(vm("a", "h1", 0), down("h1", 5), up("h2", 5))
    rows = dict(table.rows)
    assert table.fold([down("h1", 5), down("h1", 15), up("h2", 15)]) == []
    assert table.rows == rows


def test_an_episode_whose_reason_changes_stays_the_same() -> None:
    table = table_of(vm("a", "h1", 0), down("h1", 5))
    assert table.fold([forced("h1", 6)]) == []
    outage = table.instance("a").outage
    assert outage is not None
    assert (outage.since, outage.reason) == (at(5), "host_forced_down")
    assert table.fold([up("h1", 7)]) == []
    assert told(table.fold([forced("h1", 8, value=False)])) == [
        HOST_END,
        ("a", "UNAVAILABLE", "end", "host_up"),
    ]


def test_older_news_changes_nothing_of_what_newer_news_told() -> None:
    table = table_of(vm("a", "h1", 0), down("h1", 5))
    assert table.fold([up("h1", 4)]) == []
    # Nor of what was never told: it may be of an earlier host of this name.
    assert table.fold([forced("h1", 3)]) == []
    assert not table.host("h1").forced_down
    # Each field has a time of its own.
    table.fold([forced("h1", 9), report_record(HostReport(host="h1", disabled=True), 7)])
    assert (table.host("h1").forced_down, table.host("h1").disabled) == (True, True)
    # Of the same time, the first one holds.
    assert table.fold([up("h1", 5)]) == []
    assert not table.host("h1").is_up


def test_a_clock_that_is_ahead_does_not_silence_later_news() -> None:
    table = table_of(vm("a", "h1", 0), down("h1", 3000, received=5))
    assert table.host("h1").down_since == at(5)
    assert told(table.fold([up("h1", 6)]))[0] == HOST_END


@pytest.mark.parametrize(
    ("news", "reason"),
    [
        (vm("a", "h2", 7, "update"), "moved"),
        (vm("a", "h1", 7, "delete.end", "deleted"), "deleted"),
        (vm("a", "h1", 7, "shelve_offload.end", "shelved_offloaded"), "shelved_offloaded"),
        (gone("h1", 7), "host_gone"),
    ],
)
def test_an_episode_ends_when_the_instance_is_no_longer_there(news: Record, reason: str) -> None:
    table = table_of(vm("a", "h1", 0), down("h1", 5))
    ended = [each for each in told(table.fold([news])) if each[1] == "UNAVAILABLE"]
    assert ended == [("a", "UNAVAILABLE", "end", reason)]
    assert table.instance("a").outage is None
    assert table.fold([up("h1", 9)]) == [] or reason != "host_gone"
    assert not [each for each in table.instance("a").alarms if not each.cleared_at]


def test_an_instance_that_comes_to_a_host_that_is_down_is_unavailable_since_then() -> None:
    table = table_of(down("h1", 5), down("h2", 5), vm("a", "h1", 8))
    assert told(table.events)[2:] == [
        ("a", "CREATE", "end", None),
        ("a", "UNAVAILABLE", "start", "host_down"),
    ]
    outage = table.instance("a").outage
    assert outage is not None
    assert outage.since > at(8)
    assert told(table.fold([vm("a", "h2", 9, "update")])) == [
        ("a", "UNAVAILABLE", "end", "moved"),
        ("a", "UNAVAILABLE", "start", "host_down"),
    ]
    back = table.fold([vm("a", "h1", 10, "update")])
    assert len({event.id for event in table.events}) == len(table.events)
    assert told(back)[1][2] == "start"


def test_a_host_that_is_gone_has_no_row_and_ends_what_was_told_of_it() -> None:
    table = table_of(report_record(HostReport(host="h1", is_up=False, disabled=True), 5))
    assert told(table.fold([gone("h1", 7)])) == [
        ("h1", "HOST_DOWN", "end", "host_gone"),
        ("h1", "HOST_DISABLED", "end", None),
    ]
    assert table.rows == {}
    assert table.indexes.hosts.at_home(VIM) == []
    assert table.fold([gone("h1", 8)]) == []
    table.fold([up("h1", 10)])
    assert table.fold([gone("h1", 9)]) == []
    assert table.host("h1").is_up


def test_a_disabled_host_keeps_its_instances() -> None:
    table = table_of(vm("a", "h1", 0), up("h1", 1))
    report = HostReport(host="h1", disabled=True, disabled_reason="maintenance")
    (event,) = table.fold([report_record(report, 5)])
    assert told([event]) == [("h1", "HOST_DISABLED", "start", None)]
    assert event.alarm is UNSET
    assert msgspec.json.decode(event.payload) == {
        "host": "h1",
        "is_up": True,
        "forced_down": False,
        "disabled": True,
        "disabled_reason": "maintenance",
    }
    host = table.host("h1")
    assert (host.disabled_since, host.disabled_reason) == (at(5), "maintenance")
    enabled = HostReport(host="h1", disabled=False)
    assert told(table.fold([report_record(enabled, 6)])) == [("h1", "HOST_DISABLED", "end", None)]
    assert table.host("h1").disabled_reason == ""


def test_only_the_copy_at_home_tells_and_the_rows_are_the_same_everywhere() -> None:
    story = [(down, 5.0), (up, 6.0), (down, 7.0)]
    home, away = FoldedTable(), FoldedTable()
    home.fold(numbered(make("h1", when, home=True) for make, when in story))
    away.fold(numbered(make("h1", when, home=False) for make, when in story))
    assert away.events == []
    assert [event.phase for event in home.events] == ["start", "end", "start"]
    assert away.rows == home.rows


def test_instances_that_changed_in_the_same_batch_are_met() -> None:
    table = table_of(vm("early", "h1", 0))
    events = table.fold([vm("early", "h2", 1, "update"), vm("a", "h1", 1), down("h1", 5)])
    assert [each for each in told(events) if each[1] == "UNAVAILABLE"] == [
        ("a", "UNAVAILABLE", "start", "host_down")
    ]


def test_a_cloud_that_does_not_answer_takes_no_host_down() -> None:
    table = table_of(vm("a", "h1", 0), up("h1", 1))
    silent = CloudReport(is_known=False)
    assert table.fold([report_record(silent, 5), report_record(silent, 9)]) == []
    assert table.cloud().hosts_unknown_since == at(5)
    assert table.host("h1").is_up
    answers = report_record(CloudReport(is_known=True), 12)
    assert table.fold([answers, report_record(silent, 11)]) == []
    assert table.cloud().hosts_unknown_since == ""


def test_a_heartbeat_is_told_and_leaves_no_row() -> None:
    table = FoldedTable()
    (event,) = table.fold([heartbeat(5)])
    assert (event.kind, event.phase, event.instance_id) == ("HEARTBEAT", "end", "")
    assert msgspec.json.decode(event.payload)["lag"] == 0.5
    assert table.fold([heartbeat(5)])[0].id == event.id
    assert table.rows == {}


def test_what_is_no_right_report_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    table = FoldedTable()
    right = down("h1", 5)
    value = right.value or b""
    monkeypatch.setattr(fold_module, "MAX_HOSTS", 1)
    table.fold(
        [
            record(host_key(VIM, "h2"), value),
            record(right.key or b"", value.replace(b'"is_up":false', b'"is_up":"no"')),
            report_record(HostReport(host="x" * 256, is_up=False), 5),
            report_record(HostReport(host="", is_up=False), 5),
            up("h3", 5),
            right,
            vm("host/h3", "h3", 1),
        ]
    )
    assert [reason.partition(":")[0] for reason in table.rejected] == [
        "the record's key is not openstack_region/host/h1",
        "not a report",
        "a host's name has 256 characters",
        "a host's name has 0 characters",
        f"cloud {VIM} has 1 hosts",
        "the instance's id has a slash",
    ]
    assert list(table.rows) == [host_key(VIM, "h3")]


def test_the_index_says_what_is_on_a_host() -> None:
    table = table_of(vm("a", "h1", 0), vm("b", "h1", 0), vm("c", "h2", 0), down("h1", 1))
    instances, hosts = table.indexes.instances, table.indexes.hosts
    assert sorted(instances.ids_on(0, VIM, "h1")) == ["a", "b"]
    assert set(hosts.down(0, VIM)) == {"h1"}
    table.fold([vm("a", "h2", 2, "update"), vm("c", "h2", 2, "delete.end", "deleted")])
    assert list(instances.ids_on(0, VIM, "h1")) == ["b"]
    assert list(instances.ids_on(0, VIM, "h2")) == ["a"]
    table.fold([up("h1", 9)])
    assert set(hosts.down(0, VIM)) == set()
    table.indexes.remove(0, instance_key(VIM, "b"))
    assert list(instances.ids_on(0, VIM, "h1")) == []


def test_a_batch_with_much_to_write_is_folded_in_steps() -> None:
    story = numbered([*(vm(f"vm-{n}", f"h{n % 7}", 0) for n in range(70)),
                      *(down(f"h{n}", 5) for n in range(7))])  # fmt: skip
    whole, stepwise = FoldedTable(), FoldedTable()
    whole.fold(story)
    stepwise.fold(story, most_rows=1)
    assert [event.id for event in stepwise.events] == [event.id for event in whole.events]
    assert len(whole.events) == 70 + 7 + 70


def test_a_host_that_nova_itself_does_not_know_keeps_its_state_and_nobody_is_told() -> None:
    table = table_of(vm("a", "h1", 0), up("h1", 1))
    assert table.fold([report_record(HostReport(host="h1", is_known=False), 5)]) == []
    assert (table.host("h1").unknown_since, table.host("h1").is_up) == (at(5), True)
    before = table.host("h1")
    assert table.fold([report_record(HostReport(host="h1", is_known=False), 6)]) == []
    assert table.fold([report_record(HostReport(host="h1", is_known=True), 4)]) == []
    assert table.host("h1") == before
    known = HostReport(host="h1", is_known=True, is_up=False)
    assert told(table.fold([report_record(known, 7)])) == [
        HOST_START,
        ("a", "UNAVAILABLE", "start", "host_down"),
    ]
    assert table.host("h1").unknown_since == ""
