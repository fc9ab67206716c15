"""Rows and changelog offset, on disk and in memory, all or nothing."""

import os
import shutil
import time
from pathlib import Path

import pytest

from streams.engine.foreign_data import set_foreign_data_aside
from streams.engine.partition_stores import PartitionStores
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


async def look_at(folder: Path) -> list[Path]:
    """Look at the databases as a worker does at its start; return what was moved aside."""
    return await set_foreign_data_aside(
        KafkaSettings(partitions=1), "changelog", PartitionStores(folder)
    )


async def test_a_damaged_database_is_moved_aside(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    stores.get(0).write({b"a": b"1"}, 41)
    stores.close(0)
    (stores.path(0) / "CURRENT").write_bytes(b"")
    (aside,) = await look_at(tmp_path)
    assert aside.name.startswith("instances-0.rocksdb.foreign-")
    assert stores.get(0).changelog_offset is None


async def test_a_database_that_another_process_has_open_stays_where_it_is(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    stores.get(0).write({b"a": b"1"}, 41)
    with pytest.raises(Exception, match="lock"):
        await look_at(tmp_path)
    assert stores.path(0).exists()


HOUR = 3600.0


def followed_for(stores: PartitionStores, partition: int, until: float) -> None:
    """Write a row, and leave the database as one that followed its changelog until then."""
    store = stores.get(partition)
    store.followed.until = until
    store.write({b"a": b"1"}, 41)
    stores.close(partition)


@pytest.mark.parametrize(("age", "outdated"), [(2.9, False), (3.1, True), (-2.0, True)])
async def test_a_database_that_may_have_missed_tombstones_is_not_gone_on_from(
    tmp_path: Path, age: float, outdated: bool
) -> None:
    stores = PartitionStores(tmp_path)
    stores.tombstones_kept = 6 * HOUR
    followed_for(stores, 0, time.time() - age * HOUR)
    assert stores.is_outdated(0) is outdated
    stores.close(0)
    again = PartitionStores(tmp_path)
    again.tombstones_kept = 6 * HOUR
    assert again.is_outdated(0) is outdated


def test_where_nobody_knows_how_long_tombstones_are_kept_no_database_is_gone_on_from(
    tmp_path: Path,
) -> None:
    stores = PartitionStores(tmp_path)
    followed_for(stores, 0, time.time() - 1)
    stores.tombstones_kept = 0.0
    assert stores.is_outdated(0)
    assert not stores.has_fallen_back(0)  # or no partition would ever be read to its end


def test_databases_of_others_go_away_by_themselves(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    stores.tombstones_kept = 6 * HOUR
    followed_for(stores, 0, time.time() - 4 * HOUR)
    followed_for(stores, 1, time.time() - 1 * HOUR)
    followed_for(stores, 2, time.time() - 4 * HOUR)
    stores.get(2)  # held
    (tmp_path / "instances-7.db").mkdir()  # of version 0.1.0
    kept, old = (tmp_path / f"instances-{name}.rocksdb.foreign-x" for name in "89")
    for aside, days in ((kept, 6), (old, 8)):
        aside.mkdir()
        os.utime(aside, (0, time.time() - days * 24 * HOUR))
    gone = {stores.path(0), tmp_path / "instances-7.db", old}
    assert set(stores.remove_useless()) == gone
    assert {path.name for path in tmp_path.iterdir()} == {
        stores.path(1).name,
        stores.path(2).name,
        kept.name,
    }
    assert stores.remove_useless() == []
    stores.close_all()


def test_what_is_overwritten_is_known_after_a_restart_until_it_is_mended(
    folder: Path | None,
) -> None:
    stores = PartitionStores(folder)
    stores.get(0).write({b"b": b"1"}, 7, overwritten=[b"a", b"b"])
    if folder is not None:
        stores.close(0)
    assert stores.get(0).overwritten == {b"a", b"b"}
    assert list(stores.get(0).items()) == [(b"b", b"1")]
    stores.get(0).write({b"a": b"2"}, 8)
    if folder is not None:
        stores.close(0)
    assert stores.get(0).overwritten == {b"b"}


def test_a_partition_that_gets_no_row_notes_on_disk_that_it_follows(tmp_path: Path) -> None:
    stores = PartitionStores(tmp_path)
    followed_for(stores, 0, time.time() - HOUR)
    stores.get(0).followed.until = now = float(int(time.time()))
    stores.save()
    copy = PartitionStores(shutil.copytree(tmp_path, tmp_path.with_name("copy")))  # as after a kill
    assert copy.get(0).followed.until == now
    stores.close_all()
