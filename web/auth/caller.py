"""Who calls: what a login makes of a request, and what routes ask."""

import fnmatch
import math
from collections.abc import Sequence

import msgspec
from aiohttp import web

from vimfed.model.projects import is_project_id
from web.http.routes import Role


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls."""

    name: str
    role: Role
    clouds: tuple[str, ...] = ()
    """Patterns of the vim_ids that it may see; empty: all."""
    tenants: tuple[str, ...] | None = None
    """Ids of the tenants whose instances alone it may see; None: all, unknown ones among them."""
    until: float = math.inf
    """When the login ends, in seconds since 1970."""
    holds: float = math.inf
    """Seconds for which a login's word on it holds; then the login is asked again."""

    @property
    def project(self) -> str:
        """The project that it acts for; empty where that is none, or not a single one."""
        if self.tenants is None or len(self.tenants) != 1 or not is_project_id(self.tenants[0]):
            return ""
        return self.tenants[0]

    def may_see(self, vim_id: str) -> bool:
        """Return whether it may see a cloud, and what is in it."""
        return not self.clouds or any(
            fnmatch.fnmatchcase(vim_id, pattern) for pattern in self.clouds
        )

    def may_see_all(self, vim_ids: Sequence[str]) -> bool:
        """Return whether it may see all of these clouds; none means every cloud there is."""
        if not self.clouds or "*" in self.clouds:
            return True
        return bool(vim_ids) and all(map(self.may_see, vim_ids))

    def may_see_tenants(self, tenant_ids: Sequence[str]) -> bool:
        """Return whether it may see all of these tenants; none means every tenant there is."""
        return self.tenants is None or (
            bool(tenant_ids) and all(each in self.tenants for each in tenant_ids)
        )


CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""Of a request: who calls."""
CLIENT: web.RequestKey[str] = web.RequestKey("client", str)
"""Of a request: the address from which it comes, before proxies that are trusted."""
EVERYBODY = Caller(name="everybody", role="admin")
NOBODY = Caller(name="nobody", role="anyone")
PEER = Caller(name="peer", role="peer")
