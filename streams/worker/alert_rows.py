"""In memory: how many rows of alerts from outside each partition has, and when one is due."""

from collections import Counter
from heapq import heappop, heappush

import msgspec

from vimfed.model.keys import split_instance_key
from vimfed.model.records import Recorded


class _Row(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of an encoded SourceAlerts as is needed here."""

    vim_id: str
    expires: dict[str, str] = msgspec.field(default_factory=dict)


_decode_row = msgspec.json.Decoder(_Row).decode


class _Partition:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """By cloud."""
        self.due: dict[bytes, str] = {}
        """By key when the first alert of a row ages out; empty: none does."""
        self.queued: dict[bytes, str] = {}
        """By key the earliest time that stands for it in ``heap``: at most the one in ``due``."""
        self.heap: list[tuple[str, bytes]] = []
        """Of the times in ``queued``, and of some that do not hold any more."""

    def queue(self, key: bytes, due: str) -> None:
        """Look at a row at a time; a row that is renewed again and again stands there once."""
        if due and due < self.queued.get(key, "~"):
            self.queued[key] = due
            heappush(self.heap, (due, key))


class AlertRows:
    """The rows of alerts in all partitions that this worker owns."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def add_partition(self, partition: int) -> None:
        """Begin to index a partition that becomes ours."""
        self._partitions[partition] = _Partition()

    def drop_partition(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self._partitions.pop(partition, None)

    def put(self, partition: int, key: bytes, row: bytes) -> None:
        """Index an encoded SourceAlerts that was written."""
        held, state = self._partitions[partition], _decode_row(row)
        if key not in held.due:
            held.counts[state.vim_id] += 1
        due = held.due[key] = min(state.expires.values(), default="")
        held.queue(key, due)

    def remove(self, partition: int, key: bytes) -> None:
        """Forget a row that was deleted."""
        held = self._partitions[partition]
        if held.due.pop(key, None) is not None:
            held.counts[split_instance_key(key)[0]] -= 1

    def held(self, partition: int, vim_id: str) -> int:
        """Return of how many sources of a cloud a partition has rows."""
        return self._partitions[partition].counts[vim_id]

    def expiring(self, partition: int, now: str) -> list[bytes]:
        """Return the keys of rows of which an alert ages out until ``now``.

        They are returned again as long as no other row has been written.
        """
        held = self._partitions[partition]
        found: dict[bytes, str] = {}
        while held.heap and held.heap[0][0] <= now:
            queued, key = heappop(held.heap)
            if held.queued.get(key) != queued:
                continue
            del held.queued[key]
            due = held.due.get(key, "")
            if due and due <= now:
                found[key] = due
            else:
                held.queue(key, due)
        for key, due in found.items():
            held.queue(key, due)
        return list(found)
