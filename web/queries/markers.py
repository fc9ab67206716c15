"""Markers: where a page of a list ended, as text that callers hand back."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial
from typing import TypeVar

import msgspec

from vimfed.model.decoding import decoded
from web.http.errors import ApiError

P = TypeVar("P")


def marker_of(position: object) -> str:
    """Return the marker of a position in a list."""
    return urlsafe_b64encode(msgspec.json.encode(position)).decode()


def read_marker(marker: str, kind: type[P]) -> P | None:
    """Return the position of a marker; None for an empty one. Raises ApiError (400)."""
    if not marker:
        return None
    try:
        position: P = decoded(partial(msgspec.json.decode, type=kind), urlsafe_b64decode(marker))
    except ValueError:
        raise ApiError(400, "marker must be the next_marker of an earlier answer") from None
    return position
