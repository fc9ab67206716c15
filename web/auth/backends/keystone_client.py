"""What OpenStack's Keystone says of a token: ``GET /v3/auth/tokens`` of its Identity API v3."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from vimfed.model.decoding import decoded
from vimfed.process.bounded_answer import bounded_session, read_answer
from vimfed.process.tls import tls_context
from vimfed.settings import KeystoneSettings, Tls
from web.http.errors import UnavailableError

LOG = logging.getLogger(__name__)

PATH = "/v3/auth/tokens"
MAX_ASKED = 50
"""Tokens about which Keystone is asked at once."""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _User(msgspec.Struct, frozen=True):
    name: str
    domain: _Named = _Named()


class Project(msgspec.Struct, frozen=True):
    """A project of Keystone's, which nova calls a tenant."""

    id: str
    name: str
    domain: _Named


class _System(msgspec.Struct, frozen=True):
    all: bool = False


class _Token(msgspec.Struct, frozen=True):
    user: _User
    expires_at: str
    roles: list[_Named] = []
    project: Project | None = None
    system: _System = _System()


class _Answer(msgspec.Struct, frozen=True):
    token: _Token


class TokenOwner(msgspec.Struct, frozen=True):
    """Whose a valid token is."""

    name: str
    """``user@domain``."""
    roles: Sequence[str]
    """Names of the roles that it has in the token's scope."""
    until: float
    """When it expires, in seconds since 1970."""
    project: Project | None = None
    """Its scope; None where that is a domain, the system, or nothing."""
    is_system: bool = False
    """Whether its scope is the system."""


_decode = msgspec.json.Decoder(_Answer).decode


class Keystone:
    """Asks Keystone; ``session`` is set while the server runs."""

    session: aiohttp.ClientSession

    def __init__(self, settings: KeystoneSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/") + PATH
        self._asked: dict[bytes, asyncio.Task[TokenOwner | None]] = {}
        self._own_token = ""

    def connected(self) -> aiohttp.ClientSession:
        """Return a session with Keystone's authority and deadline."""
        settings = self._settings
        connector = aiohttp.TCPConnector(ssl=tls_context(Tls(ca_file=settings.ca_file)))
        timeout = aiohttp.ClientTimeout(total=settings.timeout)
        return bounded_session(connector=connector, timeout=timeout)

    async def owner_of(self, token: str) -> TokenOwner | None:
        """Return whose a token is; None where it is none, has expired or was revoked.

        Who asks for one that is being asked about shares the answer. Raises UnavailableError.
        """
        key = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        task = self._asked.get(key)
        if task is None:
            if len(self._asked) >= MAX_ASKED:
                raise UnavailableError("Keystone is being asked about too many tokens")
            task = self._asked[key] = asyncio.create_task(self._ask(token))
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: bytes, done: asyncio.Task[TokenOwner | None]) -> None:
        del self._asked[key]
        if not done.cancelled():
            done.exception()  # seen, even if nobody waits for it any more

    async def _ask(self, token: str) -> TokenOwner | None:
        try:
            status, body = await self._get(token, await self._asker(token))
            if status == 401 and self._settings.username:
                self._own_token = ""  # it has expired
                status, body = await self._get(token, await self._asker(token))
        except (aiohttp.ClientError, TimeoutError) as error:
            LOG.warning("Keystone does not answer: %r", error)
            raise UnavailableError("Keystone does not answer") from None
        if status == 404 or (status == 401 and not self._settings.username):
            return None
        if status != 200:
            LOG.error("Keystone answered %d when asked about a token", status)
            raise UnavailableError(f"Keystone answered {status}")
        return _owner(body)

    async def _get(self, token: str, asker: str) -> tuple[int, bytes]:
        headers = {"X-Auth-Token": asker, "X-Subject-Token": token}
        async with self.session.get(self._url, headers=headers, allow_redirects=False) as response:
            return response.status, await read_answer(response)

    async def _asker(self, token: str) -> str:
        """Return the token with which to ask: our account's, or the one that is asked about."""
        if not self._settings.username:
            return token
        if not self._own_token:
            self._own_token = await self._logged_in()
        return self._own_token

    async def _logged_in(self) -> str:
        async with self.session.post(
            self._url, json=_login(self._settings), allow_redirects=False
        ) as response:
            if response.status != 201:
                LOG.error("Keystone refuses our account: it answered %d", response.status)
                raise UnavailableError("Keystone refuses our account")
            return response.headers.get("X-Subject-Token", "")


def _login(settings: KeystoneSettings) -> dict[str, Any]:
    """Return the body of a request for a token by password, scoped to the service's project."""
    user = {
        "name": settings.username,
        "domain": {"name": settings.user_domain},
        "password": settings.password.reveal(),
    }
    project = {"name": settings.project, "domain": {"name": settings.project_domain}}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }
    }


def _owner(body: bytes) -> TokenOwner | None:
    try:
        token = decoded(_decode, body).token
        until = datetime.fromisoformat(token.expires_at).timestamp()
    except ValueError as error:
        LOG.error("Keystone's answer is not understood: %s", error)  # noqa: TRY400 - it says all
        raise UnavailableError("Keystone's answer is not understood") from None
    if until <= time.time():
        return None
    name = f"{token.user.name}@{token.user.domain.name}"
    roles = tuple(role.name for role in token.roles)
    return TokenOwner(name, roles, until, token.project, token.system.all)
