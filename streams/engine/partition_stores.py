"""Where the rows of one partition lie: in a RocksDB database of its own, or in memory.

Keys and rows are bytes. A partition also remembers the changelog offset up to which it holds the
changelog, written in one step with the rows: it is never ahead of them, nor they of it. It also
remembers up to which time it has followed the changelog: compaction removes the tombstone of a
deleted row after a while, and a database that has missed one would show the row for ever.
"""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Protocol, cast

import rocksdict

from streams.engine.followed import Followed
from vimfed.errors import OperatorError

# No instance key begins with a zero byte.
_OFFSET_KEY = b"\0changelog-offset"
_FOLLOWED_KEY = b"\0followed-until"
_OVERWRITTEN_KEY = b"\0overwritten\0"
"""Followed by the key of a row."""
_FIRST_ROW_KEY = b"\1"

HORIZON = 0.5
"""Share of the time for which tombstones stay on the changelog: a database that has not followed it
for longer is not used. The rest is for reading what it has missed."""
KEPT_BY_DEFAULT = 24 * 3600.0
"""Seconds for which Kafka keeps tombstones where nobody says otherwise."""
CLOCK_SLACK = 60.0
"""Seconds by which a database's time may lie ahead of the clock, which may have been set back."""
MAX_SAVED_EVERY = 30.0
"""Seconds after which a partition that follows its changelog without news notes so on disk."""
ASIDE = ".foreign-"
"""Behind the name of a database that was moved aside."""
ASIDE_KEPT = 7 * 24 * 3600.0
"""Seconds for which a database that was moved aside is kept."""


class StoreError(OperatorError):
    """A database cannot be opened or written; the text names its folder."""


class PartitionStore(Protocol):
    """The rows of one partition."""

    saved: float
    """Up to when it followed the changelog by what lies on disk, in seconds since 1970."""
    followed: Followed
    """Up to when it holds what was written to the changelog."""
    overwritten: set[bytes]
    """Keys whose newest changelog record is an old row; the owner must write them again."""

    @property
    def changelog_offset(self) -> int | None:
        """Offset up to which the changelog is in here; None where nothing of it is."""

    @property
    def next_offset(self) -> int:
        """Offset of the changelog that is not in here yet."""

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key``, or None."""

    def write(
        self,
        rows: Mapping[bytes, bytes | None],
        changelog_offset: int,
        overwritten: Collection[bytes] = (),
    ) -> None:
        """Write rows (None deletes) and the changelog offset, all or nothing.

        The keys of ``rows`` are not overwritten any more, those of ``overwritten`` are.
        """

    def save(self) -> None:
        """Note on disk up to when the changelog was followed."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in the order of their keys."""

    def close(self) -> None:
        """Let go of what is held; the store cannot be used afterwards."""


class _Place:
    """How far in its changelog a partition is."""

    changelog_offset: int | None = None

    @property
    def next_offset(self) -> int:
        """Offset of the changelog that is not in here yet."""
        return 0 if self.changelog_offset is None else self.changelog_offset + 1


class MemoryPartition(_Place):
    """Rows in a dict: gone with the process, rebuilt from the changelog."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self.saved = math.inf
        self.followed = Followed(time.time())
        self.overwritten: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key``, or None."""
        return self._rows.get(key)

    def write(
        self,
        rows: Mapping[bytes, bytes | None],
        changelog_offset: int,
        overwritten: Collection[bytes] = (),
    ) -> None:
        """Write rows (None deletes) and the changelog offset."""
        for key, row in rows.items():
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row
        self.changelog_offset = changelog_offset
        self.overwritten = self.overwritten.difference(rows).union(overwritten)

    def save(self) -> None:
        """Note nothing: there is no disk."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in the order of their keys."""
        return iter(sorted(self._rows.items()))

    def close(self) -> None:
        """Forget everything."""
        self._rows.clear()


