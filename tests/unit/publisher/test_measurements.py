"""Measurements: which go to an output, with which of their values, and what they look like."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.publisher.measurement_formats import MEASUREMENT_FORMATS
from streams.publisher.measurements import read_measurement
from streams.publisher.reading import UnfitRecordError
from streams.subscriptions.filters import Matcher, Subscription
from tests.support.measurements import (
    BEGIN,
    END,
    TENANT,
    counter,
    gauge,
    host_measurement,
    key_of,
    measurement,
)
from tests.support.paths import PROJECT
from tests.support.vm_events import VIM_ID
from vimfed.kafka.dead_letter import ONLY_OUTPUT
from vimfed.model.records import NewerSchemaError, schema_headers
from vimfed.model.samples import Measurement, MeterValue, encode_measurement
from vimfed.settings import DmaapOutput, Format

Headers = tuple[tuple[str, bytes], ...]

SCHEMAS = {
    format_: json.loads((PROJECT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    for format_, name in (
        ("payload", "measurement"),
        ("cloudevents", "measurement-cloudevents"),
        ("ves", "ves"),
    )
}
OUTPUT = DmaapOutput(name="mr", url="kafka://a:1/t", carries="measurements")
TOLD = measurement()


def record_of(
    told: Measurement, headers: Headers = (), **replaced: Any
) -> ConsumerRecord[bytes, bytes]:
    """Return the record of a measurement; ``replaced`` are fields as they may not be."""
    fields = {**json.loads(encode_measurement(told)), **replaced}
    value = json.dumps(fields).encode()
    return ConsumerRecord("measurements", 0, 0, 0, 1, key_of(told), value, None, 0, 0, headers)


def sent(
    told: Measurement,
    *subscriptions: Subscription,
    output: DmaapOutput = OUTPUT,
    headers: Headers = (),
) -> Any:
    """Return what an output gets of a measurement, as JSON; None where it gets nothing."""
    matchers = [Matcher(subscription) for subscription in subscriptions]
    content = read_measurement(record_of(told, headers)).content(matchers, output)
    return None if content is None else json.loads(content.value)


def meters_of(told: Any) -> list[str]:
    return [value["meter"] for value in told["values"]]


def made(told: Measurement, format_: Format, output: DmaapOutput = OUTPUT) -> Any:
    """Return a message, valid by the format's schema."""
    value = json.loads(MEASUREMENT_FORMATS[format_](told, output).value)
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[format_])
    jsonschema.Draft202012Validator(SCHEMAS[format_]).validate(value)
    return value


# -- which go to whom


@pytest.mark.parametrize(
    ("subscription", "wanted"),
    [
        (Subscription(), True),
        (Subscription(clouds=(VIM_ID,), tenants=(TENANT,), instances=("vm-1",)), True),
        (Subscription(clouds=("Other_Cloud",)), False),
        (Subscription(tenants=("another",)), False),
        (Subscription(instances=("vm-2",)), False),
        (Subscription(meters=("power",)), False),
        (Subscription(kinds=("PAUSE",)), False),
        (Subscription(phases=("start", "end", "error")), False),
    ],
)
def test_a_measurement_goes_to_who_wants_its_instance_and_names_neither_kinds_nor_phases(
    subscription: Subscription, wanted: bool
) -> None:
    assert (sent(TOLD, subscription) is not None) is wanted
    assert sent(TOLD) is None


def test_a_host_is_no_tenants() -> None:
    told = host_measurement(gauge("compute.node.cpu.percent", 12.0, "percent"))
    assert sent(told, Subscription())["host"] == "compute-1"
    assert sent(told, Subscription(tenants=(TENANT,))) is None
    assert sent(told, Subscription(tenants=("",))) is None


def test_meters_choose_the_values_that_are_kept() -> None:
    wanted = sent(TOLD, Subscription(meters=("cpu_util", "power", "disk.device.write.bytes")))
    assert meters_of(wanted) == ["cpu_util", "disk.device.write.bytes"]
    assert wanted["id"] == TOLD.id
    assert sent(TOLD, Subscription()) == json.loads(encode_measurement(TOLD))


def test_several_subscriptions_get_all_that_any_of_them_wants_in_the_format_of_the_first() -> None:
    nothing = Subscription(meters=("power",), format="ves")
    cpu = Subscription(meters=("cpu_util",), format="cloudevents")
    memory = Subscription(meters=("memory_util",), format="ves")
    told = sent(TOLD, nothing, cpu, memory)
    assert (told["id"], meters_of(told["data"])) == (TOLD.id, ["cpu_util", "memory_util"])
    assert len(sent(TOLD, nothing, cpu, Subscription())["data"]["values"]) == len(TOLD.values)


