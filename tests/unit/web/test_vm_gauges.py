"""What Prometheus reads of the rows of the meters table."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.worker.instance_index import IndexEntry, StateGroup
from vimfed.model.samples import Measurement, MetersState, MeterValue, encode_meters
from web.queries.vm_gauges import FAMILIES, MAX_BYTES, TooMuchError, VmGauges

VIM = "Owner_Region"
END = "2026-01-01T12:01:00.000000Z"
END_SECONDS = 1767268860.0
NAMED = {"vim_id": VIM, "instance_id": "a", "name": "A", "tenant_id": "t", "host": "compute-1"}

Told = dict[str, list[tuple[dict[str, str], float]]]


def value(meter: str, volume: float, **fields: Any) -> MeterValue:
    return MeterValue(meter=meter, volume=volume, at=END, **fields)


def measured(*values: MeterValue, end: str = END, name: str = "A") -> Measurement:
    return Measurement(
        id=f"until {end}",
        vim_id=VIM,
        instance_id="a",
        host="compute-1",
        begin="2026-01-01T12:00:00.000000Z",
        end=end,
        tenant_id="t",
        display_name=name,
        values=values,
    )


def row(*measurements: Measurement) -> bytes:
    until = measurements[-1].end if measurements else ""
    return encode_meters(
        MetersState(
            vim_id=VIM, instance_id="a", measured_until=until, measurements=tuple(measurements)
        )
    )


def told(gauges: VmGauges) -> Told:
    """Return the samples of each family, as Prometheus' own client reads them."""
    text = b"".join(gauges.pieces()).decode()
    families = list(text_string_to_metric_families(text))
    assert [each.name for each in families] == list(FAMILIES)
    assert {each.type for each in families} == {"gauge"}
    assert all(each.documentation == FAMILIES[each.name] for each in families)
    samples = [sample for family in families for sample in family.samples]
    assert all(each.timestamp is None for each in samples)
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in families
        if family.samples
    }


def test_each_value_is_told_once_with_whose_it_is() -> None:
    gauges = VmGauges(END)
    read = value(
        "disk.device.read.bytes", 8e24, device="vda", unit="B", kind="cumulative", rate=0.25
    )
    values = (
        value("cpu_util", 12.5, unit="%"),
        read,
        value("memory_util", 0.0, unit="%"),
        value("power.state", 1),
    )
    gauges.add(VIM, "a", row(measured(value("cpu_util", 99)), measured(*values)), None)
    of_disk = {"meter": "disk.device.read.bytes", "device": "vda", "unit": "B"}
    of_power = {"meter": "power.state", "device": "", "unit": ""}
    which = {"vim_id": VIM, "instance_id": "a"}
    assert told(gauges) == {
        "vimfed_vm_cpu_util_percent": [(NAMED, 12.5)],
        "vimfed_vm_memory_util_percent": [(NAMED, 0.0)],
        "vimfed_vm_meter": [(which | of_disk, 8e24), (which | of_power, 1.0)],
        "vimfed_vm_meter_rate": [(which | of_disk, 0.25)],
        "vimfed_vm_measured_timestamp_seconds": [(NAMED, END_SECONDS)],
    }


def test_the_lines_of_a_gauge_stand_together_whatever_the_rows() -> None:
    gauges = VmGauges(END)
    for instance_id in ("a", "b", "c"):
        busy = measured(value("cpu_util", 1), value("vcpus", 2))
        gauges.add(VIM, instance_id, row(busy), None)
    for family, samples in told(gauges).items():
        assert [labels["instance_id"] for labels, _ in samples] == ["a", "b", "c"], family


def test_a_percentage_of_a_device_is_no_percentage_of_the_vm() -> None:
    gauges = VmGauges(END)
    gauges.add(VIM, "a", row(measured(value("cpu_util", 7, device="vcpu0", unit="%"))), None)
    assert "vimfed_vm_cpu_util_percent" not in told(gauges)
    assert told(gauges)["vimfed_vm_meter"][0][0]["device"] == "vcpu0"


def test_meters_choose_what_is_told() -> None:
    gauges = VmGauges(END, ["memory_util", "vcpus"])
    values = (value("cpu_util", 1), value("memory_util", 2), value("vcpus", 3), value("cpu", 4))
    gauges.add(VIM, "a", row(measured(*values)), None)
    assert {
        family: [number for _, number in samples] for family, samples in told(gauges).items()
    } == {
        "vimfed_vm_memory_util_percent": [2.0],
        "vimfed_vm_meter": [3.0],
        "vimfed_vm_measured_timestamp_seconds": [END_SECONDS],
    }


def test_what_was_measured_before_is_left_out_and_so_is_a_row_without_measurements() -> None:
    gauges = VmGauges("2026-01-01T12:01:00.000001Z")
    gauges.add(VIM, "a", row(measured(value("cpu_util", 1))), None)
    gauges.add(VIM, "b", row(), None)
    assert told(gauges) == {}


def test_the_tenant_is_that_which_the_instance_has_now() -> None:
    entry = IndexEntry("", "a", StateGroup("active", "", "CREATE"), "now", "", "")
    gauges = VmGauges(END)
    gauges.add(VIM, "a", row(measured(value("cpu_util", 1))), entry)
    assert {labels["tenant_id"] for samples in told(gauges).values() for labels, _ in samples} == {
        "now"
    }


@pytest.mark.parametrize(
    "name", ['"', "\\", "\n", '\\n"} 1\nvimfed_vm_meter 2', "\r", "\u2028", "{}", "müde", " a "]
)
def test_no_name_breaks_the_text(name: str) -> None:
    gauges = VmGauges(END)
    gauges.add(VIM, "a", row(measured(value("cpu_util", 1), value("vcpus", 2), name=name)), None)
    found = told(gauges)
    assert found["vimfed_vm_cpu_util_percent"] == [(NAMED | {"name": name}, 1.0)]
    assert len(found["vimfed_vm_meter"]) == 1


def test_more_than_an_answer_may_hold_is_not_told_in_part() -> None:
    gauges = VmGauges(END)
    big = row(measured(*(value("m" * 200 + str(n), n) for n in range(500))))

    def fill() -> None:
        for number in range(1 + MAX_BYTES // (500 * 200)):
            gauges.add(VIM, str(number), big, None)

    with pytest.raises(TooMuchError):
        fill()
