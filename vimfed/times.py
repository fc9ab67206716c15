"""Times as records and answers carry them: ISO 8601, UTC, ``Z``; the texts sort as the times."""

from datetime import UTC, datetime


def utc_text(moment: datetime, timespec: str = "microseconds") -> str:
    """Return a time of UTC as text."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def as_utc_text(text: str) -> str:
    """Return an ISO 8601 time, UTC where it names no zone, as UTC with microseconds.

    Raises ValueError or OverflowError where it is no time.
    """
    moment = datetime.fromisoformat(text)
    return utc_text(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from one time to another; 0 where either is unknown."""
    try:
        passed = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    except (ValueError, TypeError):
        return 0.0
    return passed.total_seconds()
