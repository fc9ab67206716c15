"""Time that a test moves."""


class Clock:
    """In place of a module's ``time``: a monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.now
