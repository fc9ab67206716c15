"""What reports of monitors outside make of alarms: raised once, changed, cleared once."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.alarms import MAX_ACTIVE, MAX_CLEARED, TooManyAlarmsError
from streams.core.outside_alerts import (
    NOBODY,
    REMOVED,
    About,
    AlertOutcome,
    apply_alert,
    expire_alerts,
)
from vimfed.model.records import (
    AlarmStep,
    InstanceState,
    Outage,
    SourceAlerts,
    VmEvent,
    encode_event,
)
from vimfed.model.times import utc_text
from vimfed.nova.alert_report import AlertReport, alert_notification

BEGIN = datetime.fromisoformat("2026-01-01T12:00:00+00:00")
VIM = "Owner_Region"


def at(seconds: float) -> str:
    return utc_text(BEGIN + timedelta(seconds=seconds))


class Told(NamedTuple):
    """A report and when it was received, in seconds."""

    report: AlertReport
    true_at: float
    received_at: float


def report(
    *,
    start: float = 0,
    is_active: bool = True,
    fingerprint: str = "f1",
    severity: str = "critical",
    summary: str = "on fire",
    ended: float | None = None,
    instance_id: str = "vm",
    host: str = "",
) -> AlertReport:
    return AlertReport(
        fingerprint=fingerprint,
        name="Fire",
        is_active=is_active,
        started_at=at(start),
        instance_id=instance_id,
        host=host,
        severity=severity,
        summary=summary,
        ended_at="" if ended is None else at(ended),
        labels={"alertname": "Fire"},
    )


class Table:
    """The alerts' row of one source, and what has been told of it."""

    def __init__(self, expire_after: float = 1000.0) -> None:
        self.row: SourceAlerts | None = None
        self.events: list[VmEvent] = []
        self._expire_after = expire_after
        self._offset = 0

    def begin(self) -> None:
        """Tell from now on what lies at the first offsets."""
        self._offset = 0

    def tell(
        self, said: AlertReport, now: float, about: About = NOBODY, true_at: float | None = None
    ) -> AlertOutcome:
        told_at = now if true_at is None else true_at
        notification = alert_notification(
            VIM, said, source="ingest", timestamp=at(told_at), received_at=at(now)
        )
        outcome = apply_alert(
            self.row, said, notification, about, self._offset, expire_after=self._expire_after
        )
        self._offset += 1
        return self._take(outcome)

    def pass_time(self, now: float) -> AlertOutcome | None:
        if self.row is None or min(self.row.expires.values(), default="~") > at(now):
            return None
        return self._take(expire_alerts(self.row, at(now)))

    def _take(self, outcome: AlertOutcome) -> AlertOutcome:
        if outcome.row is not None:
            self.row = outcome.row
        if outcome.is_removed:
            self.row = None
        self.events += outcome.events
        return outcome

    @property
    def steps(self) -> list[str]:
        return [f"{event.phase} {step_of(event).step}" for event in self.events]


def step_of(event: VmEvent) -> AlarmStep:
    assert event.alarm is not msgspec.UNSET
    return event.alarm


def test_an_alert_is_raised_once_and_cleared_once() -> None:
    table = Table()
    assert table.tell(report(), 1).result == "told"
    for now in (2, 3):
        assert table.tell(report(), now).events == ()
    table.tell(report(is_active=False, ended=4), 5)
    assert table.tell(report(is_active=False, ended=4), 6).events == ()
    assert table.steps == ["start raised", "end cleared"]
    start, end = table.events
    assert start.kind == end.kind == "ALERT"
    assert (start.changed_at, end.changed_at, end.reason) == (at(0), at(4), "resolved")
    assert start.alarm.id == end.alarm.id  # type: ignore[union-attr]
    assert (start.alarm.sequence, end.alarm.sequence) == (0, 1)  # type: ignore[union-attr]
    assert start.id != end.id


def test_what_was_never_raised_is_not_cleared() -> None:
    table = Table()
    outcome = table.tell(report(is_active=False, ended=1), 2)
    assert (outcome.result, outcome.row, table.events) == ("unchanged", None, [])


@pytest.mark.parametrize("news", [{"severity": "warning"}, {"summary": "ablaze"}])
def test_a_repetition_that_says_something_new_is_a_change(news: dict[str, str]) -> None:
    table = Table()
    table.tell(report(), 1)
    table.tell(report(**news), 2)  # type: ignore[arg-type]
    table.tell(report(**news), 3)  # type: ignore[arg-type]
    assert table.steps == ["start raised", "start changed"]
    assert [event.alarm.sequence for event in table.events] == [0, 1]  # type: ignore[union-attr]
    assert table.events[1].changed_at == at(2)


