"""The instances table: a Faust table whose rows are written behind the changelog, never before.

Upstream (faust-streaming 0.15.3) writes a row first and sends it to the changelog afterwards: after
a kill the replayed input meets rows that know it already, and what should have followed from it is
never written. Here the worker sends to the changelog itself and hands rows over with
:meth:`InstancesTable.write` once they are acknowledged. What stays with Faust is the assignment of
partitions, recovery from the changelog, and standbys.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import faust
import msgspec
from aiokafka.structs import ConsumerRecord
from faust.stores import base
from faust.tables.manager import TableManager
from faust.types import TP, EventT

from streams.partition_stores import PartitionStore, PartitionStores
from vimfed.records import Recorded

LOG = logging.getLogger(__name__)
_FAUST_LOG = logging.getLogger("faust.tables")
"""What upstream logs of services starting and stopping stays under upstream's name."""


class _SourceOffset(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of a row as decides which of two is newer."""

    source_offset: int = -1


_decode_source_offset = msgspec.json.Decoder(_SourceOffset).decode


class _Store(base.Store[bytes, bytes]):
    """Faust's view of the partition stores: assignment, persisted offsets, recovery."""

    logger = _FAUST_LOG
    table: "InstancesTable"
    stores: PartitionStores

    def persisted_offset(self, tp: TP) -> int | None:
        return self.stores.get(tp.partition).changelog_offset

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        self.stores.get(tp.partition).write({}, offset)

    async def need_active_standby_for(self, tp: TP) -> bool:
        return True

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        topic = self.table.changelog_topic_name
        for tp in revoked:
            if tp.topic == topic:
                self.table.release(tp.partition)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Take over what has been recovered. What goes wrong ends the process.

        Upstream passes over it: a member of the group that never answers.
        """
        recovery = cast(TableManager, self.app.tables).recovery
        # More than what was there at the beginning may have been read, where a worker that does not
        # know yet that it has lost the partition has gone on writing.
        ends = {
            tp.partition: max(recovery.active_highwaters[tp], recovery.active_offsets[tp]) + 1
            for tp in active_tps
        }
        try:
            self.table.activate(ends)
        except Exception as error:
            await self.app.crash(error)
            raise

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT[Any]],
        to_key: Callable[[Any], Any],
        to_value: Callable[[Any], Any],
    ) -> None:
        raise NotImplementedError("recovery hands batches to the table")

    def reset_state(self) -> None:
        self.stores.remove_all()

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        raise NotImplementedError("the changelog is the backup")

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        raise NotImplementedError("the changelog is the backup")

    async def on_stop(self) -> None:
        self.stores.close_all()

    def _clear(self) -> None:
        raise NotImplementedError("rows are deleted by tombstones, one by one")


def is_older(row: bytes, known: bytes) -> bool:
    """Return whether an encoded row was written from an earlier record than ``known``."""
    return _decode_source_offset(row).source_offset < _decode_source_offset(known).source_offset


class InstancesTable(faust.Table[bytes, bytes]):
    """Instance key → encoded InstanceState, by partition.

    ``on_activated(partition, rows)`` is called when a partition becomes ours to answer for,
    ``on_released(partition)`` when it no longer is.
    """

    logger = _FAUST_LOG

    def __init__(
        self,
        app: faust.App,
        *,
        folder: Path | None,
        on_activated: Callable[[int, Iterator[tuple[bytes, bytes]]], None],
        on_released: Callable[[int], None],
        **options: Any,
    ) -> None:
        self.stores = PartitionStores(folder)
        self.active: set[int] = set()
        """The partitions that we own and have recovered."""
        self.changelog_end: dict[int, int] = {}
        """For each active partition, the offset of the next record that we write."""
        self.overwritten: dict[int, set[bytes]] = defaultdict(set)
        """Keys whose newest changelog record is an old row; the owner must write them again."""
        self._on_activated = on_activated
        self._on_released = on_released
        super().__init__(app, key_type=bytes, value_type=bytes, **options)

    def _new_store(self) -> _Store:
        store = _Store("instances://", self.app, self, table_name=self.name, loop=self.loop)
        store.stores = self.stores
        return store

    def partition(self, partition: int) -> PartitionStore:
        """Return the store of a partition that we hold, active or standby."""
        return self.stores.get(partition)

    def holds(self, partition: int) -> bool:
        """Return whether we hold a partition, active or standby."""
        return self.stores.is_open(partition)

    def write(
        self, partition: int, rows: Mapping[bytes, bytes | None], changelog_offset: int
    ) -> None:
        """Write rows that the changelog has acknowledged, up to ``changelog_offset``."""
        self.stores.get(partition).write(rows, changelog_offset)
        self.changelog_end[partition] = changelog_offset + 1
        self.overwritten[partition].difference_update(rows)

    def apply(self, partition: int, changes: Sequence[ConsumerRecord]) -> None:
        """Apply what recovery and standbys read from the changelog.

        Upstream takes the last record of a key for the newest. A worker that was stopped longer
        than its session and resumed may have written an old row behind a newer one, so rows with a
        lower source offset are ignored, and noted so that the owner writes the newer one again.

        The partition is not ours to answer for until it is activated, even if it was before: others
        have written to it.
        """
        self._deactivate(partition)
        store = self.stores.get(partition)
        rows: dict[bytes, bytes | None] = {}
        for change in changes:
            key, row = change.key, change.value
            known = rows[key] if key in rows else store.get(key)
            if row is not None and known is not None and is_older(row, known):
                LOG.warning("stale row ignored: %s-%s %r", change.topic, partition, key)
                self.overwritten[partition].add(key)
            else:
                rows[key] = row
        store.write(rows, changes[-1].offset)

    def activate(self, changelog_ends: Mapping[int, int]) -> None:
        """Take over partitions, recovered up to their changelogs' ends.

        From here on these, and only these, are ours.
        """
        for partition in self.active - set(changelog_ends):
            self._deactivate(partition)
        for partition in set(changelog_ends) - self.active:
            self._on_activated(partition, self.stores.get(partition).items())
        self.active = set(changelog_ends)
        self.changelog_end = dict(changelog_ends)

    def release(self, partition: int) -> None:
        """Let go of a partition and its database."""
        self._deactivate(partition)
        self.stores.close(partition)
        self.overwritten.pop(partition, None)

    def _deactivate(self, partition: int) -> None:
        if partition in self.active:
            self.active.discard(partition)
            self._on_released(partition)
