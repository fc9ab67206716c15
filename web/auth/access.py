"""Who calls, and what they may: one middleware in front of every route.

Without users and Keystone in the settings, whoever reaches the API may do everything, and the
worker listens on loopback alone unless it is told otherwise.
"""

import hashlib
import hmac
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vimfed.process.audit import Who
from vimfed.process.neighbours import network_of
from vimfed.settings import SettingsError, WebSettings, is_loopback
from web.auth.backends.kinds import HEADERS, LOGINS, challenges
from web.auth.backends.login import Attempt, given_to
from web.auth.caller import CALLER, CLIENT, EVERYBODY, NOBODY, PEER, Caller
from web.auth.failed_logins import FailedLogins
from web.auth.peer_signature import Admitted, RefusedProofError
from web.auth.peers import PeerDoor
from web.http.audit import FAILED_LOGIN, WHO
from web.http.bounded_map import BoundedMap
from web.http.door import Door
from web.http.errors import ApiError, TooFast, UnavailableError
from web.http.routes import Role, named_vim_id, route_of
from web.http.turns import Turns

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
_ASK_FOR_TENANTS = frozenset({"reader", "writer", "admin"})
"""Roles of the routes that are for those who may see some tenant."""


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


class _Known(NamedTuple):
    caller: Caller
    until: float
    """Seconds since 1970; then it is checked again."""


class NotAcceptedError(ApiError):
    """A login that is looked at, and is none, or no more."""


class Access:
    """Finds out who calls; see :attr:`check`."""

    def __init__(self, settings: WebSettings, own_url: str = "") -> None:
        """``own_url``: that under which other workers ask this one."""
        auth = self._auth = settings.auth
        self._door = Door(
            settings.allowed_hosts,
            settings.trusted_proxies,
            own_url=settings.canonical_url,
            by_address=auth.allow_anonymous,
        )
        self._peers = PeerDoor(auth, own_url)
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
            changes = request.method not in ("GET", "HEAD", "OPTIONS")
            request[CLIENT] = self._door.client_address(request)
            request[WHO] = Who(address=request[CLIENT])
            self._door.refuse_foreign_page(request, changes=changes)
            route = route_of(request)
            role: Role = route.role if route else "reader"
            if role == "peer" and self._auth.peer_secret and self._peers.is_asked(request):
                admitted = await self._admitted_peer(request)
                request[WHO] = _who(PEER, request)
                return await self._peers.answer(request, handler, admitted)
            request[CALLER] = await self._admitted(request, role)
            request[WHO] = _who(request[CALLER], request)
            return await handler(request)

        return check

    async def still_admits(self, request: web.Request) -> bool:
        """Return whether the caller of a long request is known as before.

        Where that cannot be told now, it is: Keystone's last word holds until the next.
        """
        try:
            if await self._logged_in(request) == request[CALLER]:
                return True
        except NotAcceptedError:
            return False
        except (ApiError, UnavailableError):
            return True
        request[FAILED_LOGIN] = "what the login may has changed"
        return False

    async def _admitted(self, request: web.Request, role: Role) -> Caller:
        """Return who calls. Raises ApiError unless they may call routes of ``role``."""
        if not self._auth.is_on and not (role == "peer" and self._auth.peer_secret):
            if role != "anyone":
                self._door.refuse_borrowed_name(request)
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
        request[WHO] = _who(caller, request)
        _refuse_beyond_rights(caller, role, request)
        return caller

    async def _admitted_peer(self, request: web.Request) -> Admitted:
        """Return by what another worker is known. Raises ApiError (401, 429) unless it is."""
        request[CALLER] = PEER
        try:
            return await self._peers.admit(request)
        except RefusedProofError as error:
            raise self._refused(f"a worker's request, {error},", request) from None

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
        address = request[CLIENT]
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
        who, caller, account = await self._attempt(header, value, request[CLIENT])
        if caller is not None:
            until = min(time.time() + caller.holds, caller.until)
            self._known[fingerprint] = _Known(caller, until)
            return caller
        raise self._refused(who, request, account)

    def _refused(self, who: str, request: web.Request, account: str = "") -> NotAcceptedError:
        """Note that a login failed; return what is answered."""
        address = request[CLIENT]
        now = time.monotonic()
        wait = math.ceil(self._failed.wait(address, now))
        self._failed.note(address, now, account)
        request[FAILED_LOGIN] = who
        if wait:
            return NotAcceptedError(429, *_too_many(wait))
        return NotAcceptedError(
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


def _who(caller: Caller, request: web.Request) -> Who:
    return Who(caller.name, caller.role, request[CLIENT])


def _too_many(wait: int) -> tuple[TooFast, dict[str, str]]:
    """Return what is said of too many failures, and the headers."""
    text = f"too many logins from this address have failed: try again in {wait} s"
    return TooFast(error=text, retry_after=wait), {"Retry-After": str(wait)}


def _refuse_beyond_rights(caller: Caller, role: Role, request: web.Request) -> None:
    """Raise ApiError (403) unless a caller may call a route of ``role`` about what it names."""
    if role in _ASK_FOR_TENANTS and caller.tenants == ():
        raise ApiError(403, f"{caller.name} needs a token of a project, or of the system")
    route = route_of(request)
    is_own = route is not None and route.of_projects and caller.project != ""
    if role not in _GRANTS[caller.role] and not (is_own and caller.role in _ASK_FOR_TENANTS):
        raise ApiError(403, f"{caller.name} has the role {caller.role}, this needs {role}")
    if role != "peer":
        vim_id = named_vim_id(request)
        if vim_id is not None and not caller.may_see(vim_id):
            raise ApiError(403, f"{caller.name} may not see the cloud {vim_id}")