def test_after_a_clear_the_alert_raises_a_new_alarm() -> None:
    table = Table()
    table.tell(report(start=0), 1)
    table.tell(report(is_active=False, ended=5), 5)
    table.tell(report(start=10), 11)
    first, _clear, second = (event.alarm for event in table.events)
    assert first.id != second.id  # type: ignore[union-attr]
    assert second.sequence == 0  # type: ignore[union-attr]
    assert table.events[2].changed_at == at(10)


def test_the_same_start_after_a_clear_is_a_new_alarm_too() -> None:
    """Prometheus was away: Alertmanager called its alerts resolved, and is told them again."""
    table = Table()
    table.tell(report(start=0), 1)
    table.tell(report(is_active=False, ended=300), 301)
    table.tell(report(start=0), 400)
    assert table.steps == ["start raised", "end cleared", "start raised"]
    assert table.events[2].changed_at == at(300), "not before the end of the one before"


def test_another_start_without_a_clear_is_the_same_alarm() -> None:
    """An Alertmanager was started again, and its clients name no start; or a pair of Prometheus."""
    table = Table()
    table.tell(report(start=0), 1)
    table.tell(report(start=50), 51)
    table.tell(report(start=0), 52)
    assert table.steps == ["start raised"]
    table.tell(report(start=0, is_active=False, ended=60), 61)
    assert table.steps == ["start raised", "end cleared"]
    assert table.events[1].alarm.started_at == at(0)  # type: ignore[union-attr]


def test_a_late_report_changes_nothing() -> None:
    """It waited for Kafka in one worker, while Alertmanager's next attempt reached another."""
    table = Table()
    table.tell(report(), 2)
    assert table.tell(report(start=1, is_active=False, ended=1), 1).result == "late"
    table.tell(report(is_active=False, ended=3), 4)
    assert table.tell(report(), 3).result == "late"
    assert table.steps == ["start raised", "end cleared"]


def test_clocks_of_two_workers_may_differ() -> None:
    """Alertmanager tells them in turn; one clock is 30 seconds ahead."""
    table, ahead = Table(), 30.0
    table.tell(report(start=0), 1 + ahead)
    table.tell(report(start=0, is_active=False, ended=10), 11)
    assert table.steps == ["start raised", "end cleared"]
    table.tell(report(start=20), 21 + ahead)
    table.tell(report(start=20, is_active=False, ended=30), 31 + ahead)
    table.tell(report(start=40), 41)
    assert table.steps == ["start raised", "end cleared"] * 2 + ["start raised"]


def test_the_very_same_record_again_changes_nothing() -> None:
    table = Table()
    table.tell(report(), 2)
    row = table.row
    assert table.tell(report(), 2) == AlertOutcome("late")
    assert table.row == row


def test_an_alert_that_is_not_told_again_ages_out() -> None:
    table = Table(expire_after=100)
    table.tell(report(), 0)
    table.tell(report(), 50)
    assert table.pass_time(149) is None
    table.pass_time(200)
    assert table.steps == ["start raised", "end cleared"]
    assert (table.events[1].reason, table.events[1].changed_at) == ("expired", at(150))


def test_expiry_is_told_alike_whenever_it_is_found_out() -> None:
    swept, late = Table(expire_after=100), Table(expire_after=100)
    for table in (swept, late):
        table.tell(report(), 0)
    swept.pass_time(101)
    for table in (swept, late):
        table.tell(report(start=500), 500)
    assert swept.steps == ["start raised", "end cleared", "start raised"]
    assert list(map(encode_event, swept.events)) == list(map(encode_event, late.events))


def test_a_row_without_active_alarms_is_removed_in_the_end() -> None:
    table = Table(expire_after=100)
    table.tell(report(), 0)
    table.tell(report(is_active=False, ended=1), 1)
    assert table.row is not None
    assert table.row.expires == {REMOVED: at(101)}
    outcome = table.pass_time(102)
    assert outcome is not None
    assert outcome.is_removed
    assert table.row is None


def test_an_instance_keeps_so_many_alarms_and_no_more() -> None:
    table = Table()
    for number in range(MAX_ACTIVE):
        table.tell(report(fingerprint=f"f{number}"), number)
    with pytest.raises(TooManyAlarmsError):
        table.tell(report(fingerprint="more"), 100)
    assert table.tell(report(fingerprint="f1"), 101).result == "unchanged"
    table.tell(report(fingerprint="f1", is_active=False, ended=101), 102)
    assert table.tell(report(fingerprint="more"), 103).result == "told"


def test_a_row_forgets_when_cleared_alarms_were_told() -> None:
    table = Table()
    for number in range(MAX_CLEARED * 3):
        table.tell(report(fingerprint=f"f{number}"), number)
        table.tell(report(fingerprint=f"f{number}", is_active=False), number + 0.5)
    assert table.row is not None
    assert len(table.row.alarms) == MAX_CLEARED
    assert len(table.row.told_at) <= MAX_CLEARED


