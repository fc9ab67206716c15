"""A real Keystone as a child process: what the tests make in it, and the tokens that it gives."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import requests

from tests.real_keystone.environment import ENV, SERVER, prepared
from tests.support.waiting import eventually
from vimfed.local.child import Child

START_TIMEOUT = 90.0
PASSWORD = "secret"
"""Of every user."""
SYSTEM = {"system": {"all": True}}
"""The scope that is everything."""


def of_project(project: str) -> dict[str, Any]:
    """Return the scope of a project, by its id."""
    return {"project": {"id": project}}


def of_domain(domain: str) -> dict[str, Any]:
    """Return the scope of a domain, by its id."""
    return {"domain": {"id": domain}}


class RealKeystone:
    """Keystone's service; ``with`` ends it. Everything is named by the ids that Keystone gives."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._folder = folder / "keystone"
        shutil.copytree(prepared(python), self._folder)
        self.child = Child(
            [str(python), str(SERVER), str(self._folder)],
            env=ENV,
            log=folder / "keystone.log",
            cwd=folder,
        )
        self._session = requests.Session()

    def __enter__(self) -> Self:
        self.child.spawn()
        try:
            address = self._folder / "address"
            eventually(lambda: address.exists() or not self.child.running, START_TIMEOUT)
            assert address.exists(), self.child.last_log_line()
            self.url = address.read_text()
            admin = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
            self._session.headers["X-Auth-Token"] = self._token(
                {"methods": ["password"], "password": {"user": admin}}, SYSTEM
            )
            listed = self._ask("GET", "/v3/roles")["roles"]
            self._roles = {each["name"]: each["id"] for each in listed}
        except BaseException:
            self.child.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._session.close()
        self.child.stop()

    def make_domain(self, name: str) -> str:
        """Return the id of a new domain."""
        return self._made("domain", name=name)

    def make_project(self, name: str, domain: str = "default") -> str:
        """Return the id of a new project."""
        return self._made("project", name=name, domain_id=domain)

    def make_user(self, name: str, domain: str = "default") -> str:
        """Return the id of a new user."""
        return self._made("user", name=name, domain_id=domain, password=PASSWORD)

    def make_role(self, name: str, domain: str) -> str:
        """Return the id of a new role of a domain's own."""
        return self._made("role", name=name, domain_id=domain)

    def grant(self, user: str, role: str, scope: Mapping[str, Any]) -> None:
        """Give a user a role, by its name or by its id, in a scope."""
        kind = next(iter(scope))
        place = "/v3/system" if kind == "system" else f"/v3/{kind}s/{scope[kind]['id']}"
        self._ask("PUT", f"{place}/users/{user}/roles/{self._roles.get(role, role)}")

    def disable(self, kind: str, name: str) -> None:
        """Disable a user or a project."""
        self._ask("PATCH", f"/v3/{kind}s/{name}", {kind: {"enabled": False}})

    def token(self, user: str, scope: Mapping[str, Any] | None = None) -> str:
        """Return a token of a user; without a scope, one that has none."""
        given = {"user": {"id": user, "password": PASSWORD}}
        return self._token({"methods": ["password"], "password": given}, scope)

    def short_token(self, user: str, scope: Mapping[str, Any], seconds: int) -> str:
        """Return a token that expires soon."""
        self._ask("POST", "/control", {"token_seconds": seconds})
        try:
            return self.token(user, scope)
        finally:
            self._ask("POST", "/control", {"token_seconds": 3600})

    def credential_token(self, user: str, project: str, **limits: Any) -> str:
        """Return a token of a new application credential of a user for a project."""
        wanted = {"application_credential": {"name": f"one of {len(limits)} limits", **limits}}
        owner = {"X-Auth-Token": self.token(user, of_project(project))}
        path = f"/v3/users/{user}/application_credentials"
        made = self._ask("POST", path, wanted, owner)["application_credential"]
        given = {"id": made["id"], "secret": made["secret"]}
        return self._token({"methods": ["application_credential"], "application_credential": given})

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        self._ask("DELETE", "/v3/auth/tokens", headers={"X-Subject-Token": token})

    def _token(self, identity: Mapping[str, Any], scope: Mapping[str, Any] | None = None) -> str:
        body = {"auth": {"identity": identity, **({"scope": scope} if scope else {})}}
        answer = requests.post(f"{self.url}/v3/auth/tokens", json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def _made(self, kind: str, **fields: Any) -> str:
        made: str = self._ask("POST", f"/v3/{kind}s", {kind: fields})[kind]["id"]
        return made

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        answer = self._session.request(
            method, self.url + path, json=body, headers=headers, timeout=30
        )
        assert answer.status_code < 300, (method, path, answer.text)
        return answer.json() if answer.content else None
