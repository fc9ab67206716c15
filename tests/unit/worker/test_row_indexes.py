"""Which index a row goes to."""

from streams.worker.row_indexes import RowIndexes
from tests.unit.worker.test_instance_index import VIM, row
from vimfed.model.keys import cloud_key, host_key, instance_key
from vimfed.model.records import CloudState, HostState, encode_row


def test_hosts_and_clouds_are_no_instances() -> None:
    indexes = RowIndexes()
    indexes.add_partition(0)
    key = instance_key(VIM, "a")
    host = host_key(VIM, "compute01"), encode_row(HostState(vim_id=VIM, host="compute01"))
    cloud = cloud_key(VIM), encode_row(CloudState(vim_id=VIM))
    indexes.add_rows(0, [(key, row("a", "active", "1")), host, cloud])
    assert indexes.instances.sizes() == {VIM: [1]}
    for gone, _row in (host, cloud):
        indexes.remove(0, gone)
    assert indexes.instances.sizes() == {VIM: [1]}
    indexes.remove(0, key)
    assert indexes.instances.sizes() == {}
