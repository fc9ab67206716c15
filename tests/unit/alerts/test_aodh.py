"""What aodh's alarm actions and notifications say."""

import json
from typing import Any

import pytest

from vimfed.alerts import aodh
from vimfed.alerts.bounds import UnreadableAlertError
from vimfed.alerts.formats import read_alerts
from vimfed.alerts.reading import Context, Reading
from vimfed.alerts.subject import Subject, SubjectLabels
from vimfed.nova.alert_report import AlertReport

NOW = "2026-01-01T12:00:00.000000Z"
NAMES = SubjectLabels(("instance_id",), ("host",))
ALARM = "0ca2845e-c142-4d4b-a346-e495553628ce"
ACTION = {
    "alarm_name": "cpu high",
    "alarm_id": ALARM,
    "severity": "moderate",
    "previous": "ok",
    "current": "alarm",
    "reason": "Transition to alarm due to 1 samples outside threshold, most recent: 97.0",
    "reason_data": {
        "type": "threshold",
        "disposition": "outside",
        "count": 1,
        "most_recent": 97.0,
    },
}
CHANGE = {
    "event_id": "75d5a1a1-6fb5-4d0a-9a35-1d5b9d3cf1f4",
    "alarm_id": ALARM,
    "type": "state transition",
    "detail": json.dumps({"state": "alarm", "transition_reason": "too hot"}),
    "user_id": "u",
    "project_id": "p",
    "on_behalf_of": "p",
    "timestamp": "2026-01-01T11:59:00.250000",
    "severity": "low",
}


def read(subject: Subject | None = None, **changes: Any) -> Reading:
    body = json.dumps(ACTION | changes).encode()
    return read_alerts(body, Context(NOW, NAMES, subject or Subject()))


def test_an_action_is_a_report_about_what_its_url_names() -> None:
    (report,) = read(Subject(instance_id="vm")).reports
    assert report == AlertReport(
        fingerprint=f"aodh-{ALARM}",
        name="cpu high",
        is_active=True,
        started_at=NOW,
        instance_id="vm",
        severity="moderate",
        summary=ACTION["reason"],  # type: ignore[arg-type]
        labels={"alarm_id": ALARM},
    )


def test_ok_resolves_and_no_data_say_nothing() -> None:
    (report,) = read(current="ok").reports
    assert not report.is_active
    assert read(current="insufficient data") == Reading([])


def event(*traits: Any) -> dict[str, Any]:
    data = {"event_type": "compute.instance.update", "message_id": "m", "traits": list(traits)}
    return {"type": "event", "event": data}


@pytest.mark.parametrize(
    ("traits", "instance_id", "host"),
    [
        ([["state", 1, "error"], ["instance_id", 1, "vm"]], "vm", ""),
        ([["host", 1, "h1"]], "", "h1"),
        ([["instance_id", 1, "a b"], ["host", 1, "h1"]], "", "h1"),
        ([["instance_id", 2, 7], 7, None, ["x"], ["instance_id"]], "", ""),
    ],
)
def test_the_traits_of_an_event_name_the_instance(
    traits: list[Any], instance_id: str, host: str
) -> None:
    (report,) = read(reason_data=event(*traits)).reports
    assert (report.instance_id, report.host) == (instance_id, host)


@pytest.mark.parametrize(
    "reason_data", [None, 7, [], {"event": 7}, {"event": {"traits": {}}}, {"event": None}]
)
def test_strange_reasons_name_nothing(reason_data: Any) -> None:
    (report,) = read(reason_data=reason_data).reports
    assert (report.instance_id, report.host) == ("", "")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"current": "on fire"}, "no state"),
        ({"alarm_id": "a/b"}, "no id"),
        ({"alarm_id": ""}, "no"),
    ],
)
def test_an_action_that_cannot_be_read(changes: dict[str, Any], complaint: str) -> None:
    reading = read(**changes)
    assert not reading.reports
    assert complaint in reading.unread[0].error


def told(event_type: str = "alarm.state_transition", **changes: Any) -> Any:
    return aodh.report_of(event_type, json.dumps(CHANGE | changes).encode(), NOW)


def test_a_state_transition_is_a_report_with_its_time() -> None:
    report, true_at = told()
    assert true_at == report.started_at == "2026-01-01T11:59:00.250000Z"
    assert (report.fingerprint, report.is_active) == (f"aodh-{ALARM}", True)
    assert (report.severity, report.summary, report.name) == ("low", "too hot", "")


def test_the_evaluators_detail_is_text_and_the_apis_an_object() -> None:
    detail = {"state": "ok", "state_reason": "Manually set via API"}
    report, _at = told(detail=detail)
    assert (report.is_active, report.summary) == (False, "Manually set via API")


@pytest.mark.parametrize(
    ("event_type", "detail", "is_active"),
    [
        ("alarm.creation", {"state": "alarm", "name": "n"}, True),
        ("alarm.creation", {"state": "insufficient data"}, None),
        ("alarm.rule_change", {"severity": "critical"}, None),
        ("alarm.rule_change", {"enabled": False}, False),
        ("alarm.deletion", {"state": "alarm"}, False),
        ("alarm.state_transition", {"state": "insufficient data"}, None),
        ("alarm.update", {"state": "alarm"}, None),
    ],
)
def test_what_begins_or_ends_an_alarm(event_type: str, detail: Any, is_active: bool | None) -> None:
    found = told(event_type, detail=detail)
    assert (None if found is None else found[0].is_active) == is_active


@pytest.mark.parametrize(
    "changes",
    [{"alarm_id": 7}, {"alarm_id": ""}, {"detail": "{"}, {"detail": 7}, {"timestamp": "noon"}],
)
def test_a_notification_that_is_not_understood(changes: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAlertError, match=r"alarm\.|timestamp"):
        told(**changes)


def test_a_clock_that_is_ahead_is_not_believed() -> None:
    assert told(timestamp="2027-01-01T00:00:00")[1] == NOW


def test_no_urls_of_actions_are_kept() -> None:
    secret = {"state": "alarm", "name": "n", "alarm_actions": ["http://u:secret@h/"]}
    report, _at = told("alarm.creation", detail=secret)
    assert "secret" not in repr(report)
