"""How JSON of others is read: whatever is wrong with it is one error."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

D = TypeVar("D")
T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises; RecursionError where values are nested too deeply."""


class UnreadableError(ValueError):
    """It is no JSON, or none of the shape that is asked for; the text says why."""


def decoded(decode: Callable[[D], T], data: D) -> T:
    """Return what a decoder makes of ``data``. Raises UnreadableError."""
    try:
        return decode(data)
    except UNREADABLE as error:
        raise UnreadableError(str(error)) from None
