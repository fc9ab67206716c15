"""A Faust table whose rows are written behind the changelog, never before.

Upstream (faust-streaming 0.15.3) writes a row first and sends it to the changelog afterwards: after
a kill the replayed input meets rows that know it already, and what should have followed from it is
never written. Here the worker sends to the changelog itself and hands rows over with
:meth:`RowTable.write` once they are acknowledged. What stays with Faust is the assignment of
partitions, recovery from the changelog, and standbys.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

import faust
from aiokafka.structs import ConsumerRecord
from faust.stores import base
from faust.types import TP, EventT

from streams.core.revision import TOMBSTONE_HEADER, is_older, is_stale_tombstone
from streams.engine.partition_stores import PartitionStore, PartitionStores

LOG = logging.getLogger(__name__)

CHUNK = 500
"""Rows that are handed over before others have their turn: some 5 ms."""
_FAUST_LOG = logging.getLogger("faust.tables")
"""What upstream logs of services starting and stopping stays under upstream's name."""


class PartitionIndex(Protocol):
    """What is told which partitions are ours to answer for, and which rows they have."""

    def add_partition(self, partition: int) -> None:
        """Begin with a partition that becomes ours."""

    def add_rows(self, partition: int, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Take some of its rows, with their keys, until all have been handed over."""

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""


class _Recovered(Protocol):
    """What the recovery knows when it is complete (streams/engine/table_recovery.py)."""

    completed_generation: int
    active_highwaters: Mapping[TP, int]
    active_offsets: Mapping[TP, int]


class _Store(base.Store[bytes, bytes]):
    """Faust's view of the partition stores: assignment, persisted offsets, recovery."""

    logger = _FAUST_LOG
    table: "RowTable"
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
        # Some 10 ms for each database that is closed or opened: others have their turn in between.
        topic = self.table.changelog_topic_name
        for tp in revoked:
            if tp.topic == topic:
                self.table.release(tp.partition)
                await asyncio.sleep(0)
        for tp in assigned:
            if tp.topic == topic:
                self.stores.get(tp.partition)
                await asyncio.sleep(0)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Take over what has been recovered. What goes wrong ends the process.

        Upstream passes over it: a member of the group that never answers.
        """
        recovery: _Recovered = cast(Any, self.app.tables).recovery
        if recovery.completed_generation != self.app.consumer_generation_id:
            return  # the recovery of a later assignment is under way, and takes over
        # More than what was there at the beginning may have been read, where a worker that does not
        # know yet that it has lost the partition has gone on writing.
        ends = {
            tp.partition: max(recovery.active_highwaters[tp], recovery.active_offsets[tp]) + 1
            for tp in active_tps
        }
        try:
            await self.table.activate(ends, recovery.completed_generation)
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
        self.table.active.clear()
        self.stores.close_all()

    def _clear(self) -> None:
        raise NotImplementedError("rows are deleted by tombstones, one by one")


def is_stale(change: ConsumerRecord, known: bytes) -> bool:
    """Return whether a changelog record is older than the row that is known of its key."""
    if change.value is not None:
        return is_older(change.value, known)
    revision = dict(change.headers).get(TOMBSTONE_HEADER)
    return is_stale_tombstone(None if revision is None else revision.decode(), known)


class RowTable(faust.Table[bytes, bytes]):
    """Key → encoded row, by partition.

    Its ``index``, if it has one, is told when a partition becomes ours to answer for, and when it
    no longer is.
    """

    logger = _FAUST_LOG

    def __init__(
        self,
        app: faust.App,
        *,
        name: str,
        folder: Path | None,
        index: PartitionIndex | None = None,
        **options: Any,
    ) -> None:
        self.stores = PartitionStores(folder, name)
        self.active: set[int] = set()
        """The partitions that we own and have recovered."""
        self.changelog_end: dict[int, int] = {}
        """For each active partition, the offset of the next record that we write."""
        self.generation = -1
        """The consumer group's generation in which the active partitions were assigned last."""
        self.taken_in: dict[int, int] = {}
        """For each active partition, the generation in which it became ours."""
        self._taking: dict[int, object] = {}
        """The partitions that are being taken over; the object tells one time from the next."""
        self._index = index
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **options)

    def _new_store(self) -> _Store:
        store = _Store(f"{self.name}://", self.app, self, table_name=self.name, loop=self.loop)
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

    def apply(self, partition: int, changes: Sequence[ConsumerRecord], next_offset: int) -> None:
        """Apply what recovery and standbys read from the changelog, up to ``next_offset``.

        Upstream takes the last record of a key for the newest. A worker that was stopped longer
        than its session and resumed may have written an old row behind a newer one, so rows with a
        lower revision are ignored, and noted so that the owner writes the newer one again.

        The partition is not ours to answer for until it is activated, even if it was before: others
        have written to it.
        """
        self._deactivate(partition)
        store = self.stores.get(partition)
        rows: dict[bytes, bytes | None] = {}
        overwritten = set()
        for change in changes:
            key = change.key
            known = rows[key] if key in rows else store.get(key)
            if known is not None and is_stale(change, known):
                LOG.warning("stale row ignored: %s-%s %r", change.topic, partition, key)
                overwritten.add(key)
            else:
                rows[key] = change.value
                overwritten.discard(key)
        store.write(rows, next_offset - 1, overwritten)
        store.followed.reached(next_offset)

    def drop_outdated(self, partition: int) -> None:
        """Forget the rows of a partition where they are too old to be gone on from."""
        if self.stores.is_outdated(partition):
            self._drop(partition)

    def drop_fallen_back(self, partition: int) -> bool:
        """Forget the rows of a partition that fell back while it was read; return whether it did.

        The process was frozen, or cut off from the changelog, for longer than tombstones are kept.
        """
        if not self.stores.has_fallen_back(partition):
            return False
        self._drop(partition)
        return True

    def _drop(self, partition: int) -> None:
        LOG.warning(
            "partition %s has not followed its changelog for too long: it is read from the start",
            partition,
        )
        self._deactivate(partition)
        self.stores.remove(partition)

    async def activate(self, changelog_ends: Mapping[int, int], generation: int) -> None:
        """Take over partitions, recovered up to their changelogs' ends.

        From then on these, and only these, are ours, as of that ``generation`` of the group. Their
        rows are handed over in chunks: other things go on meanwhile, and where one of them takes a
        partition away, be it one that was ours before, none is taken over.
        """
        for partition in (self.active | self._taking.keys()) - changelog_ends.keys():
            self._deactivate(partition)
        taken = changelog_ends.keys() - self.active
        token = object()
        for partition in taken:
            self._deactivate(partition)  # an earlier assignment may be taking it over
            self._taking[partition] = token
            if self._index is not None:
                self._index.add_partition(partition)
        if self._index is not None and not await self._hand_over(taken, token, self._index):
            return
        if any(self._taking.get(partition) is not token for partition in taken):
            return
        if not changelog_ends.keys() - taken <= self.active:
            return
        self._taking.clear()
        self.active = set(changelog_ends)
        self.changelog_end = dict(changelog_ends)
        self.generation = generation
        for partition in taken:
            self.taken_in[partition] = generation

    async def _hand_over(
        self, partitions: Collection[int], token: object, index: PartitionIndex
    ) -> bool:
        """Hand over the rows; return False where one of the partitions was taken away meanwhile."""
        for partition in partitions:
            if self._taking.get(partition) is not token:
                return False
            rows = self.stores.get(partition).items()
            while chunk := list(islice(rows, CHUNK)):
                index.add_rows(partition, chunk)
                await asyncio.sleep(0)
                if self._taking.get(partition) is not token:
                    return False
        return True

    def release(self, partition: int) -> None:
        """Let go of a partition and its database."""
        self._deactivate(partition)
        self.stores.close(partition)

    def _deactivate(self, partition: int) -> None:
        if partition in self.active or partition in self._taking:
            self.active.discard(partition)
            self._taking.pop(partition, None)
            if self._index is not None:
                self._index.drop_partition(partition)
