"""How the hosts of a cloud are, and where each counts."""

import pytest

from streams.worker.host_index import HostIndex
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import cloud_key, host_key
from vimfed.model.records import CloudState, HostState, encode_row
from web.queries.availability import availability
from web.queries.host_list import _summary

VIM = "Owner_Region"
PARTITIONS = 4
HOSTS = [f"compute{number:02}" for number in range(8)]
SINCE = "2026-01-01T00:00:01.000000Z"


def host_row(host: str, **fields: object) -> bytes:
    return encode_row(HostState(vim_id=VIM, host=host, **fields))  # type: ignore[arg-type]


@pytest.fixture
def index() -> HostIndex:
    index = HostIndex(PARTITIONS)
    for partition in range(PARTITIONS):
        index.add_partition(partition)
        for host in HOSTS:
            index.put_host(partition, host_row(host))
    return index


def test_a_host_of_every_partition_counts_in_its_own(index: HostIndex) -> None:
    assert index.counts() == {VIM: {"up": len(HOSTS)}}
    assert sorted(entry.host for entry in index.at_home(VIM)) == HOSTS
    index.drop_partition(partition_of(host_key(VIM, HOSTS[0]), PARTITIONS))
    assert HOSTS[0] not in {entry.host for entry in index.at_home(VIM)}


def test_a_host_that_is_forced_down_is_that_whatever_its_service_says(index: HostIndex) -> None:
    for partition in range(PARTITIONS):
        index.put_host(partition, host_row(HOSTS[0], is_up=False, down_since=SINCE))
        index.put_host(partition, host_row(HOSTS[1], is_up=False, forced_down=True))
        index.put_host(partition, host_row(HOSTS[2], forced_down=True, down_since=SINCE))
        index.put_host(partition, host_row(HOSTS[3], disabled=True, disabled_reason="repair"))
    told = {entry.host: entry for entry in index.at_home(VIM)}
    assert [told[host].told for host in HOSTS[:4]] == ["down", "forced_down", "forced_down", "up"]
    assert (told[HOSTS[0]].down_since, told[HOSTS[3]].disabled_reason) == (SINCE, "repair")
    assert index.counts() == {VIM: {"up": 5, "down": 1, "forced_down": 2}}


def test_a_cloud_that_does_not_tell_makes_all_its_hosts_unknown(index: HostIndex) -> None:
    home = partition_of(cloud_key(VIM), PARTITIONS)
    assert (index.unknown_since(VIM), index.news(0, VIM).unknown_since) == ("", "")
    for partition in range(PARTITIONS):
        index.put_cloud(partition, encode_row(CloudState(vim_id=VIM, hosts_unknown_since=SINCE)))
    assert (index.unknown_since(VIM), index.news(0, VIM).unknown_since) == (SINCE, SINCE)
    assert index.counts() == {VIM: {"unknown": len(HOSTS)}}
    index.drop_partition(home)
    assert index.unknown_since(VIM) is None
    for partition in {*range(PARTITIONS)} - {home}:
        index.remove_cloud(partition, VIM)
        assert index.news(partition, VIM).unknown_since == ""


def test_a_host_that_is_gone_is_forgotten(index: HostIndex) -> None:
    for partition in range(PARTITIONS):
        index.remove_host(partition, VIM, HOSTS[0])
        index.remove_host(partition, VIM, "never-there")
        assert HOSTS[0] not in index.news(partition, VIM).hosts
    assert sorted(entry.host for entry in index.at_home(VIM)) == HOSTS[1:]
    assert not index.news(0, "Owner_Elsewhere").hosts


def test_a_host_whose_cell_does_not_answer_is_unknown_alone(index: HostIndex) -> None:
    for partition in range(PARTITIONS):
        index.put_host(partition, host_row(HOSTS[0], is_up=False, unknown_since=SINCE))
    assert index.counts() == {VIM: {"unknown": 1, "up": len(HOSTS) - 1}}
    (entry,) = [each for each in index.at_home(VIM) if each.host == HOSTS[0]]
    assert (entry.told, entry.unknown_since) == ("down", SINCE)
    news = index.news(0, VIM)
    assert availability(is_out=True, host=HOSTS[0], news=news) is None
    assert availability(is_out=False, host=HOSTS[1], news=news) is True
    assert availability(is_out=False, host="nowhere", news=news) is None
    shown = _summary(entry, "", 3)
    assert (shown.state, shown.since, shown.last_state) == ("unknown", SINCE, "down")
