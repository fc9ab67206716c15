"""The header Retry-After (RFC 9110, 10.2.3)."""

import time
from email.utils import parsedate_to_datetime


def retry_after(value: str) -> float | None:
    """Return the seconds that a Retry-After header asks for; None where it says nothing useful.

    It gives seconds, or a date.
    """
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
