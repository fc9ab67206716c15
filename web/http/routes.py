"""The table of routes: what each takes, answers and demands. Everything about routes follows from
it: aiohttp's router, who may call what, and the OpenAPI document.
"""

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_origin, get_type_hints

import msgspec
from aiohttp import web

from vimfed.model.identity import vim_id_of
from vimfed.process.audit import Event
from web.http.errors import ApiError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Role = Literal["anyone", "reader", "writer", "admin", "peer"]
"""Who may call a route: ``anyone`` needs no login (probes), ``peer`` is another worker."""

BODY_TIMEOUT = 20.0
"""Seconds that a request's body may take."""

S = TypeVar("S", bound=msgspec.Struct)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the API does, under one path or several."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    paths: tuple[str, ...]
    """Without the optional slash at the end, which every route takes."""
    handler: Handler
    """Its docstring is the route's description."""
    role: Role
    audit: Event | Literal["reads"] | None = None
    """What the audit trail calls a change by it. Other methods than GET must say that it is one, or
    that it ``reads``: a route that changes something unseen does not come about."""
    of_projects: bool = False
    """A reader may call it, too, who is limited to one project: it is about that project's own."""
    query: type[msgspec.Struct] | None = None
    """The query string's parameters, each a field."""
    headers: Mapping[str, str] = {}
    """Request headers that mean something, and what."""
    body: Any = None
    """The type of the request's JSON body; None where it takes none."""
    answers: Mapping[int, Any]
    """The JSON body's type by status, without the errors that the access check and the framework
    tell; None where the body is no JSON."""
    media_type: str = "application/json"
    """Of the answer."""

    def __post_init__(self) -> None:
        """Raise ValueError for a change that the audit trail has no name for."""
        if (self.audit is None) != (self.method == "GET"):
            raise ValueError(f"{self.method} {self.paths[0]}: say what it is in the audit trail")


SLASH = "{slash}"
"""How the optional slash at the end is shown in a route's canonical path."""

ROUTES: web.AppKey[dict[web.AbstractRoute, Route]] = web.AppKey("routes", dict)
"""Of an application: its routes by what aiohttp calls the one that a request matched."""


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Serve ``routes``. A trailing slash is optional, as ONAP's clients differ in it.

    Where GET is answered, HEAD is, too: the same without its body (RFC 9110, 9.3.2).
    """
    table = app.setdefault(ROUTES, {})
    for route in routes:
        handler = _prepared(route)
        for path in route.paths:
            slash = "" if path.endswith("/") else "{slash:/?}"
            for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
                table[app.router.add_route(method, path + slash, handler)] = route


def _prepared(route: Route) -> Handler:
    """Return a handler that begins when what it needs of the request is there, and readable."""

    async def handle(request: web.Request) -> web.StreamResponse:
        for name in route.headers:
            try:
                request.headers.get(name, "").encode()
            except UnicodeEncodeError:
                raise ApiError(400, f"the header {name} is not UTF-8") from None
        if route.body is not None:
            await read_body(request)
        return await route.handler(request)

    return handle


async def read_body(request: web.Request) -> bytes:
    """Return the body of a request as it was sent. Raises ApiError (400, 408, 415)."""
    codings = ",".join(request.headers.getall("Content-Encoding", ())).split(",")
    if any(coding.strip().lower() not in ("", "identity") for coding in codings):
        raise ApiError(415, "a body is taken as it is, without a Content-Encoding")
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except TimeoutError:
        raise ApiError(408, f"the body has not come within {BODY_TIMEOUT:.0f} s") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise ApiError(400, f"the body is broken: {error}") from None


async def body_of(request: web.Request) -> bytes:
    """Return the body of a request without the byte order mark that some clients begin it with."""
    return (await request.read()).removeprefix(codecs.BOM_UTF8)


@cache
def _list_fields(query: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of a query's parameters that are lists."""
    hints = get_type_hints(query)
    return frozenset(name for name, hint in hints.items() if get_origin(hint) is list)


def parse_query(request: web.Request, query: type[S]) -> S:
    """Read the query string; a list's entries may be repeated, or have commas between them.

    Raises ApiError (400).
    """
    lists = _list_fields(query)
    given: dict[str, Any] = {}
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        if name in lists:
            given[name] = [part for value in values for part in value.split(",") if part]
        elif len(values) == 1:
            given[name] = values[0]
        else:
            raise ApiError(400, f"query: {name} is given {len(values)} times")
    try:
        return msgspec.convert(given, query, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"query: {error}") from None


def vim_id_in(request: web.Request) -> str:
    """Return the vim_id that a request's path names, whole or as owner and region."""
    given = request.match_info
    return given["vim_id"] if "vim_id" in given else vim_id_of(given["owner"], given["region"])


def named_vim_id(request: web.Request) -> str | None:
    """Return the vim_id that a request's path names; None where it names none."""
    return vim_id_in(request) if {"vim_id", "owner"} & request.match_info.keys() else None


def route_of(request: web.Request) -> Route | None:
    """Return the route that a request matched; None where it matched none."""
    return request.app[ROUTES].get(request.match_info.route)


def route_name(request: web.Request) -> str:
    """Return the canonical path of what a request matched; ``unknown`` where it matched nothing."""
    resource = request.match_info.route.resource
    return "unknown" if resource is None else resource.canonical.removesuffix(SLASH)
