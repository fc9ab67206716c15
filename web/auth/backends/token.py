"""Bearer tokens of the settings' users."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vimfed.settings import WebAuthSettings
from web.auth import passwords
from web.auth.backends.login import REALM, Attempt, Login, caller_for

CHALLENGE = f"Bearer {REALM}"


class TokenLogin(Login):
    """``[[web.auth.users]]`` with a token."""

    scheme = "bearer"
    openapi: ClassVar[Mapping[str, Any]] = {"bearer": {"type": "http", "scheme": "bearer"}}

    def __init__(self, auth: WebAuthSettings) -> None:
        self._users = [user for user in auth.users if user.token]
        self.challenge = CHALLENGE if self._users else ""

    async def attempt(self, given: str, may_guess: Callable[[str], None]) -> Attempt:
        """Compare with each token, whichever it is: time tells nothing."""
        found = None
        for user in self._users:
            if passwords.same(given, user.token.reveal()):
                found = caller_for(user)
        return Attempt("a bearer token", found)