def instance(outage: Outage | None) -> InstanceState:
    return InstanceState(
        vim_id=VIM,
        instance_id="vm",
        vm_state="active",
        task_state="",
        kind="CREATE",
        phase="end",
        changed_at=at(0),
        payload=msgspec.Raw(b'{"instance_id":"vm","host":"h1"}'),
        outage=outage,
    )


def test_an_alert_about_an_instance_whose_host_is_down_says_so() -> None:
    table = Table()
    table.tell(report(), 1, About(instance(None)))
    down = About(instance(Outage(at(2), "host_down", "h1")))
    table.tell(report(), 3, down)
    told = [event.alarm.summary for event in table.events]  # type: ignore[union-attr]
    assert told == ["on fire", "on fire (host h1 is down)"]
    event = table.events[0]
    assert bytes(event.payload) == b'{"instance_id":"vm","host":"h1"}'
    assert (event.old_state, event.new_state) == ("active", "active")


def test_an_alert_about_an_unknown_instance_names_it() -> None:
    table = Table()
    table.tell(report(), 1)
    assert bytes(table.events[0].payload) == b'{"instance_id":"vm"}'
    assert table.events[0].host is msgspec.UNSET


def test_alerts_about_hosts_and_clouds_say_what_their_monitor_says() -> None:
    host, cloud = Table(), Table()
    host.tell(report(instance_id="", host="h1"), 1)
    cloud.tell(report(instance_id=""), 1)
    says = {"name": "Fire", "severity": "critical", "summary": "on fire"}
    labels = {"labels": {"alertname": "Fire"}}
    assert msgspec.json.decode(host.events[0].payload) == {"host": "h1", **says, **labels}
    assert msgspec.json.decode(cloud.events[0].payload) == says | labels
    assert (host.events[0].host, host.events[0].instance_id) == ("h1", "")


def test_a_start_in_the_future_is_the_time_of_the_report() -> None:
    table = Table()
    table.tell(report(start=9999), 1)
    assert table.events[0].changed_at == at(1)
    table.tell(report(is_active=False, start=9999, ended=9999), 2)
    assert table.events[1].changed_at == at(2)


said = st.builds(
    Told,
    st.builds(
        report,
        start=st.integers(0, 400),
        is_active=st.booleans(),
        fingerprint=st.sampled_from(["f1", "f2", "f3"]),
        severity=st.sampled_from(["critical", "warning"]),
        ended=st.one_of(st.none(), st.integers(0, 500)),
    ),
    st.integers(0, 3),
    st.integers(0, 130),
)
"""A report, how long it was on its way, and how long after the one before it came."""


def played(life: Sequence[Told], *, looks_at_time: bool) -> Table:
    table = Table(expire_after=100)
    play(table, life, looks_at_time=looks_at_time)
    return table


def play(table: Table, life: Sequence[Told], *, looks_at_time: bool = False) -> None:
    now = 0.0
    table.begin()
    for each in life:
        now += each.received_at
        if looks_at_time:
            table.pass_time(now)
        table.tell(each.report, now, true_at=now - each.true_at)


@given(st.lists(said, max_size=40))
@settings(deadline=None)
def test_records_that_are_read_again_tell_nothing(life: list[Told]) -> None:
    """A worker was killed between its rows and its progress."""
    table = Table(expire_after=1e6)
    play(table, life)
    row, told = table.row, len(table.events)
    play(table, life)
    assert (table.row, len(table.events)) == (row, told)


@settings(deadline=None)
@given(st.lists(said, max_size=40))
def test_every_clear_has_its_raise_and_replay_gives_the_same_bytes(life: list[Told]) -> None:
    table = played(life, looks_at_time=True)
    lives = defaultdict(list)
    for event in table.events:
        step = event.alarm
        assert step is not msgspec.UNSET
        lives[step.condition].append((event, step))
    for steps in lives.values():
        active = None
        for event, step in steps:
            if step.step == "raised":
                assert active is None, "one active alarm of a condition at most"
                assert step.sequence == 0
            else:
                assert active is not None, "nothing is cleared that was not raised"
                assert (step.id, step.started_at) == (active.id, active.started_at)
                assert step.sequence == active.sequence + 1
            assert event.changed_at >= step.started_at
            assert event.phase == ("end" if step.step == "cleared" else "start")
            active = None if step.step == "cleared" else step
    assert len({event.id for event in table.events}) == len(table.events)
    again = played(life, looks_at_time=True)
    assert list(map(encode_event, again.events)) == list(map(encode_event, table.events))
    assert again.row == table.row
    others = played(life, looks_at_time=False)
    known = {event.id for event in others.events}
    assert {event.id for event in table.events} >= known
    for event in table.events:
        if event.id not in known:
            assert event.reason == "expired", "whoever does not look learns of these alone later"
