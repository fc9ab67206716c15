"""Which instances are in which state, kept up to date batch by batch."""

import asyncio
import gc
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.worker import instance_index
from streams.worker.instance_index import SORT_KEYS, InstanceIndex, Selection, SortField
from vimfed.model.records import InstanceState, encode_row

VIM = "Owner_Region"


def row(
    instance_id: str,
    vm_state: str,
    changed_at: str,
    *,
    tenant: str = "t",
    host: str = "",
    name: str = "",
    received_at: str = "",
) -> bytes:
    payload = msgspec.Raw(
        msgspec.json.encode({"tenant_id": tenant, "host": host, "display_name": name})
    )
    return encode_row(
        InstanceState(
            vim_id=VIM,
            instance_id=instance_id,
            vm_state=vm_state,
            task_state="",
            kind="STATE",
            phase="end",
            changed_at=changed_at,
            received_at=received_at,
            payload=payload,
        )
    )


async def found(index: InstanceIndex, vm_state: str, **options: Any) -> tuple[int, list[str]]:
    selection = Selection(VIM, lambda group: group.vm_state == vm_state, **options)
    page = await index.query(selection)
    return page.total, [entry.instance_id for _position, entry in page.found]


@pytest.fixture
def index() -> InstanceIndex:
    index = InstanceIndex()
    index.add_partition(0, [])
    index.add_partition(1, [])
    return index


