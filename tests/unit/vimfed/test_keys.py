"""Bridge, worker and router must agree on the partition of every instance."""

import string

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from vimfed.kafka.partitions import partition_of
from vimfed.model.identity import split_vim_id, vim_id_of
from vimfed.model.keys import host_key, host_of_key, instance_key, split_instance_key

owners = st.text(st.characters(exclude_characters="_/", codec="utf-8"), min_size=1)
regions = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1)
instance_ids = st.one_of(
    st.uuids().map(str), st.text(string.ascii_letters + "_.-", min_size=1), st.text()
)


@settings(max_examples=10_000, deadline=None)
@given(owners, regions, instance_ids, st.integers(1, 64))
def test_every_key_lands_in_the_partition_where_kafkas_own_partitioner_puts_it(
    owner: str, region: str, instance_id: str, partitions: int
) -> None:
    vim_id = vim_id_of(owner, region)
    key = instance_key(vim_id, instance_id)
    everywhere = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, everywhere, everywhere)
    assert split_instance_key(key) == (vim_id, instance_id)
    assert split_vim_id(vim_id) == (owner, region)


def test_the_partition_is_that_of_the_java_client() -> None:
    # The vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
    for key, digest in {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
    }.items():
        assert partition_of(key, 1_000_003) == (digest & 0x7FFFFFFF) % 1_000_003


def test_what_is_no_key_or_no_vim_id_is_refused() -> None:
    with pytest.raises(ValueError, match="not an instance key"):
        split_instance_key(b"no slash")
    for name in ("nounderscore", "_region", "owner_"):
        with pytest.raises(ValueError, match="not a vim_id"):
            split_vim_id(name)


def test_a_hosts_key_names_it_whatever_it_is_called() -> None:
    for host in ("compute01", "rack/1", "\u00e9t\u00e9.example"):
        assert host_of_key(host_key("a_b", host)) == host
