"""How many instances a cloud may have: a bound for what one cloud's writer can make of the table.

A partition knows its own rows alone, and instances are spread over the partitions by chance. So a
partition has its share of the quota, and five standard deviations more: a cloud within its quota,
whose ids nobody chose, meets the bound of a partition less than once in a million.
"""

import math
from collections.abc import Callable


def quota_of_partition(quota: int, partitions: int) -> float:
    """Return how many instances of a cloud one of ``partitions`` may hold; ``quota`` 0: any."""
    if quota == 0:
        return math.inf
    share = quota / partitions
    return math.ceil(share + (5 * math.sqrt(share) if partitions > 1 else 0))


class CloudQuota:
    """What a partition's clouds have used of their quotas, as a batch adds to it."""

    def __init__(self, most: float = math.inf, held: Callable[[str], int] = lambda _: 0) -> None:
        """``most``: see quota_of_partition; ``held``: a cloud's instances before the batch."""
        self.most = most
        self._held = held
        self._used: dict[str, int] = {}

    def take(self, vim_id: str) -> bool:
        """Count one more instance of a cloud; return whether there was room for it."""
        used = self._used.get(vim_id)
        if used is None:
            used = self._held(vim_id)
        if used >= self.most:
            return False
        self._used[vim_id] = used + 1
        return True
