"""In memory: what is looked for among the rows of the partitions that a worker owns.

A row's key says what it is about, and with that which index it goes to.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import partial

import msgspec

from streams.core.fold import Surroundings
from streams.worker.alarm_index import AlarmIndex, AlarmSource
from streams.worker.alert_rows import AlertRows
from streams.worker.host_index import HostIndex
from streams.worker.instance_index import InstanceIndex
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import kind_of_key, split_instance_key
from vimfed.model.records import Alarm, Recorded


class _Alarmed(Recorded, frozen=True, gc=False, kw_only=True):
    """The alarms of an encoded HostState or SourceAlerts."""

    vim_id: str
    instance_id: str = ""
    host: str = ""
    alarms: tuple[Alarm, ...] = ()


_decode_alarmed = msgspec.json.Decoder(_Alarmed).decode


class _Placement:
    """Where the instances of one partition are, for the fold."""

    def __init__(self, indexes: "RowIndexes", partition: int) -> None:
        self._indexes = indexes
        self._partition = partition

    def hosts_held(self, vim_id: str) -> int:
        return len(self._indexes.hosts.news(self._partition, vim_id).hosts)

    def down(self, vim_id: str) -> Collection[str]:
        return self._indexes.hosts.down(self._partition, vim_id)

    def instances_on(self, vim_id: str, host: str) -> Collection[str]:
        return self._indexes.instances.ids_on(self._partition, vim_id, host)


class RowIndexes:
    """The indexes of all partitions that this worker owns, of ``partitions`` that there are."""

    def __init__(self, partitions: int) -> None:
        self._count = partitions
        self.instances = InstanceIndex()
        self.hosts = HostIndex(partitions)
        self.alarms = AlarmIndex()
        self.alert_rows = AlertRows()

    def add_partition(self, partition: int) -> None:
        """Begin to index a partition that becomes ours."""
        for index in (self.instances, self.hosts, self.alarms, self.alert_rows):
            index.add_partition(partition)

    def add_rows(self, partition: int, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Index some encoded rows of a partition, each with its key."""
        for key, row in rows:
            self.put(partition, key, row)

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        for index in (self.instances, self.hosts, self.alarms, self.alert_rows):
            index.drop_partition(partition)

    def write(self, partition: int, rows: Mapping[bytes, bytes | None]) -> None:
        """Index encoded rows that were written; one that is None was deleted."""
        for key, row in rows.items():
            if row is None:
                self.remove(partition, key)
            else:
                self.put(partition, key, row)

    def put(self, partition: int, key: bytes, row: bytes) -> None:
        """Index an encoded row that was written."""
        kind = kind_of_key(key)
        if kind == "instance":
            state = self.instances.put(partition, row)
            source = AlarmSource(state.instance_id)
            self.alarms.put(partition, state.vim_id, key, source, state.alarms)
        elif kind == "cloud":
            self.hosts.put_cloud(partition, row)
        else:
            if kind == "host":
                self.hosts.put_host(partition, row)
            else:
                self.alert_rows.put(partition, key, row)
            # A host's row lies in every partition: its alarms count in its own.
            if kind == "alerts" or partition_of(key, self._count) == partition:
                about = _decode_alarmed(row)
                source = AlarmSource(about.instance_id, about.host)
                self.alarms.put(partition, about.vim_id, key, source, about.alarms)

    def remove(self, partition: int, key: bytes) -> None:
        """Forget a row that was deleted."""
        kind = kind_of_key(key)
        vim_id, about = split_instance_key(key)
        if kind == "instance":
            self.instances.remove(partition, vim_id, about)
        elif kind == "host":
            self.hosts.remove_host(partition, vim_id, about.partition("/")[2])
        elif kind == "cloud":
            self.hosts.remove_cloud(partition, vim_id)
        else:
            self.alert_rows.remove(partition, key)
        self.alarms.remove(partition, vim_id, key)

    def surroundings(self, partition: int) -> Surroundings:
        """Return what a fold of a partition's batch needs to know beside the rows."""
        return Surroundings(
            placement=_Placement(self, partition),
            alert_sources=partial(self.alert_rows.held, partition),
            expiring=partial(self.alert_rows.expiring, partition),
        )
