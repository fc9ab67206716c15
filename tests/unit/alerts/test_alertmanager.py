"""What Alertmanager's webhook says, and what of a hostile or broken one is kept."""

import json
from typing import Any

import pytest

from vimfed.alerts.bounds import MAX_ALERTS, MAX_LABEL_BYTES, MAX_LABELS
from vimfed.alerts.formats import read_alerts
from vimfed.alerts.reading import BatchError, Context, Reading
from vimfed.alerts.subject import Subject, SubjectLabels
from vimfed.nova.alert_report import AlertReport

NOW = "2026-01-01T12:00:00.000000Z"
NAMES = SubjectLabels(("instance_id", "uuid"), ("host", "instance"))
VM = "5c9f1d34-7a0e-4f0e-9d11-1b1de6d9a001"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "VmCpuHigh", "severity": "critical", "instance_id": VM},
    "annotations": {"summary": "CPU at 97 %"},
    "startsAt": "2026-01-01T11:58:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus:9090/graph",
    "fingerprint": "a1b2c3d4e5f60718",
}


def webhook(*alerts: Any, **fields: Any) -> bytes:
    body = {
        "receiver": "vimfed",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
    }
    return json.dumps(body | fields).encode()


def read(*alerts: Any, subject: Subject | None = None, **fields: Any) -> Reading:
    return read_alerts(webhook(*alerts, **fields), Context(NOW, NAMES, subject or Subject()))


def the_report(**changes: Any) -> AlertReport:
    (report,) = read(ALERT | changes).reports
    return report


def labelled(**labels: str) -> AlertReport:
    return the_report(labels={"alertname": "A", **labels})


def test_a_firing_alert_is_a_report() -> None:
    assert the_report() == AlertReport(
        fingerprint="a1b2c3d4e5f60718",
        name="VmCpuHigh",
        is_active=True,
        started_at="2026-01-01T11:58:00.123456Z",
        instance_id=VM,
        severity="critical",
        summary="CPU at 97 %",
        labels={"alertname": "VmCpuHigh", "instance_id": VM, "severity": "critical"},
    )


def test_a_resolved_alert_tells_its_end() -> None:
    report = the_report(status="resolved", endsAt="2026-01-01T12:59:00+01:00")
    assert (report.is_active, report.ended_at) == (False, "2026-01-01T11:59:00.000000Z")


def test_the_year_1_is_no_time() -> None:
    nothing = the_report(status="resolved", startsAt="0001-01-01T00:00:00Z")
    assert (nothing.started_at, nothing.ended_at) == (NOW, "")
    assert the_report(endsAt="2026-01-01T13:00:00Z").ended_at == "", "it has not ended yet"


@pytest.mark.parametrize(
    ("labels", "instance_id", "host"),
    [
        ({"instance_id": "vm-1", "host": "h1"}, "vm-1", ""),
        ({"uuid": "vm-2"}, "vm-2", ""),
        ({"instance_id": "no id", "uuid": "vm-2"}, "vm-2", ""),
        ({"instance_id": "a/b", "host": "h1"}, "", "h1"),
        ({"instance_id": "i" * 65}, "", ""),
        ({"host": "compute1.example.org"}, "", "compute1.example.org"),
        ({"host": "compute1:9100"}, "", "compute1"),
        ({"instance": "compute1:9100"}, "", "compute1"),
        ({"host": "h" * 256}, "", ""),
        ({"host": "http://h1/"}, "", ""),
        ({"host": "", "instance": "h2"}, "", "h2"),
        ({"job": "node"}, "", ""),
    ],
)
def test_labels_name_the_instance_or_the_host(
    labels: dict[str, str], instance_id: str, host: str
) -> None:
    report = labelled(**labels)
    assert (report.instance_id, report.host) == (instance_id, host)


def test_who_sends_it_can_say_what_it_is_about() -> None:
    (report,) = read(ALERT, subject=Subject(host="h7")).reports
    assert (report.instance_id, report.host) == ("", "h7")


def test_a_description_stands_in_for_a_summary() -> None:
    assert the_report(annotations={"description": "a\n  b", "x": "y"}).summary == "a b"
    assert the_report(annotations={}).summary == ""


def test_without_a_fingerprint_the_labels_name_the_alert() -> None:
    one, same, other = (
        the_report(fingerprint="", labels=labels).fingerprint
        for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1", "b": "3"})
    )
    assert one == same != other


def test_texts_and_labels_are_bounded() -> None:
    many = {f"l{number:04}": "v" * 1000 for number in range(2 * MAX_LABELS)}
    report = labelled(**many, **{"n" * 300: "x"})
    assert len(report.labels) <= MAX_LABELS
    assert sum(len(name) + len(value) for name, value in report.labels.items()) <= MAX_LABEL_BYTES
    assert max(map(len, report.labels.values())) == 255
    assert max(map(len, report.labels)) <= 255
    long = the_report(
        labels={"alertname": "n" * 999, "severity": "s" * 999}, annotations={"summary": "x" * 99999}
    )
    assert [len(text) for text in (long.name, long.severity, long.summary)] == [255, 255, 255]
    assert long.summary.endswith("…")


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (7, "Expected `object`"),
        (None, "Expected `object`"),
        ({}, "status"),
        ({"status": "burning"}, "firing or resolved"),
        (ALERT | {"labels": {"a": 1}}, "Expected `str`"),
        (ALERT | {"labels": []}, "Expected `object`"),
        (ALERT | {"startsAt": "noon"}, "startsAt is no ISO 8601 time"),
        (ALERT | {"startsAt": 0}, "Expected `str`"),
        (ALERT | {"status": "resolved", "endsAt": "later"}, "endsAt is no ISO 8601 time"),
        (ALERT | {"fingerprint": "a/b"}, "fingerprint"),
        (ALERT | {"fingerprint": "f" * 65}, "fingerprint"),
        (ALERT | {"fingerprint": "a\n"}, "fingerprint"),
    ],
)
def test_an_alert_that_cannot_be_read_does_not_cost_the_others(broken: Any, complaint: str) -> None:
    reading = read(ALERT, broken, ALERT)
    assert [report.name for report in reading.reports] == ["VmCpuHigh"] * 2
    (unread,) = reading.unread
    assert unread.place == 1
    assert complaint in unread.error
    assert json.loads(unread.alert) == broken


def test_what_alertmanager_leaves_out_is_counted() -> None:
    assert read(ALERT, truncatedAlerts=3).left_out == 3


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"{", "no JSON object"),
        (b'{"a": "\xff"}', "no JSON object"),
        (b"{}", "neither Alertmanager's webhook .* nor aodh's alarm action"),
        (webhook(version="3"), "version '3'"),
        (webhook(version=4), "Expected `str`"),
        (webhook(alerts={}), "Expected `array`"),
        (b'{"version": "4", "alerts": []}', "groupKey"),
        (b'{"version": "4", "alerts": ' + b"[" * 100_000, "no JSON object"),
    ],
)
def test_what_is_no_webhook_is_refused_as_a_whole(body: bytes, complaint: str) -> None:
    with pytest.raises(BatchError, match=complaint):
        read_alerts(body, Context(NOW, NAMES))


def test_too_many_alerts_are_refused_with_the_way_out() -> None:
    with pytest.raises(BatchError, match="max_alerts") as refused:
        read(*[ALERT] * (MAX_ALERTS + 1))
    assert refused.value.is_too_large
    assert len(read(*[ALERT] * MAX_ALERTS).reports) == MAX_ALERTS
