"""What is read of the messages that ceilometer sends."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.ceilometer_messages import (
    AT,
    METADATA,
    VM,
    bare,
    counter,
    enveloped,
    metering,
    notification,
)
from vimfed.alerts.subject import Subject
from vimfed.model.samples import Sample
from vimfed.nova.oslo import MAX_BODY_BYTES
from vimfed.telemetry.ceilometer import OtherNotificationError, read
from vimfed.telemetry.reading import NoSamplesError, Reading
from vimfed.telemetry.signature import signature_of

PORT = "9f1cf7a9-2f2d-4b0c-8d5b-3c0a3c9c1d11"
INSTANCE = Subject(instance_id=VM)
DISK = (f"{VM}-vda", {"disk_name": "vda"}, "vda")
NIC = (PORT, {"name": "vnet0", "mac": "fa:16", "fref": PORT, "vnic_name": PORT}, PORT)
BARE_NIC = (
    f"instance-00000001-{VM}-vnet0",
    {"name": "vnet0", "mac": "fa:16", "fref": None, "vnic_name": "vnet0"},
    "vnet0",
)
ITSELF: tuple[str, dict[str, Any], str] = (VM, {}, "")


@pytest.mark.parametrize(
    ("meter", "kind", "unit", "resource"),
    [
        ("power.state", "gauge", "", ITSELF),
        ("cpu", "cumulative", "ns", ITSELF),
        ("vcpus", "gauge", "vcpu", ITSELF),
        ("memory", "gauge", "MiB", ITSELF),
        ("memory.available", "gauge", "MiB", ITSELF),
        ("memory.usage", "gauge", "MiB", ITSELF),
        ("memory.resident", "gauge", "MiB", ITSELF),
        ("memory.swap.in", "cumulative", "MiB", ITSELF),
        ("memory.swap.out", "cumulative", "MiB", ITSELF),
        ("perf.cpu.cycles", "gauge", "", ITSELF),
        ("perf.instructions", "gauge", "", ITSELF),
        ("perf.cache.references", "gauge", "", ITSELF),
        ("perf.cache.misses", "gauge", "", ITSELF),
        ("disk.root.size", "gauge", "GiB", ITSELF),
        ("disk.ephemeral.size", "gauge", "GiB", ITSELF),
        ("disk.device.read.requests", "cumulative", "request", DISK),
        ("disk.device.read.bytes", "cumulative", "B", DISK),
        ("disk.device.write.requests", "cumulative", "request", DISK),
        ("disk.device.write.bytes", "cumulative", "B", DISK),
        ("disk.device.read.latency", "cumulative", "ns", DISK),
        ("disk.device.write.latency", "cumulative", "ns", DISK),
        ("disk.device.capacity", "gauge", "B", DISK),
        ("disk.device.allocation", "gauge", "B", DISK),
        ("disk.device.usage", "gauge", "B", DISK),
        ("network.incoming.bytes", "cumulative", "B", NIC),
        ("network.incoming.packets", "cumulative", "packet", NIC),
        ("network.outgoing.bytes", "cumulative", "B", BARE_NIC),
        ("network.outgoing.packets", "cumulative", "packet", BARE_NIC),
        ("network.incoming.bytes.rate", "gauge", "B/s", NIC),
        ("network.outgoing.bytes.rate", "gauge", "B/s", NIC),
        ("network.incoming.packets.drop", "cumulative", "packet", NIC),
        ("network.outgoing.packets.drop", "cumulative", "packet", NIC),
        ("network.incoming.packets.error", "cumulative", "packet", NIC),
        ("network.outgoing.packets.error", "cumulative", "packet", NIC),
        ("network.incoming.bytes.delta", "delta", "B", NIC),
        ("network.outgoing.bytes.delta", "delta", "B", NIC),
    ],
)
def test_each_meter_of_the_compute_pollsters(
    meter: str, kind: Any, unit: str, resource: tuple[str, dict[str, Any], str]
) -> None:
    resource_id, more, device = resource
    told = counter(
        meter,
        4096,
        counter_type=kind,
        counter_unit=unit,
        resource_id=resource_id,
        resource_metadata=METADATA | more,
    )
    sample = Sample(
        meter=meter,
        volume=4096,
        at=f"{AT}Z",
        kind=kind,
        unit=unit,
        device=device,
        vcpus=2 if meter == "cpu" else 0,
    )
    assert read(bare(told)) == Reading({INSTANCE: [sample]})


@pytest.mark.parametrize(
    "body",
    [
        enveloped(notification([counter()])),
        json.dumps(notification([counter()])).encode(),
        enveloped(notification([counter()], "metering.memory.usage")),
        enveloped(notification([counter()], "renamed")),
        enveloped(notification({"samples": [counter()]}, "telemetry.polling")),
        bare(counter()),
        b" \n" + bare(counter()),
    ],
)
def test_each_form_of_message(body: bytes) -> None:
    sample = Sample(meter="memory.usage", volume=1.5, at=f"{AT}Z", unit="MiB")
    assert read(body) == Reading({INSTANCE: [sample]})


def test_samples_of_many_subjects_are_sorted_by_them_in_their_order() -> None:
    other = counter(resource_id="b" * 8 + VM[8:], resource_metadata={})
    reading = read(bare(counter(volume=1), other, counter(volume=2)))
    assert {
        subject.instance_id: [sample.volume for sample in samples]
        for subject, samples in reading.samples.items()
    } == {VM: [1, 2], other["resource_id"]: [1.5]}


@pytest.mark.parametrize(
    ("meter", "resource_id", "metadata", "subject", "device"),
    [
        # A former release's, or one whose metadata a pipeline has dropped.
        ("disk.device.read.bytes", f"{VM}-vdb", {}, INSTANCE, "vdb"),
        ("memory", VM, None, INSTANCE, ""),
        ("disk.read.bytes", VM, {"instance_id": VM, "device": ["vda", "vdb"]}, INSTANCE, ""),
        # A disk's own name goes before what its resource is called.
        ("disk.device.usage", f"{VM}-0", {"instance_id": VM, "disk_name": "sda"}, INSTANCE, "sda"),
        ("memory", "", {"instance_id": VM, "disk_name": "sda"}, INSTANCE, ""),
        # Of the instance that a volume is attached to.
        ("volume.size", PORT, {"instance_id": VM}, INSTANCE, PORT),
        # Made of nova's compute.metrics.update.
        (
            "compute.node.cpu.percent",
            "my_host_node.example",
            {"event_type": "compute.metrics.update", "host": "compute.node.example"},
            Subject(host="my_host"),
            "",
        ),
        ("compute.node.cpu.percent", "h1_h1", {}, Subject(host="h1"), ""),
        ("compute.node.cpu.percent", "h1_node_1", {}, Subject(host="h1"), ""),
        (
            "hardware.ipmi.fan",
            "h1-fan_1a_(0x30)",
            {"node": "h1"},
            Subject(host="h1"),
            "fan_1a_(0x30)",
        ),
    ],
)
def test_what_a_sample_is_about(
    meter: str, resource_id: str, metadata: Any, subject: Subject, device: str
) -> None:
    told = counter(meter, resource_id=resource_id, resource_metadata=metadata)
    ((found, (sample,)),) = read(bare(told)).samples.items()
    assert (found, sample.device) == (subject, device)


@pytest.mark.parametrize(
    ("meter", "resource_id", "metadata"),
    [
        ("image.size", VM, {}),
        ("volume.size", VM, {"instance_id": None}),
        ("ip.floating", VM, {}),
        ("network", VM, {}),
        ("network.services.vpn", VM, {}),
        ("storage.objects", "p", {}),
        ("memory", "no-uuid", {}),
        ("memory", "no-uuid", {"instance_id": "a/b"}),
        ("memory", VM + "0", {"instance_id": 7}),
        ("hardware.ipmi.fan", "x", {}),
        ("compute.node.cpu.percent", "", {}),
    ],
)
def test_samples_of_anything_else_are_left_out(
    meter: str, resource_id: str, metadata: dict[str, Any]
) -> None:
    told = counter(meter, resource_id=resource_id, resource_metadata=metadata)
    assert read(bare(told)) == Reading({})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"counter_volume": None}, "$.counter_volume"),
        ({"counter_volume": "1"}, "$.counter_volume"),
        ({"counter_volume": True}, "$.counter_volume"),
        ({"counter_volume": float("nan")}, "$.counter_volume"),
        ({"counter_volume": float("-inf")}, "$.counter_volume"),
        ({"counter_volume": [1]}, "$.counter_volume"),
        ({"counter_type": "histogram"}, "$.counter_type"),
        ({"counter_name": None}, "$.counter_name"),
        ({"counter_name": ""}, "counter_name is empty"),
        ({"counter_name": "m" * 256}, "counter_name is no name"),
        ({"counter_name": "a\nb"}, "counter_name is no name"),
        ({"counter_unit": "\x1b[31m"}, "counter_unit is no name"),
        ({"resource_id": f"{VM}-" + "d" * 256}, "the device is no name"),
        ({"resource_id": None}, "$.resource_id"),
        ({"timestamp": None}, "timestamp is no ISO 8601 time"),
        ({"timestamp": "yesterday"}, "timestamp is no ISO 8601 time"),
        ({"timestamp": "1969-12-31T23:59:59"}, "timestamp is no ISO 8601 time"),
        ({"timestamp": 1764410400}, "$.timestamp"),
        ({"resource_metadata": "none"}, "$.resource_metadata"),
    ],
)
def test_a_sample_that_is_wrong_costs_no_other_one(changes: dict[str, Any], why: str) -> None:
    reading = read(enveloped(notification([counter(volume=1), counter(**changes), counter()])))
    (samples,) = reading.samples.values()
    assert [sample.volume for sample in samples] == [1, 1.5]
    assert reading.unread is not None
    assert reading.unread.error.startswith("1 of 3 samples cannot be used, the first: ")
    assert why in reading.unread.error
    (kept,) = json.loads(reading.unread.message)
    assert kept["message_id"] == counter()["message_id"]
    assert read(reading.unread.message).unread is not None, "it is read like a message"


@pytest.mark.parametrize("wrong", [None, 1, "text", [], [counter()]])
def test_what_is_no_sample_costs_none(wrong: object) -> None:
    reading = read(bare(wrong, counter()))
    assert reading.unread is not None
    assert len(reading.samples[INSTANCE]) == 1


HALF = "\ud800"
"""Half of a character, as an agent's Python sends it where a hypervisor's text was cut."""


@pytest.mark.parametrize(
    "changes",
    [
        {"counter_unit": HALF},
        {"resource_metadata": METADATA | {"display_name": f"vm{HALF}"}},
        {"project_name": HALF},
        {HALF: 1},
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        bare,
        lambda *told: enveloped(notification(told)),
        lambda *told: json.dumps(notification(told)).encode(),
        lambda *told: enveloped(notification({"samples": told}, "telemetry.polling")),
    ],
)
def test_half_a_character_costs_the_sample_that_has_it_alone(
    form: Callable[..., bytes], changes: dict[str, Any]
) -> None:
    bad = counter(volume=2, **changes)
    reading = read(form(counter(volume=1), bad, counter(volume=3)))
    assert [sample.volume for sample in reading.samples[INSTANCE]] == [1, 3]
    assert reading.unread is not None
    assert reading.unread.error.startswith("1 of 3 samples cannot be used, the first: ")
    assert json.loads(reading.unread.message) == [bad], "it is kept as it came"
    again = read(reading.unread.message).unread
    assert again is not None
    assert again.error.startswith("1 of 1 samples cannot be used")


@pytest.mark.parametrize("unit", [b"M\x01B", b"M\xffB", b"M\xed\xa0\x80B"])
@pytest.mark.parametrize("form", [bare, metering])
def test_what_is_no_text_costs_the_sample_that_has_it_alone(
    form: Callable[..., bytes], unit: bytes
) -> None:
    body = form(counter(volume=1), counter(counter_unit="@@"), counter(volume=3))
    reading = read(body.replace(b"@@", unit))
    assert [sample.volume for sample in reading.samples[INSTANCE]] == [1, 3]
    assert reading.unread is not None


def test_half_a_character_elsewhere_makes_no_samples_of_something_else() -> None:
    with pytest.raises(OtherNotificationError, match=r"^image\.update$"):
        read(enveloped(notification({"samples": [HALF]}, "image.update")))
    with pytest.raises(NoSamplesError, match="malformed JSON"):
        read(enveloped(notification([counter()]) | {"publisher_id": HALF}))


def test_odd_values_that_are_some() -> None:
    reading = read(
        bare(
            counter(volume=0),
            counter(volume=-1),
            counter(volume=2**63),
            counter(volume=1e308),
            counter(counter_unit=None),
            counter(timestamp="2026-11-29T11:00:00+01:00"),
            counter(timestamp="2026-11-29 10:00:00"),
            counter(resource_metadata=METADATA | {"disk_name": 7, "vnic_name": {}}),
            counter("m" * 255),
        )
    )
    assert reading.unread is None
    samples = reading.samples[INSTANCE]
    assert [sample.volume for sample in samples[:4]] == [0, -1, 2.0**63, 1e308]
    assert [sample.at for sample in samples[5:7]] == ["2026-11-29T10:00:00.000000Z"] * 2


@pytest.mark.parametrize(
    ("metadata", "vcpus"),
    [
        ({"cpu_number": 4, "vcpus": 2}, 4),
        ({"vcpus": 2}, 2),
        ({"cpu_number": None, "vcpus": 2}, 2),
        ({"cpu_number": 1}, 1),
        ({"cpu_number": 65536}, 65536),
        ({"cpu_number": 65537}, 0),
        ({"cpu_number": 0, "vcpus": 2}, 2),
        ({"cpu_number": True}, 0),
        ({"cpu_number": "4"}, 0),
        ({"cpu_number": -1}, 0),
        ({"cpu_number": 10**9}, 0),
        ({}, 0),
    ],
)
def test_how_many_cpus_a_cpu_meter_counts(metadata: dict[str, Any], vcpus: int) -> None:
    told = counter("cpu", counter_type="cumulative", resource_metadata=metadata)
    ((sample,),) = read(bare(told)).samples.values()
    assert sample.vcpus == vcpus


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "malformed JSON"),
        (b"[", "no list of samples"),
        (b"[NaN", "no list of samples"),
        (b'{"a": NaN}', "malformed JSON"),
        (b"[" * 100_000, "no list of samples"),
        (b'{"oslo.message": "[Infinity"}', "not a notification"),
        (b"\xff\xfe", "malformed JSON"),
        (b'["\xff"', "no list of samples"),
        (json.dumps("text").encode(), "not a notification"),
        (enveloped(notification({"a": 1})), "metering without a list of samples"),
        (enveloped(notification({"a": 1}, "metering.cpu")), "metering.cpu without a list"),
        (enveloped(notification({"samples": 1}, "telemetry.polling")), "no list of samples"),
        (enveloped({"event_type": "metering", "payload": []}), "no message_id"),
        (b"[" + b" " * MAX_BODY_BYTES + b"]", "too large"),
    ],
)
def test_a_message_without_samples_is_none(body: bytes, why: str) -> None:
    with pytest.raises(NoSamplesError, match=why):
        read(body)


def test_a_notification_of_something_else_is_known_by_its_event_type() -> None:
    with pytest.raises(OtherNotificationError, match=r"^compute\.instance\.update$"):
        read(enveloped(notification({"instance_id": VM}, "compute.instance.update")))


def test_an_empty_list_says_nothing() -> None:
    assert read(b"[]") == Reading({})


def test_with_a_secret_what_is_not_signed_with_it_is_not_used() -> None:
    signed, forged, plain = counter(volume=1), counter(volume=2), counter(volume=3)
    signed["message_signature"] = signature_of(signed, b"secret")
    forged["message_signature"] = signed["message_signature"]
    reading = read(bare(signed, forged, plain), "secret")
    assert [sample.volume for sample in reading.samples[INSTANCE]] == [1]
    assert reading.unread is not None
    assert reading.unread.error == (
        "2 of 3 samples cannot be used, the first: it is not signed with telemetry_secret"
    )
    assert len(read(bare(signed, forged, plain)).samples[INSTANCE]) == 3
