"""VES messages: by the published schemas, and with the life cycle that VES gives an alarm."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from streams.core.kinds import EVENT_KINDS
from streams.publisher.ves import ves_message
from streams.publisher.ves_header import ves_batch
from tests.support.folded_table import FoldedTable
from tests.support.paths import PROJECT
from tests.support.vm_events import VIM_ID, alarm_step, heartbeat_event, host_event, vm_event
from tests.unit.core.test_episodes import FAILURES, world
from vimfed.model.records import AlarmStep, VmEvent
from vimfed.settings import DmaapOutput

SCHEMAS = {
    name: jsonschema.Draft202012Validator(
        json.loads((PROJECT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    )
    for name in ("ves", "ves-5")
}
ALL = DmaapOutput(url="ves+https://collector:8443/eventListener/v7")
TOPIC = DmaapOutput(url="kafka://a:1/t", format="ves")
V5 = DmaapOutput(url="ves+https://collector:8443/eventListener/v5", ves_version="5.4")


def told(event: VmEvent, output: DmaapOutput = ALL) -> tuple[str, Any]:
    """Return the domain of a message and what is in its event, valid by the schema."""
    message = ves_message(event, output)
    assert message is not None
    domain, value = message
    SCHEMAS["ves-5" if output.ves_version == "5.4" else "ves"].validate(json.loads(value))
    inside = json.loads(value)["event"]
    assert inside["commonEventHeader"]["domain"] == domain
    return domain, inside


def fault(event: VmEvent, output: DmaapOutput = ALL) -> tuple[Any, Any]:
    """Return header and fields of a fault."""
    domain, inside = told(event, output)
    assert domain == "fault"
    return inside["commonEventHeader"], inside["faultFields"]


def failing(step: AlarmStep, **fields: Any) -> VmEvent:
    return vm_event(**{"alarm": step, "new_state": "error", "phase": "error", **fields})


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name].schema)


def test_the_steps_of_an_alarm_share_id_and_start_and_their_sequence_rises() -> None:
    raised = alarm_step("vm_error", started_at="2026-01-01T12:00:00.123456Z")
    cleared = msgspec.structs.replace(raised, step="cleared", sequence=1)
    before, fields = fault(failing(raised))
    later = {"new_state": "active", "phase": "end", "changed_at": "2026-01-01T12:05:00.000001Z"}
    after, end = fault(failing(cleared, **later))
    for name in ("eventId", "startEpochMicrosec", "sourceId", "eventType"):
        assert before[name] == after[name]
    assert (before["eventId"], before["sequence"], after["sequence"]) == (raised.id, 0, 1)
    assert before["startEpochMicrosec"] == before["lastEpochMicrosec"] == 1767268800123456
    assert after["lastEpochMicrosec"] == 1767269100000001
    assert before["eventName"] == "Fault_MultiCloud_VMFailure"
    assert after["eventName"] == "Fault_MultiCloud_VMFailureCleared"
    assert fields["alarmCondition"] == end["alarmCondition"]
    assert (fields["eventSeverity"], end["eventSeverity"]) == ("CRITICAL", "NORMAL")


@pytest.mark.parametrize(
    ("event", "name", "about", "severity"),
    [
        (
            vm_event(
                kind="UNAVAILABLE",
                phase="start",
                host="compute-1",
                reason="host_down",
                alarm=alarm_step("vm_unavailable"),
            ),
            "Fault_MultiCloud_VMUnavailable",
            ("guestOS", "virtualMachine", "vm-1"),
            "CRITICAL",
        ),
        (
            host_event(),
            "Fault_MultiCloud_HostDown",
            ("hostOS", "host", f"{VIM_ID}/compute-1"),
            "CRITICAL",
        ),
        (
            vm_event(phase="error", alarm=alarm_step("action_failed/RESIZE")),
            "Fault_MultiCloud_VMActionFailed",
            ("guestOS", "virtualMachine", "vm-1"),
            "MAJOR",
        ),
        (
            host_event(kind="ALERT", alarm=alarm_step("alert/ab12", name="DiskFull")),
            "Fault_MultiCloud_HostAlert",
            ("hostOS", "host", f"{VIM_ID}/compute-1"),
            "WARNING",
        ),
        (
            heartbeat_event(kind="ALERT", alarm=alarm_step("alert/ab12", severity="minor")),
            "Fault_MultiCloud_CloudAlert",
            ("platform", "other", VIM_ID),
            "MINOR",
        ),
    ],
)
def test_each_condition_has_its_name_its_source_and_its_severity(
    event: VmEvent, name: str, about: tuple[str, str, str], severity: str
) -> None:
    header, fields = fault(event)
    assert header["eventName"] == name
    assert (header["eventType"], fields["eventSourceType"], header["sourceId"]) == about
    assert fields["eventSeverity"] == severity
    assert header["reportingEntityName"] == VIM_ID


def test_severities_come_from_the_settings_and_an_alerts_from_its_monitors_word() -> None:
    output = msgspec.convert(
        {"url": TOPIC.url, "ves_severities": {"vm_error": "MINOR", "alert": "MAJOR"}}, DmaapOutput
    )

    def severity(condition: str, word: str = "") -> str:
        _header, fields = fault(failing(alarm_step(condition, severity=word)), output)
        return str(fields["eventSeverity"])

    assert severity("vm_error", "critical") == "MINOR"
    assert [severity("alert/1", word) for word in ("Critical", "major", "minor", "warning")] == [
        *("CRITICAL", "MAJOR", "MINOR", "WARNING")
    ]
    assert severity("alert/1", "moderate") == "MAJOR"
    assert severity("alert/1", "whatever") == severity("alert/1") == "MAJOR"


def test_an_alert_says_its_name_and_its_summary() -> None:
    step = alarm_step("alert/ab12", name="DiskFull", summary="3 % free", severity="page")
    _header, fields = fault(vm_event(kind="ALERT", phase="start", alarm=step))
    assert (fields["alarmCondition"], fields["specificProblem"]) == ("DiskFull", "3 % free")
    assert fields["alarmAdditionalInformation"]["condition"] == "alert/ab12"
    assert fields["alarmAdditionalInformation"]["severity"] == "page"


def test_a_change_that_is_no_fault_is_a_notification() -> None:
    domain, inside = told(vm_event(kind="POWER_OFF", new_state="stopped"))
    header, fields = inside["commonEventHeader"], inside["notificationFields"]
    assert domain == "notification"
    assert header["eventName"] == "Notification_MultiCloud_VMPowerOff"
    assert fields["changeType"] == "POWER_OFF end"
    assert (fields["oldState"], fields["newState"]) == ("active", "stopped")
    assert fields["changeIdentifier"] == header["eventId"]
    disabled = host_event(kind="HOST_DISABLED", alarm=msgspec.UNSET)
    _domain, inside = told(disabled)
    assert inside["commonEventHeader"]["eventName"] == "Notification_MultiCloud_HostDisabled"
    assert "newState" not in inside["notificationFields"]
    assert ves_message(vm_event(late=True), ALL) is None


def test_a_heartbeat_says_until_when_and_how_late_the_bridge_is() -> None:
    domain, inside = told(heartbeat_event())
    fields = inside["heartbeatFields"]
    assert (domain, fields["heartbeatInterval"]) == ("heartbeat", 30)
    assert fields["additionalFields"] == {
        "vimId": VIM_ID,
        "lagSeconds": "1.250",
        "source.rabbit": "up",
        "source.poll": "down",
    }


def test_an_output_gets_the_domains_that_it_says_and_a_topic_of_its_own_faults_alone() -> None:
    error = failing(alarm_step("vm_error"))
    events = {"fault": error, "notification": vm_event(), "heartbeat": heartbeat_event()}

    def domains(output: DmaapOutput) -> list[str]:
        return [name for name, event in events.items() if ves_message(event, output)]

    assert domains(TOPIC) == ["fault"]
    assert domains(ALL) == ["fault", "notification", "heartbeat"]
    assert domains(V5) == ["fault", "heartbeat"]
    some = DmaapOutput(url=TOPIC.url, format="ves", ves_domains=["notification"])
    assert told(error, some)[0] == "notification"


def test_a_message_of_version_5_has_numbers_for_versions_and_pairs_for_maps() -> None:
    header, fields = fault(failing(alarm_step("vm_error")), V5)
    assert (header["version"], fields["faultFieldsVersion"]) == (3.0, 2.0)
    assert {"name": "vimId", "value": VIM_ID} in fields["alarmAdditionalInformation"]
    _domain, inside = told(heartbeat_event(), V5)
    assert {"name": "lagSeconds", "value": "1.250"} in inside["heartbeatFields"]["additionalFields"]


def test_a_message_of_version_7_1_says_so() -> None:
    output = DmaapOutput(url=ALL.url, ves_version="7.1")
    header, _fields = fault(failing(alarm_step("vm_error")), output)
    assert (header["version"], header["vesEventListenerVersion"]) == ("4.0.1", "7.1")


@pytest.mark.parametrize("output", [ALL, V5, DmaapOutput(url=ALL.url, ves_version="7.1")])
def test_whatever_happens_is_a_message_by_the_schema_or_none(output: DmaapOutput) -> None:
    steps = [alarm_step("vm_error"), alarm_step("unheard_of/x", step="changed", sequence=3)]
    made = 0
    for kind in sorted(EVENT_KINDS):
        for phase in ("start", "end", "error"):
            for step in (msgspec.UNSET, *steps):
                for event in (
                    vm_event(kind=kind, phase=phase, alarm=step, old_state="", new_state=""),
                    host_event(kind=kind, phase=phase, alarm=step, host="c\u00f6mpute-1"),
                    heartbeat_event(kind=kind, phase=phase, alarm=step),
                ):
                    if kind == "HEARTBEAT" and event.instance_id + (event.host or ""):
                        continue
                    if ves_message(event, output) is not None:
                        told(event, output)
                        made += 1
    assert made > 500


@pytest.mark.parametrize("seed", range(6))
def test_over_whole_lives_each_fault_is_raised_once_and_cleared_with_its_id_and_start(
    seed: int,
) -> None:
    """What no alarm is behind has no fault: nothing is cleared that was not raised."""
    table = FoldedTable(FAILURES)
    table.fold(world(seed, 150).records)
    active: dict[tuple[str, str], Any] = {}
    ids: set[str] = set()
    for event in table.events:
        message = ves_message(event, ALL)
        if message is None or message[0] != "fault":
            continue
        header, fields = fault(event)
        source = (header["sourceId"], fields["alarmCondition"])
        before = active.pop(source, None)
        is_clear = header["eventName"].endswith("Cleared")
        assert is_clear == (fields["eventSeverity"] == "NORMAL")
        if before is None:
            assert not is_clear, "cleared, and not raised"
            assert header["sequence"] == 0
            assert header["eventId"] not in ids
            ids.add(header["eventId"])
        else:
            for name in ("eventId", "startEpochMicrosec"):
                assert header[name] == before[name]
            assert header["sequence"] == before["sequence"] + 1
        if not is_clear:
            active[source] = header
    assert ids


def test_several_messages_are_one_list() -> None:
    values = [
        message[1]
        for event in (vm_event("vm-1"), vm_event("vm-2"))
        if (message := ves_message(event, ALL)) is not None
    ]
    events = json.loads(ves_batch(values))["eventList"]
    assert events == [json.loads(value)["event"] for value in values]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"new_state": "error", "phase": "error"}, "Fault_MultiCloud_VMFailure"),
        ({"new_state": "error", "old_state": "error"}, None),
        ({"new_state": "shelved", "old_state": "error"}, "Fault_MultiCloud_VMFailureCleared"),
        ({"new_state": "active"}, None),
        ({"new_state": "error", "late": True}, None),
    ],
)
def test_what_a_worker_of_an_earlier_release_says_of_errors_is_a_fault_with_an_id_of_its_own(
    fields: dict[str, Any], name: str | None
) -> None:
    event = vm_event(**fields)
    if name is None:
        assert ves_message(event, TOPIC) is None
    else:
        header, _fields = fault(event, TOPIC)
        assert (header["eventName"], header["eventId"], header["sequence"]) == (name, event.id, 0)


def test_the_end_of_an_action_that_is_an_alarm_is_the_fault_that_closed_loops_know() -> None:
    step = alarm_step("action_ended/POWER_OFF")
    header, fields = fault(vm_event(kind="POWER_OFF", new_state="stopped", alarm=step))
    assert header["eventName"] == "Fault_MultiCloud_VMFailure"
    assert fields["alarmCondition"] == "Fault_MultiCloud_VMFailure/POWER_OFF"
    assert fields["eventSeverity"] == "CRITICAL"


@pytest.mark.parametrize("kind", ["POWER_OFF", "POWER_ON", "DELETE"])
def test_an_action_without_an_alarm_is_no_fault(kind: str) -> None:
    assert ves_message(vm_event(kind=kind, new_state="active"), TOPIC) is None


def test_the_time_of_a_ves_fault_is_exact_to_the_microsecond() -> None:
    event = failing(alarm_step("vm_error"), changed_at="2040-03-21T09:04:22.478265Z")
    assert fault(event)[0]["lastEpochMicrosec"] == 2215933462478265
