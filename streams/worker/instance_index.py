"""In memory: which instances of a VIM are in which state, for the partitions that a worker owns.

Built by scanning a partition when it becomes ours, kept up to date batch by batch. Writing is
cheap, since that happens for every batch: it notes what changed. The order by time is brought up
to date when somebody asks. Who asks shares the event loop with the stream: long work is done in
chunks of some milliseconds, and few scans at a time, since each holds a list of what it scans.
"""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from heapq import heappop, heappush, merge, nlargest, nsmallest
from itertools import chain, islice
from typing import Literal, NamedTuple

import msgspec
from sortedcontainers import SortedList

from streams.core.bounds import KNOWN_TASK_STATES, KNOWN_VM_STATES, shortened
from vimfed.model.keys import instance_key
from vimfed.model.records import Alarm, Outage, Recorded
from vimfed.nova.states import DELETED, OTHER

CHUNK = 1000
"""So many entries are put into order, or looked at, before others have their turn."""
SCANS = 2
"""So many scans run at a time; the others wait."""


class StateGroup(NamedTuple):
    """What a query by states can tell instances apart by."""

    vm_state: str
    task_state: str
    kind: str
    is_out: bool = False
    """Whether it is unavailable since its host is down."""


def state_group(vm_state: str, task_state: str, kind: str, outage: Outage | None) -> StateGroup:
    """Return the group of an instance, of whatever release its row is.

    Release 0.1.0 kept whatever a cloud said: names that nova does not know, of any length.
    """
    return StateGroup(
        vm_state if vm_state in KNOWN_VM_STATES else OTHER,
        task_state if task_state in KNOWN_TASK_STATES else OTHER,
        kind,
        outage is not None,
    )


class IndexEntry(msgspec.Struct, frozen=True, gc=False, order=True):
    """One instance as a query sees it; what is not known of it is empty.

    No tuple: that takes half as much again, and Python's garbage collector looks at each of a
    million, while nothing else goes on.
    """

    changed_at: str
    instance_id: str
    # Entries are ordered by the two above, which no two instances of a VIM share.
    group: StateGroup
    tenant_id: str
    host: str
    display_name: str


def _place(changed_at: str, instance_id: str = "") -> IndexEntry:
    """Return what sorts right before the entry of such a time and id, and behind all lesser."""
    return IndexEntry(changed_at, instance_id, StateGroup("", "", ""), "", "", "")


SortField = Literal[
    "changed_at", "display_name", "host", "instance_id", "kind", "state", "tenant_id"
]
SORT_KEYS: dict[SortField, Callable[[IndexEntry], str]] = {
    "changed_at": lambda entry: entry.changed_at,
    "display_name": lambda entry: entry.display_name.casefold(),
    "host": lambda entry: entry.host,
    "instance_id": lambda entry: entry.instance_id,
    "kind": lambda entry: entry.group.kind,
    "state": lambda entry: entry.group.vm_state,
    "tenant_id": lambda entry: entry.tenant_id,
}

Position = tuple[str, str]
"""Where an entry stands in an order: its sort field's value, and its instance_id."""


class Selection(NamedTuple):
    """What a query asks for."""

    vim_id: str
    matches: Callable[[StateGroup], bool]
    instance_id: str | None = None
    """This instance alone."""
    since: str = ""
    """Instances that changed at this time, spelled like ``InstanceState.changed_at``, or later."""
    passes: Callable[[IndexEntry], bool] | None = None
    sort: SortField = "changed_at"
    descending: bool = True
    after: Position | None = None
    """The position of the last instance already seen."""
    limit: int = 100
    tenants: Collection[str] | None = None
    """Instances of these tenants alone; None: of all."""


class Page(NamedTuple):
    """What :meth:`InstanceIndex.query` found."""

    total: int
    """How many instances match in all."""
    found: list[tuple[Position, IndexEntry]]
    """The first of them, in the order asked for."""
    more: bool
    """Whether others follow these."""


