"""In memory: what is looked for among the rows of the partitions that a worker owns.

A row's key says what it is about, and with that which index it goes to.
"""

from collections.abc import Iterable

from streams.worker.instance_index import InstanceIndex
from vimfed.model.keys import kind_of_key, split_instance_key


class RowIndexes:
    """The indexes of all partitions that this worker owns."""

    def __init__(self) -> None:
        self.instances = InstanceIndex()

    def add_partition(self, partition: int) -> None:
        """Begin to index a partition that becomes ours."""
        self.instances.add_partition(partition)

    def add_rows(self, partition: int, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Index some encoded rows of a partition, each with its key."""
        for key, row in rows:
            self.put(partition, key, row)

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self.instances.drop_partition(partition)

    def put(self, partition: int, key: bytes, row: bytes) -> None:
        """Index an encoded row that was written."""
        if kind_of_key(key) == "instance":
            self.instances.put(partition, row)

    def remove(self, partition: int, key: bytes) -> None:
        """Forget a row that was deleted."""
        if kind_of_key(key) == "instance":
            self.instances.remove(partition, *split_instance_key(key))
