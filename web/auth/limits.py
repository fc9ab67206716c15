"""Whether what a caller asks for concerns nothing but what it may see."""

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from web.auth.caller import CALLER, Caller
from web.http.errors import ApiError


class Concerned(Protocol):
    """Clouds and tenants that something is about; an empty list: all of them."""

    @property
    def clouds(self) -> Sequence[str]:
        """vim_ids."""

    @property
    def tenants(self) -> Sequence[str]:
        """Ids of tenants."""


def is_within(caller: Caller, about: Concerned) -> bool:
    """Return whether it concerns nothing but what the caller may see."""
    return caller.may_see_all(about.clouds) and caller.may_see_tenants(about.tenants)


def check_limits(request: web.Request, about: Concerned) -> None:
    """Raise ApiError (403) where it concerns what the caller may not see."""
    caller = request[CALLER]
    if is_within(caller, about):
        return
    limits = (("clouds", caller.clouds), ("tenants", caller.tenants or ()))
    seen = "; ".join(f"in {key} such of {', '.join(own)}" for key, own in limits if own)
    raise ApiError(403, f"{caller.name} may not see all that this concerns: name {seen}")
