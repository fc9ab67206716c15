"""What nova's own notifications of usage say, by what nova 34.0.0 sent or would send."""

from typing import Any

import msgspec
import pytest

from vimfed.alerts.subject import Subject
from vimfed.model.samples import Sample
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
