"""Which instances are in which state, kept up to date batch by batch."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.instance_index import InstanceIndex
from streams.transition import encode_row
from vimfed.records import InstanceState

VIM = "Owner_Region"


def row(
    instance_id: str, vm_state: str, changed_at: str, *, tenant: str = "t", received_at: str = ""
) -> bytes:
    payload = msgspec.Raw(msgspec.json.encode({"tenant_id": tenant}))
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


def found(index: InstanceIndex, vm_state: str, **options: object) -> tuple[int, list[str]]:
    arguments = {"tenant_id": None, "before": None, "limit": 100, **options}
    page = index.query(VIM, lambda group: group.vm_state == vm_state, **arguments)  # type: ignore[arg-type]
    return page.total, [entry.instance_id for entry in page.newest]


@pytest.fixture
def index() -> InstanceIndex:
    index = InstanceIndex()
    index.add_partition(0, [])
    index.add_partition(1, [])
    return index


def test_the_newest_come_first_over_all_partitions(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    index.put(1, row("b", "active", "2026-01-01T00:00:03"))
    index.put(0, row("c", "active", "2026-01-01T00:00:02"))
    assert found(index, "active") == (3, ["b", "c", "a"])
    assert found(index, "active", limit=1) == (3, ["b"])
    assert found(index, "active", before=("2026-01-01T00:00:03", "b")) == (3, ["c", "a"])


def test_an_instance_is_found_in_its_newest_state_alone(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    assert found(index, "active") == (1, ["a"])
    index.put(0, row("a", "paused", "2026-01-01T00:00:02"))
    assert found(index, "active") == (0, [])
    assert found(index, "paused") == (1, ["a"])


def test_a_tenant_sees_its_own(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01", tenant="x"))
    index.put(0, row("b", "active", "2026-01-01T00:00:02", tenant="y"))
    assert found(index, "active", tenant_id="x") == (1, ["a"])


def test_a_partition_that_is_gone_is_not_asked(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    index.put(1, row("b", "active", "2026-01-01T00:00:01"))
    index.drop_partition(0)
    assert found(index, "active") == (1, ["b"])
    assert index.partitions() == {1}


def test_a_removed_instance_and_then_its_vim_are_forgotten(index: InstanceIndex) -> None:
    index.put(0, row("a", "active", "2026-01-01T00:00:01"))
    assert index.vim_ids() == {VIM}
    index.remove(0, VIM, "a")
    index.remove(0, VIM, "never-there")
    assert found(index, "active") == (0, [])
    assert (index.vim_ids(), len(index)) == (set(), 0)


def test_deleted_rows_are_given_out_once_when_they_are_old_enough(index: InstanceIndex) -> None:
    index.put(0, row("a", "deleted", "x", received_at="2026-01-01T00:00:01"))
    index.put(0, row("b", "deleted", "x", received_at="2026-01-01T00:00:05"))
    keys = list(index.pop_deleted(0, "2026-01-01T00:00:03"))
    assert keys == [b"Owner_Region/a"]
    assert list(index.pop_deleted(0, "2026-01-01T00:00:03")) == []


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.sampled_from(["active", "paused", ""]),
            st.integers(0, 9),
            st.booleans(),
        )
    )
)
def test_it_says_what_a_scan_of_the_rows_says(
    writes: list[tuple[str, str, int, bool]],
) -> None:
    index = InstanceIndex()
    index.add_partition(0, [])
    rows: dict[str, tuple[str, str]] = {}
    for instance_id, state, second, asked in writes:
        changed_at = f"2026-01-01T00:00:0{second}"
        if state:
            rows[instance_id] = (state, changed_at)
            index.put(0, row(instance_id, state, changed_at))
        else:
            rows.pop(instance_id, None)
            index.remove(0, VIM, instance_id)
        if asked:
            found(index, "active")
    for state in ("active", "paused"):
        expected = sorted(
            ((at, name) for name, (is_in, at) in rows.items() if is_in == state), reverse=True
        )
        assert found(index, state) == (len(expected), [name for _at, name in expected])
