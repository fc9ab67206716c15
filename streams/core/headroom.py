"""Room on the stack for what is nested deeply, so that it is refused here or nowhere.

Never compiled: Python's limit does not count the calls of compiled functions.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

HEADROOM = 400
"""So many calls further down the stack than elsewhere what is nested deeply is read.

Python's stack bounds how deeply nested a payload can be to be decoded. What can be decoded here can
be wherever it is read later: in a row, an event or an answer, or from further down.
"""
SURELY_SHALLOW = 200
"""What has fewer opening brackets than this can be read with half of that room."""


def with_headroom(texts: Iterable[bytes], function: Callable[[], T]) -> T:
    """Return what ``function``, which decodes ``texts``, returns where there is less room for it.

    The calls cost more than to fold a record: they are made only where one may be nested deeply.
    """
    return _further_down(0 if all(map(_is_surely_shallow, texts)) else HEADROOM, function)


def _is_surely_shallow(text: bytes) -> bool:
    return len(text) - len(text.translate(None, b"{[")) < SURELY_SHALLOW


def _further_down(calls: int, function: Callable[[], T]) -> T:
    return _further_down(calls - 1, function) if calls else function()
