"""What subscriptions and snapshots share: requests that are kept under a name, of chosen clouds."""

import re
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

import msgspec
from aiohttp import web

from streams.subscriptions.filters import Subscription
from streams.subscriptions.snapshots import SnapshotRequest
from vimfed.model.decoding import UnreadableError, decoded
from web.auth.limits import Concerned
from web.http.errors import ApiError
from web.http.routes import named_vim_id

MAX_BYTES = 100_000
"""Bytes of JSON that one may take."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

K = TypeVar("K", Subscription, SnapshotRequest)


def writable_name(request: web.Request) -> str:
    """Return the name in the path. Raises ApiError (400) where nothing may be called so."""
    name = request.match_info["name"]
    if not _NAME.fullmatch(name):
        raise ApiError(400, f"a name has 1 to 64 letters, digits and . _ -, not {name!r}")
    return name


def parsed(body: bytes, decode: Callable[[bytes], K], what: str, most: int = MAX_BYTES) -> K:
    """Return what a body of at most ``most`` bytes asks for. Raises ApiError (400)."""
    if len(body) > most:
        raise ApiError(400, f"a {what} takes at most {most} bytes")
    try:
        return decoded(decode, body)
    except UnreadableError as error:
        raise ApiError(400, f"not a {what}: {error}") from None


def check_known(what: str, given: Iterable[str], accepted: Collection[str]) -> None:
    """Raise ApiError (400) where something is given that there is not."""
    for unknown in sorted(set(given).difference(accepted)):
        raise ApiError(400, f"{what}: {unknown!r} is none of {', '.join(sorted(accepted))}")


def is_by_path(request: web.Request, kept: Concerned) -> bool:
    """Return whether it is of the cloud alone that the path names, if it names one."""
    vim_id = named_vim_id(request)
    return vim_id is None or kept.clouds == (vim_id,)


def of_named_cloud(request: web.Request, asked: K) -> K:
    """Return it as one of the cloud that the path names, if it names one. Raises ApiError (400)."""
    vim_id = named_vim_id(request)
    if vim_id is None or is_by_path(request, asked):
        return asked
    if asked.clouds:
        raise ApiError(400, f"clouds: by this path it is of {vim_id} alone: leave them out")
    return msgspec.structs.replace(asked, clouds=(vim_id,))