def test_a_measurement_without_values_is_nobodys() -> None:
    assert sent(measurement(values=()), Subscription()) is None


def test_an_output_that_takes_ves_alone_gets_it_whatever_a_subscriptions_format_is() -> None:
    output = DmaapOutput(url="ves+kafka://a:1", carries="measurements")
    told = sent(TOLD, Subscription(format="payload"), output=output)
    assert told["event"]["commonEventHeader"]["domain"] == "measurement"


def test_a_dead_letter_that_is_played_again_is_sent_as_the_subscriptions_say_or_whole() -> None:
    headers = ((ONLY_OUTPUT, b"mr"),)
    assert sent(TOLD, headers=headers) == json.loads(encode_measurement(TOLD))
    cpu = Subscription(meters=("cpu_util",))
    assert meters_of(sent(TOLD, cpu, headers=headers)) == ["cpu_util"]


# -- what is no measurement


@pytest.mark.parametrize(
    ("replaced", "text"),
    [
        ({"begin": "yesterday"}, "Invalid isoformat string: 'yesterday'"),
        ({"end": "2026-01-01T12:01:00"}, "end has no time zone"),
        ({"begin": END, "end": BEGIN}, "it ends before it begins"),
        ({"instance_id": "", "host": ""}, "it names neither an instance nor a host"),
        ({"values": 3}, "Expected `array`"),
        ({"instance_id": "vm-2"}, "the record's key is not CloudOwner_RegionOne/vm-2"),
        ({"schema_version": 99}, "not a measurement: schema version 99"),
    ],
)
def test_what_no_worker_writes_is_no_measurement(replaced: dict[str, Any], text: str) -> None:
    with pytest.raises(UnfitRecordError, match=text):
        read_measurement(record_of(TOLD, **replaced))


def test_a_measurement_of_a_newer_version_ends_a_publisher_where_the_version_says_so() -> None:
    with pytest.raises(NewerSchemaError):
        read_measurement(record_of(TOLD, schema_headers(99), schema_version=99))


# -- the formats


def test_a_payload_is_the_measurement() -> None:
    assert made(TOLD, "payload") == json.loads(encode_measurement(TOLD))
    assert made(host_measurement(*TOLD.values), "payload")["host"] == "compute-1"


def test_a_cloudevent_is_about_an_instance_or_a_host() -> None:
    value = made(TOLD, "cloudevents")
    assert value["data"] == made(TOLD, "payload")
    assert (value["type"], value["subject"], value["id"], value["time"], value["host"]) == (
        "org.onap.multicloud.vm.measurement",
        "vm-1",
        TOLD.id,
        END,
        "compute-1",
    )
    value = made(host_measurement(gauge("power", 1.0)), "cloudevents")
    assert (value["type"], value["subject"]) == (
        "org.onap.multicloud.host.measurement",
        "compute-1",
    )
    headers = dict(MEASUREMENT_FORMATS["payload"](TOLD, OUTPUT).headers)
    assert (headers["ce_id"], headers["ce_vimid"]) == (TOLD.id.encode(), VIM_ID.encode())


@pytest.mark.parametrize("version", ["7.2.1", "7.1"])
def test_a_ves_measurement_has_the_id_the_interval_and_the_names_of_the_instance(
    version: Any,
) -> None:
    event = made(TOLD, "ves", msgspec.structs.replace(OUTPUT, ves_version=version))["event"]
    header = event["commonEventHeader"]
    assert header["eventId"] == TOLD.id
    assert (header["sourceId"], header["sourceName"]) == ("vm-1", "name of vm-1")
    assert (header["eventName"], header["eventType"]) == ("Measurement_MultiCloud_VM", "guestOS")
    assert header["vesEventListenerVersion"] == version
    assert header["lastEpochMicrosec"] - header["startEpochMicrosec"] == 60_000_000
    assert event["measurementFields"]["measurementInterval"] == 60
    about = {"vimId": VIM_ID, "tenantId": TENANT, "vmState": "active", "host": "compute-1"}
    assert event["measurementFields"]["additionalFields"] == about


def ves_fields(*values: MeterValue, told: Measurement = TOLD) -> Any:
    """Return the fields of a measurement that has these values."""
    told = msgspec.structs.replace(told, values=values)
    fields = made(told, "ves")["event"]["measurementFields"]
    additional = fields.get("additionalMeasurements", [])
    assert all(each["hashMap"]["volume"] for each in additional)
    fields["additional"] = [each["name"] for each in additional]
    return fields


