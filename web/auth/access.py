"""Who calls, and what they may: one middleware in front of every route.

Without users and Keystone in the settings, whoever reaches the API may do everything, and the
worker listens on loopback alone unless it is told otherwise.
"""

import asyncio
import base64
import fnmatch
import hashlib
import hmac
import ipaddress
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vimfed.settings import (
    KeystoneSettings,
    SettingsError,
    WebAuthSettings,
    WebSettings,
    WebUser,
)
from web.auth import passwords
from web.auth.failed_logins import FailedLogins
from web.auth.keystone import Keystone, TokenOwner
from web.http.errors import ApiError, UnavailableError
from web.http.routes import Role, route_of, vim_id_in

LOG = logging.getLogger(__name__)

MAX_KNOWN = 2000
"""Logins that are remembered."""
MAX_HASHING = 16
"""Passwords that wait to be compared with a hash, one after the other."""

_GRANTS: dict[Role, frozenset[Role]] = {
    "anyone": frozenset({"anyone"}),
    "reader": frozenset({"anyone", "reader"}),
    "writer": frozenset({"anyone", "reader", "writer"}),
    "admin": frozenset({"anyone", "reader", "writer", "admin"}),
    "peer": frozenset({"anyone", "peer"}),
}
"""By a caller's role, those of the routes that it may call."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls."""

    name: str
    role: Role
    clouds: tuple[str, ...] = ()
    """Patterns of the vim_ids that it may see; empty: all."""
    until: float = math.inf
    """When the login ends, in seconds since 1970."""

    def may_see(self, vim_id: str) -> bool:
        """Return whether it may see a cloud, and what is in it."""
        return not self.clouds or any(
            fnmatch.fnmatchcase(vim_id, pattern) for pattern in self.clouds
        )

    def may_see_all(self, vim_ids: Sequence[str]) -> bool:
        """Return whether it may see all of these clouds; none means every cloud there is."""
        return not self.clouds or (bool(vim_ids) and all(map(self.may_see, vim_ids)))


CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""Of a request: who calls."""
EVERYBODY = Caller(name="everybody", role="admin")
NOBODY = Caller(name="nobody", role="anyone")
PEER = Caller(name="peer", role="peer")


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


def peer_headers(auth: WebAuthSettings) -> dict[str, str]:
    """Return the headers by which other workers know this one."""
    return {"Authorization": f"Bearer {auth.peer_secret.reveal()}"} if auth.peer_secret else {}


class _Known(NamedTuple):
    caller: Caller
    until: float
    """Seconds since 1970; then it is checked again."""


class Access:
    """Finds out who calls; see :attr:`check`."""

    def __init__(self, settings: WebSettings) -> None:
        auth = self._auth = settings.auth
        self._own_name = _host_name(settings.canonical_url.partition("://")[2])
        self._allowed = AllowedHosts(settings.allowed_hosts)
        self._failed = FailedLogins()
        self._keystone = Keystone(auth.keystone) if auth.keystone.url else None
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._key = os.urandom(32)
        self._hashing = asyncio.Semaphore()
        self._waiting = 0
        self._challenges = _challenges(auth)
        self._users = {user.name: user for user in auth.users if user.password}
        self._passwords = _alike(
            {
                "": os.urandom(16).hex(),
                **{name: one.password.reveal() for name, one in self._users.items()},
            }
        )

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep the connection to Keystone while the server runs."""
        if self._keystone is None:
            yield
            return
        async with self._keystone.connected() as self._keystone.session:
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
        except ApiError as error:
            return error.status != 401
        except UnavailableError:
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
                raise self._refusal("log in: this needs a user or a token")
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
        authorization = request.headers.get("Authorization")
        token = request.headers.get("X-Auth-Token")
        if authorization is None and token is None:
            return None
        shown = f"a {authorization}" if authorization is not None else f"t {token}"
        fingerprint = hmac.new(
            self._key, shown.encode(errors="surrogateescape"), hashlib.sha256
        ).digest()
        known = self._known.get(fingerprint)
        if known is not None and time.time() < known.until:
            return known.caller
        address = request.remote or ""
        self._check_wait(address)
        if authorization is not None:
            who, caller = await self._authorized(authorization, address)
        else:
            who, caller = "a Keystone token", await self._by_keystone(token or "")
        if caller is None:
            self._failed.note(address, time.monotonic())
            LOG.warning("login failed: %s from %s at %s", who, address, request.path[:100])
            raise self._refusal("this login is not accepted")
        kept = self._auth.keystone.cache_seconds if authorization is None else math.inf
        self._remember(fingerprint, _Known(caller, min(time.time() + kept, caller.until)))
        return caller

    def _check_wait(self, address: str) -> None:
        """Raise ApiError (429) while an address must wait before its next attempt."""
        wait = math.ceil(self._failed.wait(address, time.monotonic()))
        if wait:
            raise ApiError(
                429,
                f"too many logins from this address have failed: try again in {wait} s",
                {"Retry-After": str(wait)},
            )

    def _remember(self, fingerprint: bytes, known: _Known) -> None:
        self._known[fingerprint] = known
        self._known.move_to_end(fingerprint)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _refusal(self, error: str) -> ApiError:
        return ApiError(401, error, {"WWW-Authenticate": ", ".join(self._challenges)})

    async def _authorized(self, authorization: str, address: str) -> tuple[str, Caller | None]:
        """Return what is said of the one who tries, for the log, and the caller if it is one."""
        scheme, _, given = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return "a bearer token", self._by_token(given.strip())
            case "basic":
                return await self._by_password(given.strip(), address)
        return "an unknown scheme", None

    def _by_token(self, given: str) -> Caller | None:
        """Compare with each token, whichever it is: time tells nothing."""
        found = None
        for user in self._auth.users:
            if user.token and passwords.same(given, user.token.reveal()):
                found = _caller(user)
        secret = self._auth.peer_secret
        return PEER if secret and passwords.same(given, secret.reveal()) else found

    async def _by_password(self, encoded: str, address: str) -> tuple[str, Caller | None]:
        try:
            name, colon, given = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor, in it, UTF-8
            return "malformed credentials", None
        user = self._users.get(name)
        # Whoever names no user of ours waits for the answer as long as one who does.
        password = self._passwords[name if user else ""]
        matches = await self._matches(given, password, address)
        if user is None or not colon or not matches:
            # An unknown name may be a password that was typed into the wrong field.
            return f"user {user.name!r}" if user else "an unknown user", None
        return f"user {user.name!r}", _caller(user)

    async def _matches(self, given: str, password: str, address: str) -> bool:
        if not passwords.is_hash(password):
            return passwords.matches(given, password)
        if self._waiting >= MAX_HASHING:
            raise UnavailableError("too many log in at once")
        self._waiting += 1
        try:
            async with self._hashing:
                self._check_wait(address)  # others may have failed while this one waited
                check = partial(passwords.matches, given, password)
                return await asyncio.get_running_loop().run_in_executor(None, check)
        finally:
            self._waiting -= 1

    async def _by_keystone(self, token: str) -> Caller | None:
        if self._keystone is None or not token:
            return None
        owner = await self._keystone.owner_of(token)
        return None if owner is None else caller_of(owner, self._auth.keystone)


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


def _alike(given: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords such that it takes equally long to compare with any of them."""
    hashed = any(map(passwords.is_hash, given.values()))
    return {
        name: passwords.hash_password(password)
        if hashed and not passwords.is_hash(password)
        else password
        for name, password in given.items()
    }


def _caller(user: WebUser) -> Caller:
    return Caller(name=user.name, role=user.role, clouds=tuple(user.clouds))


def caller_of(owner: TokenOwner, settings: KeystoneSettings) -> Caller:
    """Return what the owner of a Keystone token may, which is nothing without a role of ours."""
    roles: Sequence[tuple[Role, Sequence[str]]] = (
        ("admin", settings.admin_roles),
        ("writer", settings.writer_roles),
        ("reader", settings.reader_roles),
    )
    held = set(owner.roles)
    role: Role = next((ours for ours, theirs in roles if held.intersection(theirs)), "anyone")
    return Caller(name=owner.name, role=role, clouds=tuple(settings.clouds), until=owner.until)


def _challenges(auth: WebAuthSettings) -> list[str]:
    """Return the ways to log in, for WWW-Authenticate (RFC 9110, 11.6.1)."""
    challenges = []
    if any(user.password for user in auth.users):
        challenges.append('Basic realm="vim-event-federation", charset="UTF-8"')
    if any(user.token for user in auth.users):
        challenges.append('Bearer realm="vim-event-federation"')
    if auth.keystone.url:
        challenges.append(f'Keystone uri="{auth.keystone.url}"')
    return challenges or ['Bearer realm="vim-event-federation"']
