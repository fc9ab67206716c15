"""Where the rows of one partition lie: in a RocksDB database of its own, or in memory.

Keys and rows are bytes. A partition also remembers the changelog offset up to which it holds the
changelog, written in one step with the rows: it is never ahead of them, nor they of it.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import rocksdict

_OFFSET_KEY = b"\0changelog-offset"
"""No instance key begins with a zero byte."""


class PartitionStore(Protocol):
    """The rows of one partition."""

    @property
    def changelog_offset(self) -> int | None:
        """Offset of the last changelog record that is in here; None where nothing is."""

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key``, or None."""

    def write(self, rows: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """Write rows (None deletes) and the changelog offset, all or nothing."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in the order of their keys."""

    def close(self) -> None:
        """Let go of what is held; the store cannot be used afterwards."""


class MemoryPartition:
    """Rows in a dict: gone with the process, rebuilt from the changelog."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self.changelog_offset: int | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key``, or None."""
        return self._rows.get(key)

    def write(self, rows: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """Write rows (None deletes) and the changelog offset."""
        for key, row in rows.items():
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row
        self.changelog_offset = changelog_offset

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in the order of their keys."""
        return iter(sorted(self._rows.items()))

    def close(self) -> None:
        """Forget everything."""
        self._rows.clear()


class RocksPartition:
    """Rows in a RocksDB database of its own."""

    def __init__(self, path: Path, options: rocksdict.Options) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = rocksdict.Rdict(str(path), options)
        stored = self._db.get(_OFFSET_KEY)
        self.changelog_offset: int | None = None if stored is None else int(stored)

    def get(self, key: bytes) -> bytes | None:
        """Return the row of ``key``, or None."""
        row: bytes | None = self._db.get(key)
        return row

    def write(self, rows: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """Write rows (None deletes) and the changelog offset in one WriteBatch."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, row in rows.items():
            if row is None:
                batch.delete(key)
            else:
                batch.put(key, row)
        batch.put(_OFFSET_KEY, b"%d" % changelog_offset)
        self._db.write(batch)
        self.changelog_offset = changelog_offset

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all rows in the order of their keys."""
        for key, row in self._db.items():
            if key != _OFFSET_KEY:
                yield key, row  # type: ignore[misc]  # in raw mode both are bytes

    def close(self) -> None:
        """Close the database and release its lock."""
        self._db.close()


class PartitionStores:
    """Opens, keeps and closes the stores of the partitions that this worker holds."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        """None: rows are kept in memory."""
        self._open: dict[int, PartitionStore] = {}
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
        return store

    def is_open(self, partition: int) -> bool:
        """Return whether the store of ``partition`` is open."""
        return partition in self._open

    def path(self, partition: int) -> Path:
        """Return the folder of a partition's database."""
        if self._folder is None:
            raise ValueError("rows in memory have no folder")
        return self._folder / f"instances-{partition}.db"

    def close(self, partition: int) -> None:
        """Close a partition's store, if it is open."""
        store = self._open.pop(partition, None)
        if store is not None:
            store.close()

    def close_all(self) -> None:
        """Close every store."""
        for partition in list(self._open):
            self.close(partition)

    def remove_all(self) -> None:
        """Close every store and delete what lies on disk."""
        self.close_all()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

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