async def test_the_newest_come_first_over_all_partitions(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    index.put(1, row("b", "active", "2026-01-01T00:00:03"))
    index.put(0, row("c", "active", "2026-01-01T00:00:02"))
    assert await found(index, "active") == (3, ["b", "c", "a"])
    assert await found(index, "active", limit=1) == (3, ["b"])
    assert await found(index, "active", after=("2026-01-01T00:00:03", "b")) == (3, ["c", "a"])
    assert await found(index, "active", descending=False) == (3, ["a", "c", "b"])
    assert await found(index, "active", since="2026-01-01T00:00:02") == (2, ["b", "c"])


async def test_an_instance_is_found_in_its_newest_state_alone(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    assert await found(index, "active") == (1, ["a"])
    index.put(0, row("a", "paused", "2026-01-01T00:00:02"))
    assert await found(index, "active") == (0, [])
    assert await found(index, "paused") == (1, ["a"])


async def test_a_tenant_sees_its_own(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01", tenant="x"))
    index.put(0, row("b", "active", "2026-01-01T00:00:02", tenant="y"))
    index.put(1, row("c", "paused", "2026-01-01T00:00:03", tenant="x"))
    index.put(1, row("d", "active", "2026-01-01T00:00:04", tenant=""))
    assert await found(index, "active", tenants=("x",)) == (1, ["a"])
    assert await found(index, "active", tenants=("x", "y")) == (2, ["b", "a"])
    assert await found(index, "active", tenants=("z",)) == (0, [])
    assert await found(index, "active", tenants=()) == (0, [])
    assert await found(index, "active", tenants=("x",), instance_id="a") == (1, ["a"])
    assert await found(index, "active", tenants=("x",), instance_id="b") == (0, [])
    assert await index.counts_of(("x",)) == {VIM: {"active": 1, "paused": 1}}
    assert await index.counts_of(("z",)) == {}


async def test_what_has_changed_tenant_or_is_gone_is_no_longer_a_tenants(
    index: InstanceIndex,
) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01", tenant="x"))
    assert await index.knows(VIM, ("x",))
    index.put(0, row("a", "active", "2026-01-01T00:00:02", tenant="y"))
    assert (await index.knows(VIM, ("x",)), await index.knows(VIM, ("x", "y"))) == (False, True)
    assert await found(index, "active", tenants=("x",)) == (0, [])
    index.put(0, row("b", "active", "2026-01-01T00:00:02", tenant="z"))
    index.remove(0, VIM, "a")
    assert (await index.knows(VIM, ("y",)), await index.knows(VIM, None)) == (False, True)
    assert await index.counts_of(("y", "z")) == {VIM: {"active": 1}}
    assert not await index.knows("Owner_Elsewhere", None)


async def test_of_many_instances_those_of_a_tenant_alone_are_looked_at(
    index: InstanceIndex,
) -> None:
    for number in range(3000):
        tenant = f"t{number % 100}"
        index.put(number % 2, row(f"{number:04}", "active", f"{number:04}", tenant=tenant))
    looked_at = list[str]()

    def passes(entry: instance_index.IndexEntry) -> bool:
        looked_at.append(entry.tenant_id)
        return True

    total, first = await found(index, "active", tenants=("t7",), passes=passes, limit=2)
    assert (total, first, looked_at) == (30, ["2907", "2807"], ["t7"] * 30)


async def test_a_partition_that_is_gone_is_not_asked(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    index.put(1, row("b", "active", "2026-01-01T00:00:01"))
    index.drop_partition(0)
    assert await found(index, "active") == (1, ["b"])


async def test_a_removed_instance_and_then_its_vim_are_forgotten(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    assert index.vim_ids() == {VIM}
    index.remove(0, VIM, "a")
    index.remove(0, VIM, "never-there")
    assert await found(index, "active") == (0, [])
    assert (index.vim_ids(), len(index)) == (set(), 0)


def test_deleted_rows_are_given_out_once_when_they_are_old_enough(index: InstanceIndex) -> None:
    index.put(0, row("a", "deleted", "x", received_at="2026-01-01T00:00:01"))
    index.put(0, row("b", "deleted", "x", received_at="2026-01-01T00:00:05"))
    keys = list(index.pop_deleted(0, "2026-01-01T00:00:03"))
    assert keys == [b"Owner_Region/a"]
    assert list(index.pop_deleted(0, "2026-01-01T00:00:03")) == []


async def test_the_states_are_counted_as_they_are_now(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "1"))
    index.put(1, row("b", "active", "1"))
    index.put(1, row("b", "paused", "2"))
    index.put(1, row("c", "paused", "2"))
    index.remove(1, VIM, "c")
    assert index.counts() == {VIM: {"active": 1, "paused": 1}}
    index.drop_partition(0)
    assert index.counts() == {VIM: {"paused": 1}}


async def test_a_long_search_lets_others_have_their_turn(index: InstanceIndex) -> None:
    for number in range(5 * instance_index.CHUNK):
        index.put(0, row(f"{number:05}", "active", "1", name="x"))
    turns = 0
    searching = asyncio.ensure_future(found(index, "active", sort="display_name", limit=2))
    while not searching.done():
        turns += 1
        await asyncio.sleep(0)
    assert await searching == (5 * instance_index.CHUNK, ["04999", "04998"])
    assert turns >= 9  # four to put most of them in order, five to look at them


async def test_what_is_written_while_others_are_put_into_order_is_not_lost(
    index: InstanceIndex,
) -> None:
    count = 5 * instance_index.CHUNK
    for number in range(count):
        index.put(0, row(f"{number:05}", "active", "1"))
    searching = asyncio.ensure_future(found(index, "active", limit=2))
    await asyncio.sleep(0)
    assert not searching.done()
    index.put(0, row("00000", "paused", "2"))  # has been put into order, or will be
    index.put(0, row(f"{count - 1:05}", "paused", "2"))
    index.put(0, row("new", "active", "2"))
    index.remove(0, VIM, "00001")
    assert await searching == (count - 2, ["new", f"{count - 2:05}"])
    assert await found(index, "paused") == (2, [f"{count - 1:05}", "00000"])


async def test_what_a_partition_held_is_freed_in_steps(index: InstanceIndex) -> None:
    for number in range(5 * instance_index.CHUNK):
        index.put(0, row(f"{number:05}", "active", "1"))
    index.drop_partition(0)
    assert len(index) == 0
    turns = 0
    while asyncio.all_tasks() - {asyncio.current_task()}:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 5


def test_the_garbage_collector_passes_over_instances(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "1", host="h", name="n"))
    assert not gc.is_tracked(index.entry(0, VIM, "a"))


class Written(NamedTuple):
    instance_id: str
    state: str
    second: int
    host: str
    name: str

    def position(self, sort: SortField) -> tuple[str, str]:
        values = {
            "changed_at": f"2026-01-01T00:00:0{self.second}",
            "display_name": self.name.casefold(),
            "host": self.host,
            "instance_id": self.instance_id,
            "kind": "STATE",
            "state": self.state,
            "tenant_id": "t",
        }
        return values[sort], self.instance_id


async def all_pages(index: InstanceIndex, selection: Selection) -> tuple[set[int], list[str]]:
    """Return the totals that were told, and all instances in the order of the pages."""
    totals, ids = set(), []
    while True:
        page = await index.query(selection)
        totals.add(page.total)
        ids += [entry.instance_id for _position, entry in page.found]
        if not page.more:
            return totals, ids
        selection = selection._replace(after=page.found[-1][0])


@settings(deadline=None)
@given(
    writes=st.lists(
        st.builds(
            Written,
            st.sampled_from("abcdefgh"),
            st.sampled_from(["active", "paused", ""]),
            st.integers(0, 9),
            st.sampled_from(["h1", "h2"]),
            st.sampled_from(["Web", "web", "db"]),
        )
    ),
    asked=st.sets(st.integers(0, 20)),
    sort=st.sampled_from(sorted(SORT_KEYS)),
    descending=st.booleans(),
    since=st.integers(0, 9),
    host=st.sampled_from([None, "h1"]),
    limit=st.integers(1, 4),
)
async def test_page_by_page_it_says_what_a_scan_of_the_rows_says(
    writes: list[Written],
    asked: set[int],
    sort: SortField,
    descending: bool,
    since: int,
    host: str | None,
    limit: int,
) -> None:
    index = InstanceIndex()
    index.add_partition(0, [])
    index.add_partition(1, [])
    rows: dict[str, Written] = {}
    for number, one in enumerate(writes):
        partition = ord(one.instance_id) % 2
        if one.state:
            rows[one.instance_id] = one
            at = one.position("changed_at")[0]
            index.put(partition, row(one.instance_id, one.state, at, host=one.host, name=one.name))
        else:
            rows.pop(one.instance_id, None)
            index.remove(partition, VIM, one.instance_id)
        if number in asked:
            await found(index, "active")
    for state in ("active", "paused"):
        expected = [
            one
            for one in rows.values()
            if one.state == state and one.second >= since and host in (None, one.host)
        ]
        expected.sort(key=lambda one: one.position(sort), reverse=descending)
        selection = Selection(
            VIM,
            lambda group, state=state: group.vm_state == state,  # type: ignore[misc]
            since=f"2026-01-01T00:00:0{since}",
            passes=None if host is None else lambda entry: entry.host == host,
            sort=sort,
            descending=descending,
            limit=limit,
        )
        ids = [one.instance_id for one in expected]
        assert await all_pages(index, selection) == ({len(ids)}, ids)