def test_what_libvirt_tells_stands_in_the_fields_that_ves_has_and_everything_else_beside_them() -> (
    None
):
    fields = ves_fields(*TOLD.values)
    assert fields["cpuUsageArray"] == [{"cpuIdentifier": "all", "percentUsage": 12.5}]
    assert fields["memoryUsageArray"] == [
        {
            "vmIdentifier": "vm-1",
            "memoryConfigured": 2048 * 1024,
            "memoryUsed": 512 * 1024,
            "memoryFree": 1536 * 1024,
            "percentMemoryUsage": 25.0,
        }
    ]
    assert fields["diskUsageArray"] == [
        {
            "diskIdentifier": "vda",
            "diskOctetsReadAvg": 20.0,
            "diskOpsReadAvg": 1.0,
            "diskTimeReadAvg": 0.1,
        }
    ]
    assert fields["nicPerformanceArray"] == [
        {
            "nicIdentifier": "tap1",
            "valuesAreSuspect": "false",
            "receivedOctetsAccumulated": 9000.0,
            "receivedOctetsDelta": 900.0,
            "transmittedDiscardedPacketsAccumulated": 4.0,
        }
    ]
    assert fields["additional"] == ["cpu", "disk.device.usage@vda", "disk.device.write.bytes@vdb"]
    (cpu, _usage, _bytes) = fields["additionalMeasurements"]
    assert cpu["hashMap"] == {
        "meter": "cpu",
        "kind": "cumulative",
        "unit": "ns",
        "volume": "61000000000.0",
        "at": TOLD.values[0].at,
        "rate": "100000000.0",
        "delta": "3000000000.0",
    }


@pytest.mark.parametrize(
    "values",
    [
        [gauge("memory.usage", 512.0, "MB"), gauge("memory_util", 0.0, "%")],
        [gauge("memory.usage", 512.0, "pages"), gauge("memory_util", 25.0, "%")],
        [gauge("memory", 2048.0, "MB"), gauge("memory.usage", 512.0, "pages")],
        [gauge("memory", 1e308, "GB"), gauge("memory.usage", 512.0, "MB")],
        [gauge("compute.node.cpu.idle.percent", 90.0, "percent")],
        [counter("disk.device.read.latency", 8e6, 3e6, "ns", "vda")],
        [
            counter("disk.device.read.latency", 8e6, None, "ns", "vda"),
            counter("disk.device.read.requests", 90.0, None, "request", "vda"),
        ],
        [counter("disk.device.read.bytes", 5000.0, 600.0, device="")],
        [gauge("network.incoming.bytes", 900.0, "B", "tap1")],
        [counter("network.incoming.bytes", 900.0, device="")],
    ],
)
def test_what_does_not_make_up_what_ves_asks_for_is_not_lost(values: list[MeterValue]) -> None:
    fields = ves_fields(*values)
    assert len(fields["additional"]) == len(values)
    assert not any(name.endswith("Array") for name in fields)


def test_the_size_of_the_memory_follows_from_the_share_that_is_used() -> None:
    fields = ves_fields(gauge("memory.usage", 512.0, "MB"), gauge("memory_util", 25.0, "%"))
    (memory,) = fields["memoryUsageArray"]
    assert (memory["memoryConfigured"], memory["memoryFree"]) == (2048 * 1024, 1536 * 1024)
    assert fields["additional"] == []


def test_a_disk_that_was_not_read_took_no_time_for_it() -> None:
    fields = ves_fields(
        counter("disk.device.read.latency", 8e6, 0.0, "ns", "vda"),
        counter("disk.device.read.requests", 90.0, 0.0, "request", "vda"),
    )
    assert fields["diskUsageArray"] == [{"diskIdentifier": "vda", "diskOpsReadAvg": 0.0}]
    assert fields["additional"] == ["disk.device.read.latency@vda"]


def test_a_host_has_its_processors_and_is_called_by_its_cloud_and_name() -> None:
    told = host_measurement()
    fields = ves_fields(
        gauge("compute.node.cpu.percent", 40.0, "percent"),
        gauge("compute.node.cpu.user.percent", 30.0, "percent"),
        gauge("cpu_util", 39.0, "%"),
        told=told,
    )
    (usage,) = fields["cpuUsageArray"]
    assert usage == {"cpuIdentifier": "all", "percentUsage": 39.0, "cpuUsageUser": 30.0}
    assert fields["additional"] == ["compute.node.cpu.percent"]
    header = made(host_measurement(gauge("power", 1.0)), "ves")["event"]["commonEventHeader"]
    assert header["sourceId"] == f"{VIM_ID}/compute-1"
    assert (header["eventName"], header["eventType"]) == ("Measurement_MultiCloud_Host", "hostOS")