class RocksPartition(_Place):
    """Rows in a RocksDB database of its own."""

    def __init__(self, path: Path, options: rocksdict.Options) -> None:
        self._path = path
        with self._needing("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = rocksdict.Rdict(str(path), options)
        stored = self._db.get(_OFFSET_KEY)
        self.changelog_offset = None if stored is None else int(stored)
        until = self._db.get(_FOLLOWED_KEY)
        if until is not None:
            self.saved = float(until)
        else:  # new, or so damaged that the time is gone
            self.saved = time.time() if next(self.items(), None) is None else -math.inf
        self.followed = Followed(self.saved)
        self.overwritten: set[bytes] = {
            key.removeprefix(_OVERWRITTEN_KEY)
            for key, _nothing in takewhile(
                lambda each: each[0].startswith(_OVERWRITTEN_KEY), self._from(_OVERWRITTEN_KEY)
            )
        }

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key``, or None."""
        row: bytes | None = self._db.get(key)
        return row

    def write(
        self,
        rows: Mapping[bytes, bytes | None],
        changelog_offset: int,
        overwritten: Collection[bytes] = (),
    ) -> None:
        """Write rows (None deletes) and the changelog offset in one WriteBatch."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, row in rows.items():
            if row is None:
                batch.delete(key)
            else:
                batch.put(key, row)
        mended = self.overwritten.intersection(rows).difference(overwritten)
        for key in mended:
            batch.delete(_OVERWRITTEN_KEY + key)
        for key in overwritten:
            batch.put(_OVERWRITTEN_KEY + key, b"")
        batch.put(_OFFSET_KEY, b"%d" % changelog_offset)
        batch.put(_FOLLOWED_KEY, b"%f" % self.followed.until)
        with self._needing("write"):
            self._db.write(batch)
        self.changelog_offset = changelog_offset
        self.saved = self.followed.until
        self.overwritten = self.overwritten.difference(mended).union(overwritten)

    def save(self) -> None:
        """Note on disk up to when the changelog was followed."""
        if self.followed.until > self.saved:
            with self._needing("write"):
                self._db[_FOLLOWED_KEY] = b"%f" % self.followed.until
            self.saved = self.followed.until

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in the order of their keys."""
        return self._from(_FIRST_ROW_KEY)

    def _from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        # In raw mode keys and values are bytes.
        return cast(Iterator[tuple[bytes, bytes]], self._db.items(from_key=key))

    def close(self) -> None:
        """Close the database and release its lock."""
        with contextlib.suppress(StoreError):  # it is read from where it was saved last
            self.save()
        self._db.close()

    @contextlib.contextmanager
    def _needing(self, what: str) -> Iterator[None]:
        """Make an operator's error of what RocksDB says: it has no exceptions of its own."""
        try:
            yield
        except Exception as error:
            raise StoreError(
                f"cannot {what} {self._path}: {error}: is the disk under state_dir full or away?"
            ) from error


def _is_over(until: float, limit: float) -> bool:
    """Return whether a time is more than ``limit`` seconds ago, or lies ahead."""
    return not -CLOCK_SLACK <= time.time() - until <= limit


class PartitionStores:
    """Opens, keeps and closes the stores of the partitions that this worker holds."""

    def __init__(self, folder: Path | None, table: str = "instances") -> None:
        """``table`` is the name of the table; those of several lie in one folder."""
        self._folder = folder
        """None: rows are kept in memory."""
        self._table = table
        self.tombstones_kept = math.inf
        """Seconds for which the changelog keeps the tombstone of a deleted row, at least; 0: nobody
        knows."""
        self._open: dict[int, PartitionStore] = {}
        self._released: dict[int, float] = {}
        """Up to when the databases on disk that are not open have followed the changelog."""
        # One cache for all partitions bounds the memory, however many there are.
        self._cache = rocksdict.Cache(64 * 1024 * 1024)

    def get(self, partition: int) -> PartitionStore:
        """Return the store of ``partition``, opened where it is not yet."""
        store = self._open.get(partition)
        if store is None:
            store = self._open[partition] = (
                MemoryPartition()
                if self._folder is None
                else RocksPartition(self.path(partition), self._rocks_options())
            )
            self._released.pop(partition, None)
        return store

    def open_partitions(self) -> list[int]:
        """Return the partitions whose stores are open."""
        return list(self._open)

    def is_open(self, partition: int) -> bool:
        """Return whether the store of ``partition`` is open."""
        return partition in self._open

    def path(self, partition: int) -> Path:
        """Return the folder of a partition's database."""
        if self._folder is None:
            raise ValueError("rows in memory have no folder")
        return self._folder / f"{self._table}-{partition}.rocksdb"

    def close(self, partition: int) -> None:
        """Close a partition's store, if it is open."""
        store = self._open.pop(partition, None)
        if store is not None:
            store.close()
            self._released[partition] = store.followed.until

    def is_outdated(self, partition: int) -> bool:
        """Return whether a partition's store has not followed for too long to be gone on from.

        It may have missed tombstones that will be gone before it has read them.
        """
        return _is_over(self.get(partition).followed.until, HORIZON * self.tombstones_kept)

    def has_fallen_back(self, partition: int) -> bool:
        """Return whether a store that is being read may have missed tombstones that are gone."""
        return _is_over(self.get(partition).followed.until, self.tombstones_kept or KEPT_BY_DEFAULT)

    def remove(self, partition: int) -> None:
        """Close a partition's store, and delete what lies on disk."""
        self.close(partition)
        self._released.pop(partition, None)
        if self._folder is not None and self.path(partition).exists():
            shutil.rmtree(self.path(partition))

    def save(self) -> None:
        """Note on disk up to when the open stores have followed the changelog."""
        for store in self._open.values():
            if time.time() - store.saved > min(MAX_SAVED_EVERY, self.tombstones_kept / 20):
                store.save()

    def remove_useless(self) -> list[Path]:
        """Delete what nobody will use again, and return where it lay.

        That is: outdated databases of partitions that are not held, databases that were moved
        aside long ago, and those of version 0.1.0, which do not say up to when they follow.
        """
        if self._folder is None:
            return []
        useless = [
            self.path(partition)
            for partition, until in self._released.items()
            if _is_over(until, HORIZON * self.tombstones_kept)
        ]
        useless += self._folder.glob(f"{self._table}-*.db")
        useless += (
            aside
            for aside in self._folder.glob(f"{self._table}-*{ASIDE}*")
            if time.time() - aside.stat().st_mtime > ASIDE_KEPT
        )
        for path in useless:
            shutil.rmtree(path)
        self._released = {
            partition: until
            for partition, until in self._released.items()
            if self.path(partition) not in useless
        }
        return useless

    def move_aside(self, partition: int) -> Path:
        """Move a partition's closed database aside, and return where it lies now."""
        self.close(partition)
        self._released.pop(partition, None)
        path = self.path(partition)
        aside = path.with_name(f"{path.name}{ASIDE}{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        path.rename(aside)
        os.utime(aside)  # from now on it is kept for a while
        return aside

    def close_all(self) -> None:
        """Close every store."""
        for partition in list(self._open):
            self.close(partition)

    def remove_all(self) -> None:
        """Close every store and delete what lies on disk."""
        self.close_all()
        if self._folder is not None:
            for path in self._folder.glob(f"{self._table}-*"):
                shutil.rmtree(path, ignore_errors=True)

    def _rocks_options(self) -> rocksdict.Options:
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, block_based=False)
        # Not in the cache: a million rows' index blocks displace each other there, and a get takes
        # 137 µs instead of 9. Outside it they take about 3 % of what lies on disk.
        table.set_cache_index_and_filter_blocks(False)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        options.set_write_buffer_size(8 * 1024 * 1024)
        options.set_max_write_buffer_number(2)
        options.set_max_open_files(64)
        options.set_keep_log_file_num(2)
        return options
