"""Times as records and answers carry them: ISO 8601, UTC, ``Z``; the texts sort as the times."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache


def utc_text(moment: datetime, timespec: str = "microseconds") -> str:
    """Return a time of UTC as text."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def text_of_second(second: int) -> str:
    """Return the time that is so many seconds after the beginning of 1970.

    Raises ValueError or OverflowError after the year 9999.
    """
    return utc_text(datetime.fromtimestamp(second, UTC))


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


def read_time(time: str) -> tuple[str, int] | None:
    """Return a time as (ISO 8601 in UTC with microseconds and ``Z``, ms since 1970), or None.

    Times without a zone are UTC, as nova's are. None where it is no time. Times before 1970 are 0.
    """
    digits = time.removesuffix("Z")
    if len(digits) == 26 and digits[19] == "." and digits.isascii() and digits[20:].isdigit():
        # As oslo and we write it; what falls into a second shares what is costly to read of it.
        second = _second(digits[:19])
        if second is not None:
            text, ms = second
            return f"{text}{digits[19:]}Z", ms + int(digits[20:23])
    return _read(time, "microseconds")


def milliseconds(time: str) -> int | None:
    """Return a time as ms since 1970, as ``read_time`` reads it; None where it is no time."""
    fraction = time[20:26]
    if len(time) == 27 and time[19] == "." and time[26] == "Z" and fraction.isdecimal():
        # As we write it: nothing is made of it that nobody asked for.
        second = _second(time[:19])
        if second is not None and fraction.isascii():
            return second[1] + int(fraction[:3])
    read = read_time(time)
    return None if read is None else read[1]


@lru_cache(maxsize=4096)
def _second(time: str) -> tuple[str, int] | None:
    read = _read(time, "seconds")
    return None if read is None else (read[0][:-1], read[1])


def _read(time: str, timespec: str) -> tuple[str, int] | None:
    try:
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    ms = (moment - _EPOCH) // _MILLISECOND
    return f"{moment.isoformat('T', timespec)}Z", max(ms, 0)


_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