class _Payload(msgspec.Struct, gc=False):
    tenant_id: str | None = None
    host: str | None = None
    display_name: str | None = None


class IndexedRow(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of an encoded InstanceState as the index holds."""

    vim_id: str
    instance_id: str
    vm_state: str
    task_state: str
    kind: str
    changed_at: str
    received_at: str = ""
    outage: Outage | None = None
    alarms: tuple[Alarm, ...] = ()
    payload: _Payload


_decode_row = msgspec.json.Decoder(IndexedRow).decode


class _VimIndex:
    """The instances of one VIM in one partition."""

    def __init__(self) -> None:
        self.latest: dict[str, IndexEntry] = {}
        self.counts: Counter[str] = Counter()
        """By vm_state."""
        self.on_host: dict[str, dict[str, None]] = {}
        """By host the ids of those that are on it, without the deleted ones; a dictionary takes
        less memory than a set."""
        self.out = 0
        """How many are unavailable since their host is down."""
        self._groups: defaultdict[StateGroup, SortedList[IndexEntry]] = defaultdict(SortedList)
        self._tenants: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """The ids of what ``_groups`` holds by tenant."""
        self._changed: dict[str, IndexEntry | None] = {}
        """By id what ``_groups`` still holds of instances that have changed since: None where it
        holds nothing. Of all others it holds what ``latest`` does."""

    def put(self, entry: IndexEntry, old: IndexEntry | None) -> None:
        """Note an instance's entry; ``old`` is the one in ``latest``."""
        self.latest[entry.instance_id] = entry
        self._changed.setdefault(entry.instance_id, old)
        if old is None or old.group is not entry.group or old.host is not entry.host:
            if old is not None:
                self._count(old, -1)
            self._count(entry, 1)

    def remove(self, instance_id: str) -> None:
        old = self.latest.pop(instance_id, None)
        if old is not None:
            self._changed.setdefault(instance_id, old)
            self._count(old, -1)

    def _count(self, entry: IndexEntry, by: int) -> None:
        self.counts[entry.group.vm_state] += by
        self.out += by * entry.group.is_out
        if entry.host and entry.group.vm_state != DELETED:
            ids = self.on_host.setdefault(entry.host, {})
            if by > 0:
                ids[entry.instance_id] = None
            else:
                ids.pop(entry.instance_id, None)
            if not ids:
                del self.on_host[entry.host]

    @property
    def behind(self) -> int:
        """How many instances are not in order yet."""
        return len(self._changed)

    def settle(self, most: int) -> None:
        """Put ``most`` of the instances that changed into order."""
        for instance_id in list(islice(self._changed, most)):
            old = self._changed.pop(instance_id)
            if old is not None:
                self._groups[old.group].remove(old)
            new = self.latest.get(instance_id)
            if new is not None:
                self._groups[new.group].add(new)
            self._note_tenant(instance_id, old, new)

    def _note_tenant(
        self, instance_id: str, old: IndexEntry | None, new: IndexEntry | None
    ) -> None:
        if old is not None and new is not None and old.tenant_id == new.tenant_id:
            return
        if new is not None:
            self._tenants[new.tenant_id][instance_id] = None
        if old is not None:
            ids = self._tenants[old.tenant_id]
            del ids[instance_id]
            if not ids:
                del self._tenants[old.tenant_id]

    def ids_of(self, tenants: Iterable[str]) -> list[str]:
        """Return the ids of some tenants' instances."""
        self.settle(self.behind)
        return [each for tenant in tenants for each in self._tenants.get(tenant, ())]

    def has_some_of(self, tenants: Iterable[str]) -> bool:
        """Return whether some tenants have any instances."""
        self.settle(self.behind)
        return any(tenant in self._tenants for tenant in tenants)

    def groups(self) -> dict[StateGroup, "SortedList[IndexEntry]"]:
        """Return all groups, each in the order of time."""
        self.settle(self.behind)
        return self._groups


class _GivenUp:
    """Entries that nobody needs any more, freed in steps: 100,000 at once take some 20 ms."""

    def __init__(self) -> None:
        self._entries: list[IndexEntry] = []
        self._freeing: asyncio.Task[None] | None = None

    def add(self, entries: Iterable[IndexEntry]) -> None:
        self._entries.extend(entries)
        if self._freeing is None or self._freeing.done():
            self._freeing = asyncio.create_task(self._free())

    async def _free(self) -> None:
        while self._entries:
            del self._entries[-CHUNK:]
            await asyncio.sleep(0)


class InstanceIndex:
    """The index of all partitions that this worker owns."""

    def __init__(self) -> None:
        self._partitions: dict[int, dict[str, _VimIndex]] = {}
        self._deleted: dict[int, list[tuple[str, bytes]]] = {}
        """Per partition a heap of (received_at, key) of rows that were written as deleted."""
        self._groups: dict[StateGroup, StateGroup] = {}
        """One object for all instances that are in the same state: a third of the memory."""
        self._scans = asyncio.Semaphore(SCANS)
        self._given_up = _GivenUp()

    def add_partition(self, partition: int, rows: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Begin to index a partition that becomes ours, with some of its rows."""
        self._partitions[partition] = {}
        self._deleted[partition] = []
        for _key, row in rows:
            self.put(partition, row)

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours; a running event loop frees what it held."""
        for vim in self._partitions.pop(partition, {}).values():
            self._given_up.add(vim.latest.values())
        self._deleted.pop(partition, None)

    def put(self, partition: int, row: bytes) -> IndexedRow:
        """Index an encoded InstanceState that was written; return what was read of it."""
        state = _decode_row(row)
        vims = self._partitions[partition]
        vim = vims.get(state.vim_id)
        if vim is None:
            vim = vims[state.vim_id] = _VimIndex()
        group = state_group(state.vm_state, state.task_state, state.kind, state.outage)
        old = vim.latest.get(state.instance_id)
        name = shortened(state.payload.display_name or "")
        entry = IndexEntry(
            state.changed_at,
            # The texts that we have already: the dictionaries hold on to the first id.
            state.instance_id if old is None else old.instance_id,
            self._groups.setdefault(group, group),
            sys.intern(shortened(state.payload.tenant_id or "")),
            sys.intern(shortened(state.payload.host or "")),
            name if old is None or old.display_name != name else old.display_name,
        )
        vim.put(entry, old)
        if state.vm_state == DELETED:
            key = instance_key(state.vim_id, state.instance_id)
            heappush(self._deleted[partition], (state.received_at, key))
        return state

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

    def held(self, partition: int, vim_id: str) -> int:
        """Return how many instances of a VIM have rows in a partition."""
        vim = self._partitions[partition].get(vim_id)
        return 0 if vim is None else len(vim.latest)

    def sizes(self) -> dict[str, list[int]]:
        """Return for each VIM how many of its instances have rows in each partition with some."""
        sizes: defaultdict[str, list[int]] = defaultdict(list)
        for vims in list(self._partitions.values()):
            for vim_id, vim in list(vims.items()):
                sizes[vim_id].append(len(vim.latest))
        return sizes

    def vim_ids(self) -> set[str]:
        """Return the VIMs that have rows here."""
        return {vim_id for vims in self._partitions.values() for vim_id in vims}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each VIM how many of its instances are in which vm_state."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for vims in self._partitions.values():
            for vim_id, vim in vims.items():
                counts[vim_id].update(vim.counts)
        return {vim_id: dict(+states) for vim_id, states in counts.items()}

    def on_hosts(self, vim_id: str) -> dict[str, int]:
        """Return for each host of a VIM how many instances it has, without the deleted ones."""
        counts: Counter[str] = Counter()
        for vims in self._partitions.values():
            if vim_id in vims:
                counts.update({host: len(ids) for host, ids in vims[vim_id].on_host.items()})
        return dict(counts)

    def ids_on(self, partition: int, vim_id: str, host: str) -> Collection[str]:
        """Return the ids of a host's instances in a partition of ours, without the deleted ones."""
        vim = self._partitions[partition].get(vim_id)
        return () if vim is None else vim.on_host.get(host, ())

    def unavailable(self) -> dict[str, int]:
        """Return for each VIM how many instances are unavailable since their host is down."""
        counts: Counter[str] = Counter()
        for vims in list(self._partitions.values()):
            for vim_id, vim in list(vims.items()):
                counts[vim_id] += vim.out
        return dict(counts)

    def partition_of(self, vim_id: str, instance_id: str) -> int | None:
        """Return which partition of ours has an instance's row; None: none has.

        Quicker than the hash of its key where a worker owns some ten partitions.
        """
        for partition, vims in self._partitions.items():
            vim = vims.get(vim_id)
            if vim is not None and instance_id in vim.latest:
                return partition
        return None

    def entry(self, partition: int, vim_id: str, instance_id: str) -> IndexEntry | None:
        """Return what is known of an instance in a partition of ours."""
        vim = self._partitions.get(partition, {}).get(vim_id)
        return None if vim is None else vim.latest.get(instance_id)

    def present(
        self, partition: int, vim_id: str, tenants: Collection[str] = ()
    ) -> list[IndexEntry]:
        """Return the instances of a VIM in a partition of ours that are not deleted.

        ``tenants``: of these alone; empty: of all.
        """
        vim = self._partitions.get(partition, {}).get(vim_id)
        wanted = frozenset(tenants)  # there may be thousands
        return [
            entry
            for entry in (() if vim is None else vim.latest.values())
            if entry.group.vm_state != DELETED and (not wanted or entry.tenant_id in wanted)
        ]

    async def counts_of(self, tenants: Collection[str]) -> dict[str, dict[str, int]]:
        """Return the same of some tenants' instances alone; VIMs without any are left out."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        async with self._scans:
            held = [each for vims in self._partitions.values() for each in vims.items()]
            for vim_id, vim in held:
                for entries in await _entries_of(vim, tenants, lambda _entry: True):
                    counts[vim_id].update(entry.group.vm_state for entry in entries)
        return {vim_id: dict(states) for vim_id, states in counts.items()}

    async def knows(self, vim_id: str, tenants: Collection[str] | None) -> bool:
        """Return whether a VIM has rows here, of some tenants where they are given."""
        held = [vims[vim_id] for vims in self._partitions.values() if vim_id in vims]
        if tenants is None:
            return bool(held)
        for vim in held:
            await _settled(vim)
        return any(vim.has_some_of(tenants) for vim in held)

    def __len__(self) -> int:
        return sum(len(vim.latest) for vims in self._partitions.values() for vim in vims.values())

    async def query(self, selection: Selection) -> Page:
        """Return how many instances match, and a page of them."""
        vims = [
            vims[selection.vim_id] for vims in self._partitions.values() if selection.vim_id in vims
        ]
        if selection.instance_id is not None:
            known = (vim.latest.get(selection.instance_id) for vim in vims)
            return await _scan(
                selection,
                [
                    [entry]
                    for entry in known
                    if entry and selection.matches(entry.group)
                    if entry.changed_at >= selection.since
                    if selection.tenants is None or entry.tenant_id in selection.tenants
                ],
            )
        if selection.tenants is not None:
            return await self._query_tenants(selection, vims, selection.tenants)
        for vim in vims:
            await _settled(vim)
        if selection.passes is None and selection.sort == "changed_at":
            return _in_order(selection, _matching(selection, vims))
        async with self._scans:
            return await _scan(
                selection,
                [list(group.islice(start)) for group, start in _matching(selection, vims)],
            )

    async def _query_tenants(
        self, selection: Selection, vims: Iterable[_VimIndex], tenants: Collection[str]
    ) -> Page:
        """Select among some tenants' instances, of which each is looked at, and no others."""
        matches = cache(selection.matches)  # there are few states

        def is_wanted(entry: IndexEntry) -> bool:
            return entry.changed_at >= selection.since and matches(entry.group)

        async with self._scans:
            held = [await _entries_of(vim, tenants, is_wanted) for vim in vims]
            return await _scan(selection, list(chain(*held)))


async def _settled(vim: _VimIndex) -> None:
    """Put what has changed into order, but for what one chunk takes."""
    while vim.behind > CHUNK:
        vim.settle(CHUNK)
        await asyncio.sleep(0)


async def _entries_of(
    vim: _VimIndex, tenants: Collection[str], is_wanted: Callable[[IndexEntry], bool]
) -> list[list[IndexEntry]]:
    """Return the instances of some tenants that are wanted, chunk by chunk."""
    await _settled(vim)
    ids = vim.ids_of(tenants)
    chunks = []
    for begin in range(0, len(ids), CHUNK):
        # Others have had their turn since: an instance may be gone, or another's.
        known = map(vim.latest.get, ids[begin : begin + CHUNK])
        chunks.append(
            [entry for entry in known if entry and entry.tenant_id in tenants and is_wanted(entry)]
        )
        await asyncio.sleep(0)
    return chunks


def _matching(
    selection: Selection, vims: Iterable[_VimIndex]
) -> list[tuple["SortedList[IndexEntry]", int]]:
    """Return the groups that match, each with the index of its first entry that does."""
    return [
        (ordered, ordered.bisect_left(_place(selection.since)) if selection.since else 0)
        for vim in vims
        for group, ordered in vim.groups().items()
        if ordered and selection.matches(group)
    ]


def _in_order(selection: Selection, groups: list[tuple["SortedList[IndexEntry]", int]]) -> Page:
    """Select by groups and time alone, in the order of time, which the groups are kept in."""
    following = merge(
        *(_following(selection, ordered, start) for ordered, start in groups),
        reverse=selection.descending,
    )
    found = [
        ((entry.changed_at, entry.instance_id), entry)
        for entry in islice(following, selection.limit + 1)
    ]
    total = sum(len(ordered) - start for ordered, start in groups)
    return Page(total, found[: selection.limit], len(found) > selection.limit)


def _following(
    selection: Selection, ordered: "SortedList[IndexEntry]", start: int
) -> Iterator[IndexEntry]:
    """Iterate over a group from ``start``, in the order asked for, from just behind the marker."""
    if selection.after is None:
        return ordered.islice(start, reverse=selection.descending)
    value, instance_id = selection.after
    if selection.descending:
        end = ordered.bisect_left(_place(value, instance_id))
        return ordered.islice(start, max(start, end), reverse=True)
    # The least string that is greater than another is the same with a zero behind it.
    begin = ordered.bisect_left(_place(value, instance_id + "\0"))
    return ordered.islice(max(start, begin))


async def _scan(selection: Selection, groups: list[list[IndexEntry]]) -> Page:
    """Select by looking at every entry of some lists."""
    key, passes, after = SORT_KEYS[selection.sort], selection.passes, selection.after
    first = nlargest if selection.descending else nsmallest
    total = 0
    found: list[tuple[Position, IndexEntry]] = []
    for entries in groups:
        for begin in range(0, len(entries), CHUNK):
            chunk = entries[begin : begin + CHUNK]
            if passes is not None:
                chunk = list(filter(passes, chunk))
            total += len(chunk)
            placed = [((key(entry), entry.instance_id), entry) for entry in chunk]
            if after is not None:
                placed = [
                    one
                    for one in placed
                    if (one[0] < after if selection.descending else one[0] > after)
                ]
            found = first(selection.limit + 1, chain(found, placed))
            await asyncio.sleep(0)
    return Page(total, found[: selection.limit], len(found) > selection.limit)
