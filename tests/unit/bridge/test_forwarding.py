import contextlib
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.forwarding import (
    Arrival,
    UnusableBodyError,
    UnusedNotificationError,
    forwarded,
    notifications_of,
)
from bridge.listening import Message, records_of
from tests.support import notifications
from tests.support.notifications import service
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import host_key
from vimfed.model.records import MAX_RECORD_BYTES, decode_notification
from vimfed.nova.alert_report import read_alert_report
from vimfed.nova.host_report import HostReport, read_host_report
from vimfed.settings import KafkaSettings, RetentionSettings, VimSettings

KAFKA = KafkaSettings(topic_prefix="p", partitions=4)
ARRIVAL = Arrival("o_r", "p", 1, "now")
VIM = VimSettings(cloud_owner="o", cloud_region_id="r")

NAMES = st.sampled_from(
    [
        "message_id",
        "event_type",
        "payload",
        "priority",
        "publisher_id",
        "timestamp",
        "_context",
        "_context_request_id",
        "_context_auth_token",
        "oslo.version",
        "oslo.message",
        "instance_id",
        "instance",
        "uuid",
        "args",
        "exception",
        "auth_token",
        "request_spec",
        "instance_properties",
        "nova_object.name",
        "nova_object.data",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.fixed_dictionaries(
    {"message_id": st.text(min_size=1), "event_type": st.text(min_size=1), "payload": JSON},
    optional={"_context": JSON, "priority": JSON, "_context_request_id": JSON},
)


def forward(body: bytes) -> OutgoingRecord:
    (record,) = forwarded(KAFKA, body, ARRIVAL).records
    return record


def outcome(body: bytes) -> OutgoingRecord:
    """Forward a body, or dead-letter it: there is no third thing."""
    try:
        return forward(body)
    except UnusableBodyError as error:
        return dead_letter_record(KAFKA, body, str(error), vim_id="o_r", source="queue")


@given(JSON | MESSAGES)
def test_every_json_is_forwarded_or_dead_lettered(tree: Any) -> None:
    for body in (
        json.dumps(tree).encode(),
        json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(tree)}).encode(),
    ):
        assert outcome(body).topic in ("p.notifications", "p.dead-letter")


@given(st.binary(max_size=200))
def test_all_bytes_are_forwarded_or_dead_lettered(body: bytes) -> None:
    assert outcome(body).topic == "p.dead-letter"


def test_a_record_never_outgrows_what_kafka_takes() -> None:
    message = {"message_id": "m", "event_type": "e", "payload": {"instance_id": "i" * 600_000}}
    for body in (
        json.dumps(message).encode(),
        json.dumps({**message, "payload": {"x": "x" * 2_000_000}}).encode(),
    ):
        record = outcome(body)
        assert record.topic == "p.dead-letter"
        assert len(record.key or b"") + len(record.value or b"") < MAX_RECORD_BYTES


@pytest.mark.parametrize("mark", ['"_context": {}', '"exception": "e", "args": {}'])
@pytest.mark.parametrize("depth", [200, 400, 900, 5000])
def test_what_is_nested_deeply_is_forwarded_or_unusable(mark: str, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    content = f'{{"message_id": "m", "event_type": "e", "payload": {{{mark}, "deep": {nested}}}}}'
    with contextlib.suppress(UnusableBodyError):
        record = forward(content.encode())
        assert nested.encode() in (record.value or b"")


def test_what_no_worker_uses_is_passed_over_unless_the_settings_keep_it() -> None:
    used = notifications.body()
    unused = notifications.body(event_type="keypair.create.end")
    messages = [
        Message(each, ARRIVAL, partial(dead_letter_record, KAFKA, source="queue"))
        for each in (used, unused, b"no message", used)
    ]
    records, dead, passed_over, hosts = records_of(notifications_of(KAFKA, VIM), messages)
    assert hosts == set()
    assert (len(records), dead, passed_over) == (3, 1, 1)
    topics = [record.topic for record in records]
    assert topics == ["p.notifications", "p.dead-letter", "p.notifications"]
    keeping = KafkaSettings(retention=RetentionSettings(unused=True))
    assert records_of(notifications_of(keeping, VIM), messages)[1:3] == (1, 0)


USUAL = {"forced_down": False, "disabled": False, "disabled_reason": ""}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (service(), USUAL),
        (service("service.create"), USUAL),
        (service(forced_down=True), {**USUAL, "forced_down": True}),
        (
            service(disabled=True, disabled_reason="r" * 300),
            {**USUAL, "disabled": True, "disabled_reason": "r" * 255},
        ),
        (service("service.delete", disabled=True), {"is_gone": True}),
    ],
)
def test_what_nova_says_of_a_service_is_told_to_every_partition(
    body: bytes, said: dict[str, Any]
) -> None:
    records = forwarded(KAFKA, body, ARRIVAL, unused_too=False).records
    assert [each.partition for each in records] == [0, 1, 2, 3]
    assert {each.key for each in records} == {host_key("o_r", "compute01")}
    told = [decode_notification(each.value or b"") for each in records]
    reports = [read_host_report(each.payload) for each in told]
    home = partition_of(host_key("o_r", "compute01"), 4)
    assert reports == [
        HostReport(host="compute01", is_home=number == home, **said) for number in range(4)
    ]
    assert {(each.event_type, each.source, each.vim_id) for each in told} == {
        ("vimfed.host.state", "oslo", "o_r")
    }
    assert {(each.timestamp, each.received_at) for each in told} == {
        ("2026-01-01T12:00:00.123456Z", "now")
    }


