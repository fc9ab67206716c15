"""What a worker's metrics say of clouds."""

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from streams.worker.cloud_metrics import CloudMetrics
from streams.worker.row_indexes import RowIndexes
from tests.unit.worker.test_alarm_index import alarm
from tests.unit.worker.test_instance_index import VIM, row
from vimfed.model.keys import host_key, instance_key
from vimfed.model.records import HostState, Outage, decode_row, encode_row


def test_hosts_outages_and_alarms_are_counted_with_few_labels() -> None:
    indexes = RowIndexes(2)
    registry = CollectorRegistry()
    registry.register(CloudMetrics(indexes))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"vim_id": VIM, **labels})

    for partition in (0, 1):
        indexes.add_partition(partition)
        for host, up in (("c1", True), ("c2", False)):
            told = HostState(vim_id=VIM, host=host, is_up=up)
            indexes.put(partition, host_key(VIM, host), encode_row(told))
    assert value("vimfed_active_alarms", condition="vm_error") is None
    state = replace(
        decode_row(row("a", "active", "1", host="c2")),
        outage=Outage("2026-01-01T00:00:01.000000Z", "host_down", "c2"),
        alarms=(alarm("1", 1, "vm_unavailable"), alarm("2", 1, "of a later version")),
    )
    indexes.put(0, instance_key(VIM, "a"), encode_row(state))
    assert value("vimfed_vms", state="active") == 1
    assert value("vimfed_vms", state="paused") == 0
    assert value("vimfed_hosts", state="up") == 1
    assert value("vimfed_hosts", state="down") == 1
    assert value("vimfed_hosts", state="unknown") == 0
    assert value("vimfed_unavailable_instances") == 1
    assert value("vimfed_active_alarms", condition="vm_unavailable") == 1
    assert value("vimfed_active_alarms", condition="other") == 1
    indexes.put(0, instance_key(VIM, "a"), row("a", "active", "2", host="c1"))
    assert value("vimfed_unavailable_instances") == 0


def test_vms_are_counted_by_states_that_nova_knows_and_by_no_others() -> None:
    indexes = RowIndexes(1)
    indexes.add_partition(0)
    registry = CollectorRegistry()
    registry.register(CloudMetrics(indexes))
    for instance_id, state in (("a", "active"), ("b", "made up"), ("c", ""), ("d", "shelved")):
        indexes.put(0, instance_key(VIM, instance_id), row(instance_id, state, "1"))
    counted = {
        sample.labels["state"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "vimfed_vms" and sample.value
    }
    assert counted == {"active": 1, "other": 1, "unknown": 1, "shelved": 1}
