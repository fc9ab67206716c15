"""Rows and changelog offset, on disk and in memory, all or nothing."""

from pathlib import Path

import pytest

from streams.foreign_data import set_foreign_data_aside
from streams.partition_stores import PartitionStores
from vimfed.settings import KafkaSettings


@pytest.fixture(params=["rocksdb", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "data" if request.param == "rocksdb" else None


def test_rows_are_read_as_they_were_written(folder: Path | None) -> None:
    store = PartitionStores(folder).get(3)
    assert (store.get(b"a"), store.changelog_offset, list(store.items())) == (None, None, [])
    store.write({b"b": b"2", b"a": b"1"}, 7)
    assert (store.get(b"a"), store.changelog_offset) == (b"1", 7)
    assert list(store.items()) == [(b"a", b"1"), (b"b", b"2")]
    store.write({b"a": None}, 8)
    assert (store.get(b"a"), list(store.items())) == (None, [(b"b", b"2")])


def test_partitions_do_not_see_each_other(folder: Path | None) -> None:
    stores = PartitionStores(folder)
    stores.get(0).write({b"a": b"0"}, 1)
    assert stores.get(1).get(b"a") is None


def test_what_is_on_disk_is_there_again(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    stores.get(0).write({b"a": b"1"}, 41)
    stores.close(0)
    assert (stores.get(0).get(b"a"), stores.get(0).changelog_offset) == (b"1", 41)
    stores.remove_all()
    assert stores.get(0).changelog_offset is None


def test_rows_in_memory_have_no_folder() -> None:
    with pytest.raises(ValueError, match="no folder"):
        PartitionStores(None).path(0)


async def test_a_damaged_database_is_moved_aside(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    stores.get(0).write({b"a": b"1"}, 41)
    stores.close(0)
    (stores.path(0) / "CURRENT").write_bytes(b"")
    (aside,) = await set_foreign_data_aside(KafkaSettings(partitions=1), "changelog", tmp_path)
    assert aside.name.startswith("instances-0.db.foreign-")
    assert stores.get(0).changelog_offset is None


async def test_a_database_that_another_process_has_open_stays_where_it_is(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    stores.get(0).write({b"a": b"1"}, 41)
    with pytest.raises(Exception, match="lock"):
        await set_foreign_data_aside(KafkaSettings(partitions=1), "changelog", tmp_path)
    assert stores.path(0).exists()
