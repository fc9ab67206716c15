"""What a message looks like in each format, checked against the published schemas."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from streams.core.snapshots import boundary_event
from streams.publisher.formats import FORMATS
from tests.support.paths import PROJECT
from tests.support.vm_events import (
    SPEC_EXAMPLE,
    VIM_ID,
    alarm_step,
    heartbeat_event,
    host_event,
    vm_event,
)
from vimfed.model.records import VmEvent
from vimfed.settings import DmaapOutput, Format

SCHEMAS = PROJECT / "docs" / "schemas"
OUTPUT = DmaapOutput(url="kafka://a:1/t")


def message(event: VmEvent, format_: Format, output: DmaapOutput = OUTPUT) -> Any:
    """Return the message, valid by the format's schema, or None."""
    content = FORMATS[format_](event, output)
    if content is None:
        return None
    value = json.loads(content.value)
    schema = json.loads((SCHEMAS / f"{format_}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value


def test_a_payload_is_the_specifications_and_one_object_more() -> None:
    event = vm_event()
    value = message(event, "payload")
    about = value.pop("vim_event")
    assert value == {**SPEC_EXAMPLE, "instance_id": "vm-1"}
    assert (about["id"], about["kind"], about["phase"]) == (event.id, "PAUSE", "end")
    bare = message(event, "payload", DmaapOutput(url="kafka://a:1/t", vim_event=False))
    assert bare == value


def test_a_cloudevent_carries_the_payload_as_its_data() -> None:
    event = vm_event()
    value = message(event, "cloudevents")
    assert (value["id"], value["subject"], value["kind"]) == (event.id, "vm-1", "PAUSE")
    assert value["data"] == message(event, "payload")


def test_a_payload_says_which_host_and_which_alarm_and_hosts_have_none() -> None:
    step = alarm_step("vm_unavailable", summary="compute-1 is down")
    fields: Any = {"host": "compute-1", "reason": "host_down", "alarm": step}
    event = vm_event(kind="UNAVAILABLE", phase="start", **fields)
    about = message(event, "payload")["vim_event"]
    assert (about["host"], about["reason"]) == ("compute-1", "host_down")
    assert about["alarm"] == json.loads(msgspec.json.encode(step))
    for each in (host_event(), heartbeat_event()):
        assert message(each, "payload") is None
    asking = DmaapOutput(url="kafka://a:1/t", heartbeats=True)
    beat = message(heartbeat_event(), "payload", asking)
    assert beat["sources"] == {"rabbit": True, "poll": False}
    assert message(host_event(), "payload", asking) is None


def test_a_snapshot_has_messages_before_and_after_in_every_format_and_is_no_fault() -> None:
    begin = boundary_event(VIM_ID, "start", "a", "1", "2026-01-01T12:00:00.000000Z")
    end = boundary_event(VIM_ID, "end", "a", "1", "2026-01-01T12:00:09.000000Z", 1)
    state = vm_event(kind="STATE_SNAPSHOT", old_state="error", new_state="error", snapshot="a")
    for event, phase in ((begin, "start"), (state, "end"), (end, "end")):
        about = message(event, "payload")["vim_event"]
        assert (about["kind"], about["phase"], about["snapshot"]) == ("STATE_SNAPSHOT", phase, "a")
        cloudevent = message(event, "cloudevents")
        assert (cloudevent["snapshot"], cloudevent["phase"]) == ("a", phase)
        assert message(event, "ves") is None  # by default a topic gets faults alone
        notified = message(event, "ves", DmaapOutput(url="ves+kafka://a:1"))
        fields = notified["event"]["notificationFields"]["additionalFields"]
        assert (fields["snapshot"], fields["phase"]) == ("a", phase)
    bare = DmaapOutput(url="kafka://a:1/t", vim_event=False)
    assert message(end, "payload", bare) == {"snapshot": "a", "told": 1}


@pytest.mark.parametrize(
    ("event", "type_", "subject"),
    [
        (vm_event(kind="UNAVAILABLE", host="compute-1"), "vm.unavailable.end", "vm-1"),
        (host_event(), "host.host_down.start", "compute-1"),
        (heartbeat_event(), "cloud.heartbeat.end", VIM_ID),
        (heartbeat_event(kind="ALERT", phase="start"), "cloud.alert.start", VIM_ID),
        (host_event(kind="ALERT"), "host.alert.start", "compute-1"),
    ],
)
def test_a_cloudevent_is_about_an_instance_a_host_or_a_cloud(
    event: VmEvent, type_: str, subject: str
) -> None:
    value = message(event, "cloudevents")
    assert (value["type"], value["subject"]) == (f"org.onap.multicloud.{type_}", subject)
    assert value.get("host") == (event.host or None)
    if event.alarm:
        assert (value["alarmid"], value["alarmstep"]) == (event.alarm.id, "raised")
