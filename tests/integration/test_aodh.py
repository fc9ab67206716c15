"""What a real aodh notifies over RabbitMQ comes through the bridge as reports of its alarms."""

from pathlib import Path

import pytest

from tests.integration.test_bridge import CLOUD, Setup
from tests.real_aodh.cloud import RealAodh
from tests.real_aodh.environment import aodh_python
from tests.support.alarm_life import assert_alarms_live
from tests.support.brokers import RabbitMQ
from tests.support.core_truth import folded, records_on
from tests.support.topics import wait_for_records
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import decode_notification
from vimfed.nova.alert_report import read_alert_report


def test_what_a_real_aodh_notifies_raises_and_clears_alarms(
    tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ, request: pytest.FixtureRequest
) -> None:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    setup = Setup(tmp_path, kafka, rabbitmq)
    transport = (rabbitmq.url, setup.name)
    with RealAodh(aodh_python(say), tmp_path, transport) as aodh:
        setup.start(setup.rabbit_cloud(topics=["notifications"]))
        try:
            found = aodh.make_alarm("cpu high", "log://", "critical")
            deleted = aodh.make_alarm("forgotten", "log://", "low")
            aodh.find(found, "alarm", "too hot")
            aodh.find(deleted, "alarm", "who knows")
            aodh.find(found, "insufficient data", "nobody measures")
            aodh.find(found, "ok", "cool")
            aodh.delete(deleted)
            wait_for_records(kafka.bootstrap, f"{setup.name}.notifications", 4)
        finally:
            setup.bridge.stop()
    records = records_on(kafka.bootstrap, f"{setup.name}.notifications")
    reports = [read_alert_report(decode_notification(each.value).payload) for each in records]
    assert [(each.fingerprint, each.is_active, each.severity) for each in reports] == [
        (f"aodh-{found}", True, "critical"),
        (f"aodh-{deleted}", True, "low"),
        (f"aodh-{found}", False, "critical"),
        (f"aodh-{deleted}", False, "low"),
    ]
    assert [each.summary for each in reports] == ["too hot", "who knows", "cool", ""]
    events = [event for event in folded(records).events.values() if event.vim_id == CLOUD]
    assert [(event.kind, event.phase) for event in events] == [
        ("ALERT", "start"),
        ("ALERT", "start"),
        ("ALERT", "end"),
        ("ALERT", "end"),
    ]
    assert not assert_alarms_live(events)
