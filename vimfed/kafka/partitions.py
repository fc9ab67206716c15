"""The partition that a record belongs to.

One function for bridge, table and HTTP router: they agree by construction.
"""

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=32768)  # the hash is pure Python: 6 µs; an instance speaks many times
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner (murmur2) picks for ``key``."""
    digest: int = murmur2(key)
    return (digest & 0x7FFFFFFF) % partitions
