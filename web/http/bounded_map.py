"""A map that forgets what was set first, so that strangers cannot fill the memory with keys."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """Keeps the ``most`` entries that were set last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of a key; None where it has none, or no more."""
        return self._entries.get(key)

    def __setitem__(self, key: K, value: V) -> None:
        """Set a value; its key is the last one to be forgotten."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)
