"""Who calls, and what they may: one middleware in front of every route.

Without users and Keystone in the settings, whoever reaches the API may do everything, and the
worker listens on loopback alone unless it is told otherwise.
"""

import hashlib
import hmac
import ipaddress
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vimfed.process.neighbours import network_of
from vimfed.settings import SettingsError, WebSettings
from web.auth.backends.kinds import HEADERS, LOGINS, challenges
from web.auth.backends.login import Attempt, given_to
from web.auth.caller import CALLER, EVERYBODY, NOBODY, Caller
from web.auth.failed_logins import FailedLogins
from web.http.bounded_map import BoundedMap
from web.http.errors import ApiError, UnavailableError
from web.http.routes import Role, route_of, vim_id_in
from web.http.turns import Turns

LOG = logging.getLogger(__name__)

MAX_KNOWN = 2000
"""Logins that are remembered."""
MAX_AT_ONCE = 10
"""Attempts of one address that are looked at, at once; Keystone is asked about 50 in all."""

_GRANTS: dict[Role, frozenset[Role]] = {
    "anyone": frozenset({"anyone"}),
    "reader": frozenset({"anyone", "reader"}),
    "writer": frozenset({"anyone", "reader", "writer"}),
    "admin": frozenset({"anyone", "reader", "writer", "admin"}),
    "peer": frozenset({"anyone", "peer"}),
}
"""By a caller's role, those of the routes that it may call."""


