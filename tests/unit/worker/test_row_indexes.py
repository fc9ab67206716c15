"""Which index a row goes to."""

import pytest
from msgspec.structs import replace

from streams.worker.row_indexes import RowIndexes
from tests.unit.worker.test_alarm_index import alarm, asked, ids
from tests.unit.worker.test_instance_index import VIM, row
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import alerts_key, cloud_key, host_key, instance_key
from vimfed.model.records import (
    CloudState,
    HostState,
    Outage,
    SourceAlerts,
    decode_row,
    encode_row,
)

HOST = "compute01"
DOWN = HostState(vim_id=VIM, host=HOST, is_up=False, alarms=(alarm("h", 1, "host_down"),))


@pytest.fixture
def indexes() -> RowIndexes:
    indexes = RowIndexes(2)
    indexes.add_partition(0)
    indexes.add_partition(1)
    return indexes


def test_hosts_and_clouds_are_no_instances(indexes: RowIndexes) -> None:
    key = instance_key(VIM, "a")
    host = host_key(VIM, HOST), encode_row(HostState(vim_id=VIM, host=HOST))
    cloud = cloud_key(VIM), encode_row(CloudState(vim_id=VIM))
    indexes.add_rows(0, [(key, row("a", "active", "1")), host, cloud])
    assert indexes.instances.sizes() == {VIM: [1]}
    assert indexes.hosts.news(0, VIM).hosts.keys() == {HOST}
    for gone, _row in (host, cloud):
        indexes.remove(0, gone)
    assert indexes.instances.sizes() == {VIM: [1]}
    assert not indexes.hosts.news(0, VIM).hosts
    indexes.remove(0, key)
    assert indexes.instances.sizes() == {}


async def test_the_alarms_of_a_host_count_in_its_own_partition_alone(indexes: RowIndexes) -> None:
    key = host_key(VIM, HOST)
    home = partition_of(key, 2)
    for partition in (0, 1):
        indexes.put(partition, key, encode_row(DOWN))
    assert (ids(await asked(indexes.alarms)), indexes.alarms.counts()) == (
        ["h"],
        {VIM: {"host_down": 1}},
    )
    indexes.remove(1 - home, key)
    assert ids(await asked(indexes.alarms)) == ["h"]
    indexes.remove(home, key)
    assert ids(await asked(indexes.alarms)) == []


async def test_alarms_of_an_instance_lie_in_its_row_and_in_its_alerts(indexes: RowIndexes) -> None:
    state = replace(
        decode_row(row("a", "error", "1", host=HOST)),
        alarms=(alarm("1", 1),),
        outage=Outage("2026-01-01T00:00:01.000000Z", "host_down", HOST),
    )
    alerts = SourceAlerts(vim_id=VIM, instance_id="a", alarms=(alarm("2", 2, "alert/x"),))
    indexes.put(0, instance_key(VIM, "a"), encode_row(state))
    indexes.put(0, alerts_key(VIM, "a"), encode_row(alerts))
    page = await asked(indexes.alarms)
    assert ids(page) == ["2", "1"]
    assert {placed.source.instance_id for _position, placed in page.found} == {"a"}
    assert indexes.instances.unavailable() == {VIM: 1}
    assert indexes.instances.on_hosts(VIM) == {HOST: 1}
    entry = indexes.instances.entry(0, VIM, "a")
    assert entry is not None
    assert entry.group.is_out
    indexes.put(0, instance_key(VIM, "a"), row("a", "active", "2", host="compute02"))
    assert ids(await asked(indexes.alarms)) == ["2"]
    assert indexes.instances.unavailable() == {VIM: 0}
    assert indexes.instances.on_hosts(VIM) == {"compute02": 1}
    indexes.put(0, instance_key(VIM, "a"), row("a", "deleted", "3", host="compute02"))
    assert indexes.instances.on_hosts(VIM) == {}
    indexes.remove(0, alerts_key(VIM, "a"))
    assert not indexes.alarms.knows(VIM)
