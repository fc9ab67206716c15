"""Requests in the audit trail: one middleware for every listener through which things are changed.

It stands outside of what turns errors into answers, so that it sees what each request came to.
"""

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vimfed.process.audit import Event, Field, Result, Trail, Who
from web.http.errors import REASON
from web.http.routes import named_vim_id, route_name, route_of

REFUSALS = frozenset({401, 403, 421, 429})
"""Statuses of what is refused because of who asks, by which name, or how often."""

WHO: web.RequestKey[Who] = web.RequestKey("who", Who)
"""Of a request: who asks, as far as the access check has found out."""
FAILED_LOGIN: web.RequestKey[str] = web.RequestKey("failed login", str)
"""Of a request: whose login was looked at, and is none; never what was given."""
OBJECT: web.RequestKey[str] = web.RequestKey("object", str)
"""Of a request: what it is about, where the path does not say so."""
COUNT: web.RequestKey[int] = web.RequestKey("count", int)
"""Of a request: how many entries it brings."""


def change_by_route(request: web.Request) -> Event | None:
    """Return the change that a request's route stands for in the table of routes."""
    route = route_of(request)
    return None if route is None or route.audit == "reads" else route.audit


class RequestAudit:
    """Writes what requests changed, and what was refused; ``change_of`` names the change."""

    def __init__(self, trail: Trail, change_of: Callable[[web.Request], Event | None]) -> None:
        self._trail = trail
        self._change_of = change_of

    @property
    def keep(self) -> Middleware:
        """Return the middleware."""

        @web.middleware
        async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
            status = 0
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                for event, result in self._told(request, status):
                    who = request.get(WHO) or Who(address=request.remote or "")
                    self._trail.record(event, result, who, **_details(request, status))

        return keep

    def _told(self, request: web.Request, status: int) -> list[tuple[Event, Result]]:
        """Return what is told of a request; ``status`` 0: it was broken off."""
        refused = status in REFUSALS
        told: list[tuple[Event, Result]] = []
        if FAILED_LOGIN in request:
            ended = bool(request.get(WHO, Who()).login) and not refused
            told.append(("login.ended" if ended else "login.failed", "refused"))
        elif refused:
            told.append(("request.refused", "refused"))
        change = self._change_of(request)
        if change is not None and not refused:
            told.append((change, "done" if 0 < status < 400 else "failed"))
        return told


def _details(request: web.Request, status: int) -> dict[str, Field]:
    reason = request.get(FAILED_LOGIN, "")
    if not reason and status in REFUSALS:
        reason = request.get(REASON, "")
    details: dict[str, Field] = {
        "method": request.method,
        "route": route_name(request),
        "object": request.get(OBJECT) or _object_of(request),
        "reason": reason,
    }
    if status:
        details["status"] = status
    if COUNT in request:
        details["count"] = request[COUNT]
    return details


def _object_of(request: web.Request) -> str:
    """Return what a request's path names: the cloud, the subscription, the topic, …"""
    given = {name: each for name, each in request.match_info.items() if name != "slash"}
    if request.match_info.route.resource is None:
        return request.path
    vim_id = named_vim_id(request)
    cloud = [] if vim_id is None else [vim_id]
    others = [each for name, each in given.items() if name not in ("vim_id", "owner", "region")]
    return "/".join(cloud + others)