def test_a_service_is_kept_as_it_came_where_the_settings_keep_what_is_unused() -> None:
    records = forwarded(KAFKA, service(), ARRIVAL).records
    assert [each.key for each in records[:4]] == [host_key("o_r", "compute01")] * 4
    assert decode_notification(records[4].value or b"").event_type == "service.update"


@pytest.mark.parametrize("binary", ["nova-scheduler", "nova-conductor", None])
def test_services_that_are_no_hosts_are_passed_over(binary: str | None) -> None:
    with pytest.raises(UnusedNotificationError):
        forwarded(KAFKA, service(binary=binary, host=None), ARRIVAL, unused_too=False)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"host": None}, "cannot be called so"),
        ({"host": "a/b"}, "cannot be called so: 'a/b'"),
        ({"host": "x" * 256}, "cannot be called so"),
        ({"host": "a\u202eb"}, r"cannot be called so: 'a\\u202eb'"),
        ({"disabled": "yes"}, "without nova's service"),
        ({"forced_down": None}, "without nova's service"),
    ],
)
def test_a_service_that_is_none_is_a_dead_letter(said: dict[str, Any], why: str) -> None:
    with pytest.raises(UnusableBodyError, match=why):
        forwarded(KAFKA, service(**said), ARRIVAL, unused_too=False)


@pytest.mark.parametrize(
    "event_type",
    [
        "vimfed.host.state",
        "vimfed.cloud.hosts",
        "vimfed.cloud.heartbeat",
        "vimfed.alert",
        "vimfed.instance.state",
        "vimfed.instance.pause.end",
        "vimfed.whatever",
    ],
)
@pytest.mark.parametrize("unused_too", [True, False])
def test_no_cloud_sends_what_is_our_own(event_type: str, unused_too: bool) -> None:
    body = notifications.body(event_type=event_type)
    with pytest.raises(UnusableBodyError, match="are our own"):
        forwarded(KAFKA, body, ARRIVAL, unused_too=unused_too)


def test_a_batch_keeps_its_order_and_counts_every_record() -> None:
    used = notifications.body()
    messages = [
        Message(each, ARRIVAL, partial(dead_letter_record, KAFKA, source="queue"))
        for each in (used, service(), service(host="a b"), used)
    ]
    batch = records_of(notifications_of(KAFKA, VIM), messages)
    assert (len(batch.records), batch.dead, batch.passed_over) == (7, 1, 0)
    assert batch.hosts == {"compute01"}
    narrow = notifications_of(KafkaSettings(partitions=1), VIM)
    assert records_of(narrow, messages).hosts == {"compute01"}
    topics = [record.topic.removeprefix("p.") for record in batch.records]
    assert topics == ["notifications"] * 5 + ["dead-letter", "notifications"]


def alarm(event_type: str, **said: Any) -> bytes:
    """Return a notification of aodh's."""
    payload = {
        "event_id": "e",
        "alarm_id": "0ca2845e-c142-4d4b-a346-e495553628ce",
        "type": "state transition",
        "detail": json.dumps({"state": "alarm", "transition_reason": "too hot"}),
        "user_id": "u",
        "project_id": "p",
        "on_behalf_of": "p",
        "timestamp": "2026-01-01T11:59:00.250000",
        "severity": "low",
        **said,
    }
    message = {
        "message_id": "m",
        "publisher_id": "aodh.evaluator",
        "event_type": event_type,
        "timestamp": "2026-01-01 12:00:00.123456",
        "priority": "INFO",
        "payload": payload,
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


AT_NOON = ARRIVAL._replace(received_at="2026-01-01T12:00:00.000000Z")


def test_what_aodh_says_of_an_alarm_is_a_report_about_the_cloud() -> None:
    (record,) = forwarded(KAFKA, alarm("alarm.state_transition"), AT_NOON).records
    assert record.key == b"o_r/cloud/"
    notification = decode_notification(record.value or b"")
    assert (notification.event_type, notification.source) == ("vimfed.alert", "oslo")
    assert notification.timestamp == "2026-01-01T11:59:00.250000Z"
    assert notification.received_at == AT_NOON.received_at
    report = read_alert_report(notification.payload)
    assert (report.is_active, report.severity, report.summary) == (True, "low", "too hot")
    (again,) = forwarded(KAFKA, alarm("alarm.state_transition"), AT_NOON).records
    assert again == record, "a redelivery is the same message"


@pytest.mark.parametrize("unused_too", [True, False])
def test_nothing_else_of_an_alarm_is_forwarded(unused_too: bool) -> None:
    """There are passwords in the URLs of its actions."""
    rule = {"state": "insufficient data", "alarm_actions": ["http://u:secret@h/"]}
    body = alarm("alarm.creation", detail=rule)
    with pytest.raises(UnusedNotificationError):
        forwarded(KAFKA, body, AT_NOON, unused_too=unused_too)
    body = alarm("alarm.creation", detail={**rule, "state": "alarm"})
    (record,) = forwarded(KAFKA, body, AT_NOON, unused_too=unused_too).records
    assert b"secret" not in (record.value or b"")


def test_an_alarm_that_is_not_understood_is_unusable() -> None:
    with pytest.raises(UnusableBodyError, match=r"alarm\.state_transition"):
        forwarded(KAFKA, alarm("alarm.state_transition", detail=7), AT_NOON)
