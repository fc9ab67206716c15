"""Who may use which topics of the gateway, and whose requests it takes at all."""

import contextlib
import hashlib
import hmac
import math
import os
import time
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vimfed.process.audit import Who
from vimfed.settings import Settings, SettingsError, is_loopback
from web.auth.caller import EVERYBODY
from web.auth.failed_logins import FailedLogins
from web.gateway.message_router import (
    MessageRouterError,
    authenticated,
    authorize,
    claimed_name,
    is_listed,
)
from web.http.audit import FAILED_LOGIN, WHO
from web.http.bounded_map import BoundedMap
from web.http.door import Door

PROBES = ("/healthz", "/readyz", "/metrics")
MAX_KNOWN = 1000
"""Logins that are remembered: others' failures do not hold them up."""


def refuse_open_gateway(settings: Settings) -> None:
    """Raise SettingsError where anybody could publish and read from another machine."""
    gateway = settings.gateway
    if gateway.users or gateway.allow_anonymous or is_loopback(gateway.host):
        return
    raise SettingsError(
        f"gateway.host = {gateway.host!r} lets everybody who reaches this machine publish and "
        "read: add [[gateway.users]], listen on 127.0.0.1, or set gateway.allow_anonymous = true "
        "where the network keeps strangers out"
    )


class GatewayAccess:
    """Decides about requests."""

    def __init__(self, settings: Settings) -> None:
        self._gateway = settings.gateway
        self.door = Door(settings.web.allowed_hosts, settings.web.trusted_proxies, by_address=True)
        self._failed = FailedLogins()
        self._known: BoundedMap[bytes, bool] = BoundedMap(MAX_KNOWN)
        self._key = os.urandom(32)

    @property
    def check(self) -> Middleware:
        """Return the middleware: foreign pages and borrowed names are answered 403.

        A GET of messages counts as a change: they are not given a second time.
        """

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[WHO] = Who(address=self.door.client_address(request))
            if request.path not in PROBES:
                reads = request.method in ("GET", "HEAD", "OPTIONS")
                changes = not reads or request.path.startswith("/events")
                self.door.refuse_foreign_page(request, changes=changes)
                self.door.refuse_borrowed_name(request)
            return await handler(request)

        return check

    def is_served(self, topic: str) -> bool:
        """Return whether the settings let a topic be served, made and listed."""
        return is_listed(topic, self._gateway.topics)

    def authorize(self, request: web.Request, topic: str, *, publish: bool) -> None:
        """Raise MessageRouterError unless the request may publish to, or subscribe, a topic."""
        self.look_at_login(request)
        self._authorize(request, topic, publish=publish)

    def _authorize(self, request: web.Request, topic: str, *, publish: bool) -> None:
        lists = self._gateway.open_publish if publish else self._gateway.open_subscribe
        users = self._gateway.users
        authorize(users, topic, request.headers, publish=publish, open_topics=lists)

    def may_see(self, request: web.Request, topic: str) -> bool:
        """Return whether the request may publish to, or subscribe, a topic."""
        for publish in (False, True):
            with contextlib.suppress(MessageRouterError):
                self._authorize(request, topic, publish=publish)
                return True
        return False

    def look_at_login(self, request: web.Request) -> None:
        """Note a login that is none. Raises MessageRouterError (429) while its guesser waits."""
        if not self._gateway.users:
            request[WHO] = request[WHO]._replace(login=EVERYBODY.name)
            return
        name = claimed_name(request.headers)
        if name is None:
            return
        fingerprint = self._fingerprint(
            [request.headers.get(each, "") for each in ("Authorization", "X-CambriaAuth")]
        )
        if self._known.get(fingerprint):
            request[WHO] = request[WHO]._replace(login=name)
            return
        address, now = request[WHO].address, time.monotonic()
        wait = math.ceil(self._failed.wait_to_guess(address, name, now))
        if wait:
            text = f"too many logins have failed: try again in {wait} s"
            raise MessageRouterError(429, 5012, text, {"Retry-After": str(wait)})
        if authenticated(self._gateway.users, request.headers) is None:
            self._failed.note(address, now, name)
            known = any(user.name == name for user in self._gateway.users)
            request[FAILED_LOGIN] = f"user {name!r}" if known else "an unknown user"
            return
        request[WHO] = request[WHO]._replace(login=name)
        if "Authorization" in request.headers:
            self._known[fingerprint] = True

    def _fingerprint(self, given: Sequence[str]) -> bytes:
        text = "\n".join(given).encode(errors="surrogateescape")
        return hmac.new(self._key, text, hashlib.sha256).digest()
