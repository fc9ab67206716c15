"""A stand-in for OpenStack's Keystone: token validation of its Identity API v3, and its failures.

Written from the documented behaviour: 200 with the token, 404 where the subject is none, has
expired or was revoked, 401 where the asker's own token is not valid, 201 for a login by password.
"""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from aiohttp import web

ACCOUNT = ("vimfed", "the account's password")


class Keystone:
    """The stand-in; ``async with`` it runs. ``answer`` replaces what it would answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/identity"
        self.tokens: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        """The subjects that were asked about."""
        self.answer: int | None = None
        """A status that is answered instead; 0: nothing ever is."""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/identity/v3/auth/tokens", self._validate)
        app.router.add_post("/identity/v3/auth/tokens", self._log_in)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._runner.cleanup()

    def give(
        self,
        user: str,
        *roles: str,
        seconds: float = 3600,
        project: str = "",
        name: str = "demo",
        domain: str = "Default",
        system: bool = False,
    ) -> str:
        """Return a new token of a user; without roles, one without a scope.

        ``project`` is an id, by default of a project of the token's own, ``name`` and ``domain``
        are its name and its domain's; with ``system``, the scope is the system.
        """
        token = f"gAAAAA{uuid.uuid4().hex}"
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        self.tokens[token] = {
            "user": {"name": user, "id": uuid.uuid4().hex, "domain": {"name": "Default"}},
            "expires_at": until.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "issued_at": "2026-01-01T12:00:00.000000Z",
            "methods": ["password"],
        }
        if roles:  # one without a scope has none
            given = [{"id": uuid.uuid4().hex, "name": role} for role in roles]
            self.tokens[token]["roles"] = given
            self.tokens[token] |= (
                {"system": {"all": True}}
                if system
                else {
                    "project": {
                        "id": project or uuid.uuid4().hex,
                        "name": name,
                        "domain": {"name": domain},
                    }
                }
            )
        return token

    def revoke(self, token: str) -> None:
        """Make a token none."""
        del self.tokens[token]

    def _is_valid(self, token: str) -> bool:
        held = self.tokens.get(token)
        return held is not None and datetime.fromisoformat(held["expires_at"]) > datetime.now(UTC)

    async def _validate(self, request: web.Request) -> web.Response:
        subject = request.headers.get("X-Subject-Token", "")
        self.asked.append(subject)
        if self.answer == 0:
            await asyncio.sleep(3600)
        if self.answer is not None:
            return web.Response(status=self.answer, text="not JSON")
        if not self._is_valid(request.headers.get("X-Auth-Token", "")):
            return web.json_response({"error": {"code": 401, "title": "Unauthorized"}}, status=401)
        if not self._is_valid(subject):
            return web.json_response({"error": {"code": 404, "title": "Not Found"}}, status=404)
        return web.json_response(
            {"token": self.tokens[subject]}, headers={"X-Subject-Token": subject}
        )

    async def _log_in(self, request: web.Request) -> web.Response:
        identity = (await request.json())["auth"]["identity"]
        user = identity["password"]["user"]
        if identity["methods"] != ["password"] or (user["name"], user["password"]) != ACCOUNT:
            return web.json_response({"error": {"code": 401}}, status=401)
        token = self.give(user["name"], "service")
        return web.json_response(
            {"token": self.tokens[token]}, status=201, headers={"X-Subject-Token": token}
        )
