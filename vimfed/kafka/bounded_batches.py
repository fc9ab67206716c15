"""Batches of a cloud's Kafka, unpacked to a bounded size.

aiokafka unpacks a compressed batch whatever its size: 206 kB became 407 MB. A producer bounds a
batch before it compresses it, at 1 MB by default, so what is much larger was made to be. Such a
batch comes as one record whose value is a RefusedBatch; the consumer goes on behind it.
"""

import gzip
import io
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record._crecords import default_records, legacy_records
from aiokafka.record.memory_records import MemoryRecords

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Maximum size of a batch when it is unpacked."""
_ROOM = 64 * 1024
_USUAL_RATIO = 16
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEAD = 16


class BatchTooLargeError(Exception):
    """A batch has more than MAX_BATCH_BYTES."""


class RefusedBatch(bytes):
    """The value of the record that stands for a batch; the text says why it is not read."""


class _Record(NamedTuple):
    """A record as aiokafka's batches yield them."""

    offset: int
    value: RefusedBatch
    timestamp: int = -1
    timestamp_type: int = 0
    key: bytes | None = None
    checksum: None = None
    headers: tuple[()] = ()


class _Batch:
    """A batch that yields one record in its place where it is too large."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            records = iter(self._batch)
        except BatchTooLargeError as error:
            last = self._batch.next_offset - 1
            first = getattr(self._batch, "base_offset", last)  # batches before Kafka 0.11 have none
            why = f"{error}, offsets {first} to {last}"
            yield _Record(last, RefusedBatch(why.encode()))
        else:
            yield from records


class _Batches:
    """What one fetch brought of a partition: aiokafka's MemoryRecords, with batches of ours."""

    def __init__(self, data: bytes) -> None:
        records = MemoryRecords(data)
        self.has_next = records.has_next
        self.size_in_bytes = records.size_in_bytes
        self._next_batch = records.next_batch

    def next_batch(self) -> _Batch:
        """Return the next batch in a form that can be refused."""
        return _Batch(self._next_batch())


def _too_large() -> BatchTooLargeError:
    return BatchTooLargeError(f"too large: a batch of more than {MAX_BATCH_BYTES} bytes")


def _unpacked_into(unpack: Callable[[bytes, bytearray], int]) -> Callable[[Any], bytes]:
    """Return a function that unpacks into a room of its own, which cannot grow."""

    def unpacked(payload: Any) -> bytes:
        data = bytes(payload)
        for room in (min(MAX_BATCH_BYTES, max(_ROOM, _USUAL_RATIO * len(data))), MAX_BATCH_BYTES):
            into = bytearray(room)
            try:
                return bytes(memoryview(into)[: unpack(data, into)])
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise
        raise _too_large()

    return unpacked


def _gunzipped(payload: Any) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        found = file.read(MAX_BATCH_BYTES + 1)
    if len(found) > MAX_BATCH_BYTES:
        raise _too_large()
    return found


def _unsnapped(payload: Any) -> bytes:
    """Unpack snappy, alone or in xerial's blocks; each block tells its size."""
    data = bytes(payload)
    blocks = list(_xerial_blocks(data)) if data.startswith(_XERIAL) else [data]
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > MAX_BATCH_BYTES:
        raise _too_large()
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    at = _XERIAL_HEAD
    while at < len(data):
        (size,) = struct.unpack_from("!I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def bound() -> None:
    """Let aiokafka's consumers of this process unpack so; to be called before the first one."""
    fetcher.MemoryRecords = _Batches
    for module in (default_records, legacy_records):
        module.gzip_decode = _gunzipped
        module.snappy_decode = _unsnapped
        module.lz4_decode = _unpacked_into(cramjam.lz4.decompress_into)
    default_records.zstd_decode = _unpacked_into(cramjam.zstd.decompress_into)
