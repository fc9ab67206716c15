"""Every kind of message, read by the CloudEvents SDK: what it is, of what, and by which schema."""

import json
from typing import Any, get_args

import jsonschema
import pytest
from cloudevents.kafka import KafkaMessage, from_binary, from_structured

from streams.core.snapshots import boundary_event
from streams.publisher.formats import FORMATS, Content
from streams.publisher.measurement_formats import MEASUREMENT_FORMATS
from tests.support.measurements import gauge, host_measurement, key_of, measurement
from tests.support.paths import PROJECT
from tests.support.vm_events import alarm_step, heartbeat_event, host_event, vm_event
from vimfed.model.keys import home_key
from vimfed.model.records import VmEvent
from vimfed.model.samples import Measurement
from vimfed.model.schemas import SchemaName, schema_id
from vimfed.settings import DmaapOutput, Format, VesDomain

SCHEMAS = {
    name: json.loads((PROJECT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    for name in get_args(SchemaName)
}
ALL_DOMAINS: list[VesDomain] = ["fault", "notification", "heartbeat"]
OUTPUT = DmaapOutput(url="kafka://a:1/t", ves_domains=ALL_DOMAINS)
OLD_VES = DmaapOutput(url="kafka://a:1/t", ves_domains=["fault", "heartbeat"], ves_version="5.4")
METRICS = DmaapOutput(name="metrics", url="kafka://a:1/t", carries="measurements")

VM = vm_event()
ALARM = vm_event(
    kind="UNAVAILABLE", phase="start", host="c-1", reason="host_down", alarm=alarm_step("vm_error")
)
HOST, CLOUD = host_event(), heartbeat_event()
BOUNDARY = boundary_event(VM.vim_id, "start", "a", "1", "2026-01-01T12:00:00.000000Z")
VM_METERS, HOST_METERS = measurement(), host_measurement(gauge("cpu_util", 12.5, "%"))


def test_each_schema_has_the_identifier_that_messages_name_it_by() -> None:
    found = {path.name for path in (PROJECT / "docs" / "schemas").glob("*.json")}
    assert found == {f"{name}.schema.json" for name in SCHEMAS}
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$id"] == schema_id(name)


def test_what_a_cloudevent_in_structured_mode_holds_is_as_the_schema_of_its_data_says() -> None:
    of_host_or_cloud = SCHEMAS["cloudevents"]["else"]["properties"]["data"]
    assert of_host_or_cloud["properties"] == SCHEMAS["host-cloud"]["properties"]
    of_instance = SCHEMAS["cloudevents"]["then"]["properties"]["data"]
    assert of_instance["properties"] == SCHEMAS["payload"]["properties"]
    measured = SCHEMAS["measurement-cloudevents"]["properties"]["data"]
    assert measured.items() <= SCHEMAS["measurement"].items()


def read(content: Content, key: bytes | None, *, is_structured: bool) -> Any:
    """Return the CloudEvent that the SDK finds in a record."""
    message = KafkaMessage(dict(content.headers), key, content.value)
    return (from_structured if is_structured else from_binary)(message)


def check(event: Any, key: bytes, schema: SchemaName) -> None:
    """Assert what every message of ours has."""
    assert event["specversion"] == "1.0"
    assert event["dataschema"] == schema_id(schema)
    # The SDK takes the record's key for it where there is one; without, it is the attribute.
    assert event["partitionkey"] in (key, key.decode())
    jsonschema.Draft202012Validator(SCHEMAS[schema]).validate(event.data)


@pytest.mark.parametrize(
    ("told", "format_", "output", "schema"),
    [
        (VM, "payload", OUTPUT, "payload"),
        (ALARM, "payload", OUTPUT, "payload"),
        (VM, "cloudevents", OUTPUT, "payload"),
        (ALARM, "cloudevents", OUTPUT, "payload"),
        (BOUNDARY, "payload", OUTPUT, "host-cloud"),
        (BOUNDARY, "cloudevents", OUTPUT, "host-cloud"),
        (HOST, "cloudevents", OUTPUT, "host-cloud"),
        (CLOUD, "cloudevents", OUTPUT, "host-cloud"),
        (VM, "ves", OUTPUT, "ves"),
        (ALARM, "ves", OUTPUT, "ves"),
        (HOST, "ves", OUTPUT, "ves"),
        (CLOUD, "ves", OUTPUT, "ves"),
        (ALARM, "ves", OLD_VES, "ves-5"),
    ],
)
def test_the_sdk_reads_an_event(
    told: VmEvent, format_: Format, output: DmaapOutput, schema: SchemaName
) -> None:
    content = FORMATS[format_](told, output)
    assert content is not None
    key = home_key(told.vim_id, told.instance_id, told.host or "")
    for record_key in (key, None):
        event = read(content, record_key, is_structured=format_ == "cloudevents")
        check(event, key, schema)
        assert (event["id"], event["source"]) == (told.id, f"/vims/{told.vim_id}")
        assert (event["vimid"], event["kind"], event["phase"]) == (
            told.vim_id,
            told.kind,
            told.phase,
        )


@pytest.mark.parametrize("told", [VM_METERS, HOST_METERS])
@pytest.mark.parametrize("format_", get_args(Format))
def test_the_sdk_reads_a_measurement(told: Measurement, format_: Format) -> None:
    content = MEASUREMENT_FORMATS[format_](told, METRICS)
    event = read(content, key_of(told), is_structured=format_ == "cloudevents")
    check(event, key_of(told), "ves" if format_ == "ves" else "measurement")
    assert (event["id"], event["vimid"]) == (told.id, told.vim_id)
    assert event["time"] == told.end
