"""What nova's own notifications of usage say, by what nova 34.0.0 sent or would send."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.support.paths import DATA
from vimfed.alerts.subject import Subject
from vimfed.model.samples import Sample
from vimfed.nova import oslo
from vimfed.telemetry.reading import NoSamplesError
from vimfed.telemetry.usage import USAGE_TYPES, Usage, read_usage

VM = "bc6a6306-a184-45fa-b269-41a18e01ba12"
SENT = "2026-11-24T02:33:38.042682Z"
EXISTS = {
    "tenant_id": "6f70656e737461636b20342065766572",
    "instance_id": VM,
    "display_name": "vm-0000",
    "memory_mb": 512,
    "disk_gb": 1,
    "vcpus": 2,
    "root_gb": 1,
    "ephemeral_gb": 0,
    "host": "host2",
    "deleted_at": "",
    "state": "active",
    "audit_period_beginning": "2026-11-01 00:00:00",
    "audit_period_ending": "2026-11-24 02:33:38.042476",
}


def versioned(object_name: str, /, **data: Any) -> dict[str, Any]:
    return {
        "nova_object.name": object_name,
        "nova_object.namespace": "nova",
        "nova_object.version": "1.0",
        "nova_object.data": data,
    }


FLAVOR = {"flavorid": "1", "memory_mb": 512, "vcpus": 2, "root_gb": 1, "ephemeral_gb": 0}
VERSIONED_EXISTS = versioned(
    "InstanceExistsPayload", uuid=VM, flavor=versioned("FlavorPayload", **FLAVOR), deleted_at=None
)
MEASURED = "2026-11-24T02:33:00.500000"
METRICS = {
    "host": "compute1",
    "host_ip": "10.0.0.1",
    "nodename": "compute1.example",
    "metrics": [
        {"name": "cpu.frequency", "timestamp": MEASURED, "source": "s", "value": 2400},
        {"name": "cpu.user.time", "timestamp": MEASURED, "source": "s", "value": 6500000000},
        {"name": "cpu.percent", "timestamp": MEASURED, "source": "s", "value": 0.25},
        {
            "name": "numa.membw.current",
            "timestamp": MEASURED,
            "source": "s",
            "numa_membw_values": {"0": 1000, "1": 2000},
        },
    ],
}


def metric(name: str, value: int | None, values: dict[str, int] | None = None) -> dict[str, Any]:
    return versioned(
        "MetricPayload",
        name=name,
        value=value,
        numa_membw_values=values,
        timestamp="2026-11-24T02:33:00Z",
        source="s",
    )


VERSIONED_METRICS = versioned(
    "MetricsPayload",
    host="compute1",
    host_ip="10.0.0.1",
    nodename="compute1.example",
    metrics=[metric("cpu.idle.time", 7), metric("cpu.iowait.percent", 25)],
)
WHOLE = {
    "compute.instance.exists": EXISTS,
    "instance.exists": VERSIONED_EXISTS,
    "compute.metrics.update": METRICS,
    "metrics.update": VERSIONED_METRICS,
}


def read(event_type: str, payload: Any) -> Usage | None:
    return read_usage(event_type, msgspec.json.encode(payload), SENT)


@pytest.mark.parametrize("event_type", ["compute.instance.exists", "instance.exists"])
def test_an_instance_that_exists_occupies_its_flavor(event_type: str) -> None:
    assert read(event_type, WHOLE[event_type]) == Usage(
        Subject(instance_id=VM),
        [
            Sample(meter="vcpus", volume=2, at=SENT, unit="vcpu"),
            Sample(meter="memory", volume=512, at=SENT, unit="MiB"),
            Sample(meter="disk.root.size", volume=1, at=SENT, unit="GiB"),
            Sample(meter="disk.ephemeral.size", volume=0, at=SENT, unit="GiB"),
        ],
    )


def test_one_that_is_deleted_occupies_nothing() -> None:
    deleted = EXISTS | {"deleted_at": "2026-11-24T02:00:00.000000", "state": "deleted"}
    assert read("compute.instance.exists", deleted) is None
    data = VERSIONED_EXISTS["nova_object.data"] | {"deleted_at": "2026-11-24T02:00:00Z"}
    assert read("instance.exists", VERSIONED_EXISTS | {"nova_object.data": data}) is None


def test_what_a_host_measures() -> None:
    at = f"{MEASURED}Z"
    numa = "compute.node.numa.membw.current"
    assert read("compute.metrics.update", METRICS) == Usage(
        Subject(host="compute1"),
        [
            Sample(meter="compute.node.cpu.frequency", volume=2400, at=at, unit="MHz"),
            Sample(
                meter="compute.node.cpu.user.time",
                volume=6.5e9,
                at=at,
                kind="cumulative",
                unit="ns",
            ),
            Sample(meter="compute.node.cpu.percent", volume=25, at=at, unit="percent"),
            Sample(meter=numa, volume=1000, at=at, device="0"),
            Sample(meter=numa, volume=2000, at=at, device="1"),
        ],
    )


def test_the_versioned_notification_has_percentages_as_they_are() -> None:
    usage = read("metrics.update", VERSIONED_METRICS)
    assert usage is not None
    at = "2026-11-24T02:33:00.000000Z"
    assert usage.samples == [
        Sample(meter="compute.node.cpu.idle.time", volume=7, at=at, kind="cumulative", unit="ns"),
        Sample(meter="compute.node.cpu.iowait.percent", volume=25, at=at, unit="percent"),
    ]


def test_whole_is_every_type() -> None:
    assert WHOLE.keys() == USAGE_TYPES


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        ("compute.instance.exists", {}),
        ("compute.instance.exists", EXISTS | {"vcpus": None}),
        ("compute.instance.exists", EXISTS | {"instance_id": "a/b"}),
        ("instance.exists", versioned("InstanceExistsPayload", uuid=VM)),
        ("compute.metrics.update", METRICS | {"host": "a b"}),
        ("compute.metrics.update", METRICS | {"metrics": None}),
        ("metrics.update", METRICS),
        ("metrics.update", []),
    ],
)
def test_what_says_nothing_of_usage_is_told_by_its_event_type(
    event_type: str, payload: object
) -> None:
    with pytest.raises(NoSamplesError, match=f"^{event_type}: "):
        read(event_type, payload)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": "cpu.percent"}, "missing required field `timestamp`"),
        ({"name": "cpu.percent", "timestamp": "now", "value": 1}, "timestamp is no ISO 8601 time"),
        ({"name": "cpu.percent", "timestamp": MEASURED, "value": "1"}, "got `str`"),
        ("cpu.percent", "got `str`"),
    ],
)
def test_a_metric_that_is_wrong_costs_no_other_one(wrong: Any, why: str) -> None:
    good = {"name": "cpu.frequency", "timestamp": MEASURED, "value": 2400}
    legacy = read("compute.metrics.update", METRICS | {"metrics": [wrong, good]})
    objects = [{"nova_object.data": each} for each in (wrong, good)]
    told = VERSIONED_METRICS["nova_object.data"] | {"metrics": objects}
    for usage in (legacy, read("metrics.update", {"nova_object.data": told})):
        assert usage is not None
        assert [sample.volume for sample in usage.samples] == [2400]
        assert usage.error.startswith("1 of 2 metrics cannot be used, the first: ")
        assert why in usage.error


def measured_by_nova() -> list[tuple[str, Usage]]:
    """Return what is read of what nova 34 notified when it measured a host twice, a minute of CPU
    apart, in both formats."""
    found = []
    for line in (DATA / "nova-34-metrics.jsonl").read_text().splitlines():
        told = oslo.decode(msgspec.json.decode(line)["body"].encode())
        usage = read_usage(told.event_type, told.payload, SENT)
        assert usage is not None
        found.append((told.event_type, usage))
    return found


def test_what_a_real_nova_measures_of_a_host() -> None:
    types, usages = zip(*measured_by_nova(), strict=True)
    assert types == ("compute.metrics.update", "metrics.update") * 2
    assert {usage.subject for usage in usages} == {Subject(host="host1")}
    assert {usage.error for usage in usages} == {""}
    first, _, second, _ = (
        {each.meter.removeprefix("compute.node.cpu."): each for each in usage.samples}
        for usage in usages
    )
    assert len(second) == 10
    # By tests/real_nova/measuring_nova.py: 20 + 5 + 1 of 60 seconds; nova cuts off fractions.
    assert {name: each.volume for name, each in second.items() if each.unit == "percent"} == {
        "percent": 43,
        "user.percent": 33,
        "kernel.percent": 8,
        "iowait.percent": 1,
        "idle.percent": 56,
    }
    passed = {
        name: each.volume - first[name].volume
        for name, each in second.items()
        if each.kind == "cumulative"
    }
    assert passed == {"user.time": 20e9, "kernel.time": 5e9, "iowait.time": 1e9, "idle.time": 34e9}
    assert (second["frequency"].volume, second["frequency"].unit) == (800, "MHz")
    assert all(each.at[:20] == second["percent"].at[:20] for each in second.values())


def test_both_formats_of_nova_say_the_same_of_a_host() -> None:
    usages = [usage for _type, usage in measured_by_nova()]
    for legacy, versioned in (usages[:2], usages[2:]):
        # The versioned one leaves out the fraction of the second.
        assert [replace(each, at=each.at[:19]) for each in legacy.samples] == [
            replace(each, at=each.at[:19]) for each in versioned.samples
        ]
