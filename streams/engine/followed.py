"""Up to when a copy of a partition holds what its changelog got. Decides, and does nothing."""


class Followed:
    """The time up to which a copy is known to be complete; it grows while the copy follows.

    Times are seconds since 1970.
    """

    __slots__ = ("_mark", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        """What was written before is in the copy."""
        self._mark: tuple[int, float] | None = None
        """An end that the changelog had, and when; the copy may not have reached it yet."""

    def saw(self, end: int, at: float) -> None:
        """Note that the changelog ended before offset ``end`` at the time ``at``.

        An earlier end that the copy has not reached yet stays: under a steady load it would never
        reach the newest one.
        """
        if self._mark is None or end < self._mark[0]:
            self._mark = (end, at)

    def reached(self, next_offset: int) -> None:
        """Note that the copy holds the changelog up to ``next_offset``, exclusively."""
        if self._mark is not None and next_offset >= self._mark[0]:
            self.until = max(self.until, self._mark[1])
            self._mark = None