def refuse_open_door(settings: WebSettings) -> None:
    """Raise SettingsError where anybody could do anything from another machine."""
    auth = settings.auth
    if auth.is_on or auth.allow_anonymous or is_loopback(settings.host):
        return
    raise SettingsError(
        f"web.host = {settings.host!r} lets everybody who reaches this machine read and change "
        "everything: add [[web.auth.users]] or [web.auth.keystone], listen on 127.0.0.1, or set "
        "web.auth.allow_anonymous = true where the network keeps strangers out"
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(authority: str) -> str:
    """Return the name of ``name:port``, or the address."""
    name, _, port = authority.partition("/")[0].rpartition(":")
    return (name if name and port.isdecimal() else authority.partition("/")[0]).strip("[]").lower()


class AllowedHosts:
    """The names of ``web.allowed_hosts``, by which browsers reach the API through a proxy."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    def __contains__(self, authority: str) -> bool:
        """Return whether ``name:port`` is one of them; one without a port stands for every port."""
        whole = authority.lower()
        name, _, port = whole.rpartition(":")
        return whole in self._hosts or (port.isdecimal() and name in self._hosts)


class _Known(NamedTuple):
    caller: Caller
    until: float
    """Seconds since 1970; then it is checked again."""


class NotAcceptedError(ApiError):
    """A login that is looked at, and is none, or no more."""


class Access:
    """Finds out who calls; see :attr:`check`."""

    def __init__(self, settings: WebSettings) -> None:
        auth = self._auth = settings.auth
        self._own_name = _host_name(settings.canonical_url.partition("://")[2])
        self._allowed = AllowedHosts(settings.allowed_hosts)
        self._failed = FailedLogins()
        self._turns = Turns(MAX_AT_ONCE)
        self._logins = [login(auth) for login in LOGINS]
        self._challenges = challenges(self._logins)
        self._known: BoundedMap[bytes, _Known] = BoundedMap(MAX_KNOWN)
        self._key = os.urandom(32)

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep the connections of the logins while the server runs."""
        async with AsyncExitStack() as stack:
            for login in self._logins:
                await stack.enter_async_context(login.connected())
            yield

    @property
    def check(self) -> Middleware:
        """Return the middleware, which puts the caller into ``request[CALLER]``.

        It answers 401 without a login, also where there is no such route, 403 to who may not and to
        a browser that acts for another site, 429 to an address from which too many logins failed.
        """

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            if _is_of_another_site(request, self._allowed):
                raise ApiError(
                    403,
                    "a page of another site may not change anything here; where it is ours, behind "
                    "a proxy, name the host in its URL in web.allowed_hosts",
                )
            route = route_of(request)
            request[CALLER] = await self._admitted(request, route.role if route else "reader")
            return await handler(request)

        return check

    async def still_admits(self, request: web.Request) -> bool:
        """Return whether the caller of a long request is known as before.

        Where that cannot be told now, it is: Keystone's last word holds until the next.
        """
        try:
            return await self._logged_in(request) == request[CALLER]
        except NotAcceptedError:
            return False
        except (ApiError, UnavailableError):
            return True

    async def _admitted(self, request: web.Request, role: Role) -> Caller:
        """Return who calls. Raises ApiError unless they may call routes of ``role``."""
        if not self._auth.is_on and not (role == "peer" and self._auth.peer_secret):
            if role != "anyone":
                self._refuse_borrowed_name(request)
            return EVERYBODY
        caller = await self._logged_in(request)
        if caller is None:
            if role != "anyone":
                raise ApiError(
                    401,
                    "log in: this needs a user or a token",
                    {"WWW-Authenticate": self._challenges},
                )
            return NOBODY
        if role not in _GRANTS[caller.role]:
            raise ApiError(403, f"{caller.name} has the role {caller.role}, this needs {role}")
        if role != "peer" and {"vim_id", "owner"} & request.match_info.keys():
            vim_id = vim_id_in(request)
            if not caller.may_see(vim_id):
                raise ApiError(403, f"{caller.name} may not see the cloud {vim_id}")
        return caller

    def _refuse_borrowed_name(self, request: web.Request) -> None:
        """Raise ApiError (403) where loopback is reached by a name that is not its own.

        A page of any site reaches it so, once its site's name leads to 127.0.0.1, and a browser
        takes what it reads and writes for the page's own.
        """
        host = request.headers.get("Host", "localhost")  # browsers always send it
        name = _host_name(host)
        own = is_loopback(name) or name == self._own_name or host in self._allowed
        if not (self._auth.allow_anonymous or own):
            raise ApiError(
                403,
                f"who need not log in asks 127.0.0.1 or localhost, not {name}: behind a proxy that "
                "keeps strangers out name it in web.allowed_hosts",
            )

    async def _logged_in(self, request: web.Request) -> Caller | None:
        """Return who has logged in; None where nobody tries. Raises ApiError (401, 429)."""
        header = next((each for each in HEADERS if each in request.headers), None)
        if header is None:
            return None
        value = request.headers[header]
        fingerprint = hmac.new(
            self._key, f"{header} {value}".encode(errors="surrogateescape"), hashlib.sha256
        ).digest()
        caller = self._known_caller(fingerprint)
        if caller is not None:
            return caller
        address = request.remote or ""
        if self._known.get(fingerprint) is not None:  # who was valid has a turn of its own
            return await self._look(header, value, fingerprint, request)
        async with self._turns.turn(network_of(address)):
            caller = self._known_caller(fingerprint)  # by one who asked the same at once
            return caller or await self._look(header, value, fingerprint, request)

    def _known_caller(self, fingerprint: bytes) -> Caller | None:
        known = self._known.get(fingerprint)
        return known.caller if known is not None and time.time() < known.until else None

    async def _look(
        self, header: str, value: str, fingerprint: bytes, request: web.Request
    ) -> Caller:
        """Return whose login it is. Raises NotAcceptedError, ApiError (429)."""
        address = request.remote or ""
        who, caller, account = await self._attempt(header, value, address)
        if caller is not None:
            until = min(time.time() + caller.holds, caller.until)
            self._known[fingerprint] = _Known(caller, until)
            return caller
        now = time.monotonic()
        wait = math.ceil(self._failed.wait(address, now))
        self._failed.note(address, now, account)
        if wait:
            raise NotAcceptedError(429, *_too_many(wait))
        LOG.warning("login failed: %s from %s at %s", who, address, request.path[:100])
        raise NotAcceptedError(
            401, "this login is not accepted", {"WWW-Authenticate": self._challenges}
        )

    async def _attempt(self, header: str, value: str, address: str) -> Attempt:
        """Ask each login for which a header is, until one accepts it."""
        attempt = Attempt("an unknown scheme", None)
        for login in self._logins:
            given = given_to(login, header, value)
            if given is not None:
                attempt = await login.attempt(given, partial(self._check_guess, address))
            if attempt.caller is not None:
                break
        return attempt

    def _check_guess(self, address: str, account: str) -> None:
        """Raise ApiError (429) while an address must wait before it guesses at an account."""
        wait = math.ceil(self._failed.wait_to_guess(address, account, time.monotonic()))
        if wait:
            raise ApiError(429, *_too_many(wait))


def _too_many(wait: int) -> tuple[str, dict[str, str]]:
    """Return what is said of too many failures, and the headers."""
    text = f"too many logins from this address have failed: try again in {wait} s"
    return text, {"Retry-After": str(wait)}


def _is_of_another_site(request: web.Request, allowed: AllowedHosts) -> bool:
    """Return whether a browser sends it for a page that is not ours, with what it knows of us.

    What it knows is a login that it remembers, or the way to a loopback that nobody else reaches.
    A page of an allowed host is ours: a proxy may pass on the browser's Origin, and its own Host.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return False
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    # Browsers leave it out where our URL is neither HTTPS nor of their own machine.
    origin = request.headers.get("Origin")
    page = None if origin is None else origin.partition("://")[2]
    return page is not None and page != request.host and page not in allowed
