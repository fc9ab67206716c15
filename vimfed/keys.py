"""The key of a record and the partition that it belongs to.

One codec for the bridge, the worker's table and the HTTP router: they agree by construction.
"""

from functools import lru_cache

from aiokafka.partitioner import murmur2


def instance_key(vim_id: str, instance_id: str) -> bytes:
    """Return the Kafka key of an instance: ``vim_id/instance_id`` in UTF-8.

    ``instance_id`` is empty for what is not about an instance; the key is then ``vim_id/``.
    """
    return f"{vim_id}/{instance_id}".encode()


def split_instance_key(key: bytes) -> tuple[str, str]:
    """Return (vim_id, instance_id) of a key made by :func:`instance_key`.

    Raises ValueError where the bytes are no such key.
    """
    vim_id, slash, instance_id = key.decode().partition("/")
    if not slash:
        raise ValueError(f"not an instance key: {key!r}")
    return vim_id, instance_id


@lru_cache(maxsize=32768)  # the hash is pure Python: 6 µs; an instance speaks many times
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner (murmur2) picks for ``key``."""
    digest: int = murmur2(key)
    return (digest & 0x7FFFFFFF) % partitions
