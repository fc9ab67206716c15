"""Tokens of OpenStack's Keystone."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from vimfed.settings import KeystoneSettings, WebAuthSettings
from web.auth.backends.keystone_client import Keystone, Project, TokenOwner
from web.auth.backends.login import Attempt, Login
from web.auth.caller import Caller
from web.http.routes import Role


class KeystoneLogin(Login):
    """``[web.auth.keystone]``: Keystone is asked whose a token is."""

    header = "X-Auth-Token"
    openapi: ClassVar[Mapping[str, Any]] = {
        "keystone": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Auth-Token",
            "description": "a token of OpenStack's Keystone",
        }
    }

    def __init__(self, auth: WebAuthSettings) -> None:
        self._settings = auth.keystone
        self._client = Keystone(auth.keystone) if auth.keystone.url else None
        self.challenge = f'Keystone uri="{auth.keystone.url}"' if self._client else ""

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Keep the connection to Keystone."""
        if self._client is None:
            yield
            return
        async with self._client.connected() as self._client.session:
            yield

    async def attempt(self, given: str, may_guess: Callable[[str], None]) -> Attempt:
        """Ask Keystone."""
        owner = await self._client.owner_of(given) if self._client and given else None
        return Attempt("a Keystone token", caller_of(owner, self._settings) if owner else None)


def caller_of(owner: TokenOwner, settings: KeystoneSettings) -> Caller:
    """Return what the owner of a Keystone token may, which is nothing without a role of ours."""
    roles: Sequence[tuple[Role, Sequence[str]]] = (
        ("admin", settings.admin_roles),
        ("writer", settings.writer_roles),
        ("reader", settings.reader_roles),
    )
    held = set(owner.roles)
    return Caller(
        name=owner.name,
        role=next((ours for ours, theirs in roles if held.intersection(theirs)), "anyone"),
        clouds=tuple(settings.clouds),
        tenants=_tenants_of(owner, settings),
        until=owner.until,
        holds=settings.cache_seconds,
    )


def _tenants_of(owner: TokenOwner, settings: KeystoneSettings) -> tuple[str, ...] | None:
    """Return the tenants that a token's scope shows; None where it shows all."""
    project = owner.project
    if project is None:
        return None if owner.is_system else ()
    return None if _shows_all(project, settings.all_tenants_projects) else (project.id,)


def _shows_all(project: Project, named: Iterable[str]) -> bool:
    """Return whether a project is among those that are named, by ``name@domain`` or by its id.

    What follows the last @ is the domain: who may choose a project's name chooses no other domain.
    """
    for each in named:
        name, at, domain = each.rpartition("@")
        if (project.name, project.domain.name) == (name, domain) if at else project.id == each:
            return True
    return False
