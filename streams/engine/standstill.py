"""A watch over partitions of which records wait, and none is done."""

import time
from collections.abc import Mapping
from typing import NamedTuple


class Place(NamedTuple):
    """How far a partition is."""

    undone: int | None
    """Offset of the first record that is not done; None where nobody knows."""
    lag: int
    """How many records are not done."""


class StandstillWatch:
    """Knows since when each partition with lag is at the same place."""

    def __init__(self, stuck_after: float) -> None:
        """``stuck_after``: seconds after which a partition counts as stuck."""
        self._stuck_after = stuck_after
        self._stood_since: dict[int, tuple[int | None, float]] = {}
        """Per partition, where it is and since when (monotonic)."""

    def look(self, places: Mapping[int, Place], *, is_excused: bool = False) -> dict[int, float]:
        """Note where the partitions are; return those that are stuck, and for how many seconds.

        The time of a partition that is not named is forgotten. ``is_excused``: a standstill of now
        has another reason, so the time begins anew.
        """
        now = time.monotonic()
        before, self._stood_since = self._stood_since, {}
        for partition, place in places.items():
            undone, since = before.get(partition, (place.undone, now))
            if is_excused or not place.lag or undone != place.undone:
                since = now
            self._stood_since[partition] = (place.undone, since)
        return {
            partition: now - since
            for partition, (_undone, since) in self._stood_since.items()
            if now - since > self._stuck_after
        }
