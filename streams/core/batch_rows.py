"""The rows of a partition as a batch sees and changes them."""

from collections.abc import Callable, Iterable
from typing import cast

from streams.core.availability import host_of_row
from streams.core.placement import Placement, is_down
from vimfed.model.keys import alerts_key, cloud_key, host_key, instance_key
from vimfed.model.records import CloudState, HostState, InstanceState, SourceAlerts
from vimfed.model.rows import Row

ReadRow = Callable[[bytes], Row | None]


class BatchRows:
    """Rows from the table, or as the batch has left them.

    ``placement`` says how things were before the batch; it is not changed.
    """

    def __init__(self, read_row: ReadRow, placement: Placement) -> None:
        self._read = read_row
        self._placement = placement
        self._known: dict[bytes, Row | None] = {}
        self.changed: dict[bytes, Row | None] = {}
        """By key what is to be written; None deletes."""
        self._down: dict[str, set[str]] = {}
        """By cloud the hosts that are down, where the batch has changed that."""
        self._unplaced: list[bytes] = []
        """Keys of instances that have changed since somebody asked where they are."""
        self._placed: dict[tuple[str, str], set[bytes]] = {}

    def instance(self, key: bytes) -> InstanceState | None:
        """Return the row of the instance with this key."""
        return cast(InstanceState | None, self._row(key))

    def host(self, vim_id: str, host: str) -> HostState | None:
        """Return the row of a host."""
        return cast(HostState | None, self._row(host_key(vim_id, host)))

    def cloud(self, vim_id: str) -> CloudState | None:
        """Return the row of a cloud."""
        return cast(CloudState | None, self._row(cloud_key(vim_id)))

    def alerts(self, vim_id: str, instance_id: str, host: str) -> SourceAlerts | None:
        """Return the row of the alerts about an instance, a host or the cloud."""
        return self.alerts_at(alerts_key(vim_id, instance_id, host))

    def alerts_at(self, key: bytes) -> SourceAlerts | None:
        """Return the row of alerts with this key."""
        return cast(SourceAlerts | None, self._row(key))

    def _row(self, key: bytes) -> Row | None:
        if key in self._known:
            return self._known[key]
        row = self._known[key] = self._read(key)
        return row

    def put_instance(self, key: bytes, row: InstanceState) -> None:
        """Change the row of an instance."""
        self._known[key] = self.changed[key] = row
        self._unplaced.append(key)

    def put_host(self, vim_id: str, host: str, row: HostState | None) -> None:
        """Change the row of a host; None deletes it."""
        self._put(host_key(vim_id, host), row)
        down = self._down.setdefault(vim_id, set(self._placement.down(vim_id)))
        if row is not None and is_down(row):
            down.add(host)
        else:
            down.discard(host)

    def put_cloud(self, row: CloudState) -> None:
        """Change the row of a cloud."""
        self._put(cloud_key(row.vim_id), row)

    def put_alerts(self, key: bytes, row: SourceAlerts | None) -> None:
        """Change a row of alerts; None deletes it."""
        self._put(key, row)

    def _put(self, key: bytes, row: Row | None) -> None:
        self._known[key] = self.changed[key] = row

    def has_down(self, vim_id: str) -> bool:
        """Return whether a cloud has hosts that are down."""
        down = self._down.get(vim_id)
        return bool(self._placement.down(vim_id) if down is None else down)

    def instances_on(self, vim_id: str, host: str) -> Iterable[bytes]:
        """Return the keys of a host's instances, in their order, and of some that have left it."""
        for key in self._unplaced:
            row = self.instance(key)
            if row is not None:
                self._placed.setdefault((row.vim_id, host_of_row(row)), set()).add(key)
        self._unplaced.clear()
        before = (instance_key(vim_id, each) for each in self._placement.instances_on(vim_id, host))
        return sorted({*before, *self._placed.get((vim_id, host), ())})
