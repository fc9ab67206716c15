"""In memory: which instances of a VIM are in which state, for the partitions that a worker owns.

Built by scanning a partition when it becomes ours, kept up to date batch by batch. Writing is
cheap, since that happens for every batch: it notes what changed. The order by time is brought up
to date when somebody asks.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, merge
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedList

from streams.kinds import DELETED
from vimfed.keys import instance_key
from vimfed.records import Phase


class StateGroup(NamedTuple):
    """What a query by states can tell instances apart by."""

    vm_state: str
    task_state: str
    kind: str


class IndexEntry(NamedTuple):
    """One instance as a query sees it."""

    changed_at: str
    instance_id: str
    tenant_id: str
    phase: Phase


class _Payload(msgspec.Struct, gc=False):
    tenant_id: str | None = None


class _Row(msgspec.Struct, gc=False, kw_only=True):
    """As much of an encoded InstanceState as the index holds."""

    vim_id: str
    instance_id: str
    vm_state: str
    task_state: str
    kind: str
    phase: Phase
    changed_at: str
    received_at: str = ""
    payload: _Payload


_decode_row = msgspec.json.Decoder(_Row).decode


class _VimIndex:
    """The instances of one VIM in one partition."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[StateGroup, IndexEntry]] = {}
        self._ordered: dict[str, tuple[StateGroup, IndexEntry]] = {}
        """What ``_groups`` holds; behind ``latest`` for the ids in ``_changed``."""
        self._groups: dict[StateGroup, SortedList[IndexEntry]] = {}
        self._changed: set[str] = set()

    def put(self, group: StateGroup, entry: IndexEntry) -> None:
        self.latest[entry.instance_id] = (group, entry)
        self._changed.add(entry.instance_id)

    def remove(self, instance_id: str) -> None:
        if self.latest.pop(instance_id, None) is not None:
            self._changed.add(instance_id)

    def groups(self) -> dict[StateGroup, "SortedList[IndexEntry]"]:
        """Return all groups, each in the order of time."""
        for instance_id in self._changed:
            old = self._ordered.pop(instance_id, None)
            if old is not None:
                self._groups[old[0]].remove(old[1])
            new = self.latest.get(instance_id)
            if new is not None:
                self._ordered[instance_id] = new
                self._groups.setdefault(new[0], SortedList()).add(new[1])
        self._changed.clear()
        return self._groups


class Page(NamedTuple):
    """What :meth:`InstanceIndex.query` found."""

    total: int
    """How many instances match in all."""
    newest: list[IndexEntry]
    """The newest of them, newest first, after the marker."""


class InstanceIndex:
    """The index of all partitions that this worker owns."""

    def __init__(self) -> None:
        self._partitions: dict[int, dict[str, _VimIndex]] = {}
        self._deleted: dict[int, list[tuple[str, bytes]]] = {}
        """Per partition a heap of (received_at, key) of rows that were written as deleted."""

    def add_partition(self, partition: int, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Index a partition that became ours, from all of its rows."""
        self._partitions[partition] = {}
        self._deleted[partition] = []
        for _key, row in rows:
            self.put(partition, row)

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self._partitions.pop(partition, None)
        self._deleted.pop(partition, None)

    def put(self, partition: int, row: bytes) -> None:
        """Index an encoded InstanceState that was written."""
        state = _decode_row(row)
        vims = self._partitions[partition]
        vim = vims.get(state.vim_id)
        if vim is None:
            vim = vims[state.vim_id] = _VimIndex()
        vim.put(
            StateGroup(state.vm_state, state.task_state, state.kind),
            IndexEntry(
                state.changed_at, state.instance_id, state.payload.tenant_id or "", state.phase
            ),
        )
        if state.vm_state == DELETED:
            key = instance_key(state.vim_id, state.instance_id)
            heappush(self._deleted[partition], (state.received_at, key))

    def pop_deleted(self, partition: int, before: str) -> Iterator[bytes]:
        """Yield, and forget, the keys of rows that were written as deleted before a time.

        ``before`` is spelled like ``InstanceState.received_at``.
        """
        heap = self._deleted[partition]
        while heap and heap[0][0] < before:
            yield heappop(heap)[1]

    def remove(self, partition: int, vim_id: str, instance_id: str) -> None:
        """Forget an instance whose row was deleted."""
        vim = self._partitions[partition].get(vim_id)
        if vim is not None:
            vim.remove(instance_id)
            if not vim.latest:
                del self._partitions[partition][vim_id]

    def partitions(self) -> set[int]:
        """Return the partitions that the index covers."""
        return set(self._partitions)

    def vim_ids(self) -> set[str]:
        """Return the VIMs that have rows here."""
        return {vim_id for vims in self._partitions.values() for vim_id in vims}

    def __len__(self) -> int:
        return sum(len(vim.latest) for vims in self._partitions.values() for vim in vims.values())

    def query(
        self,
        vim_id: str,
        matches: Callable[[StateGroup], bool],
        *,
        tenant_id: str | None,
        before: tuple[str, str] | None,
        limit: int,
    ) -> Page:
        """Return how many instances of a VIM match, and the newest ``limit`` of them.

        ``before`` is the (changed_at, instance_id) of the last instance already seen.
        """
        groups = [
            ordered
            for vims in self._partitions.values()
            if vim_id in vims
            for group, ordered in vims[vim_id].groups().items()
            if ordered and matches(group)
        ]
        if tenant_id is None:
            total = sum(map(len, groups))
        else:
            total = sum(entry.tenant_id == tenant_id for group in groups for entry in group)
        newest: list[IndexEntry] = []
        for entry in merge(*(_descending(group, before) for group in groups), reverse=True):
            if len(newest) == limit:
                break
            if tenant_id is None or entry.tenant_id == tenant_id:
                newest.append(entry)
        return Page(total, newest)


def _descending(
    ordered: "SortedList[IndexEntry]", before: tuple[str, str] | None
) -> Iterator[IndexEntry]:
    """Iterate backwards over ``ordered``, from just below ``before``."""
    if before is None:
        return reversed(ordered)
    # A tuple of two sorts before every entry that begins with the same two.
    end = ordered.bisect_left(before)  # type: ignore[arg-type]
    return ordered.islice(0, end, reverse=True)
