"""Passwords of the settings' users, or their hashes: Basic (RFC 7617)."""

import asyncio
import base64
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from vimfed.settings import SettingsError, WebAuthSettings, WebUser
from web.auth import passwords
from web.auth.backends.login import REALM, Attempt, Login, caller_for
from web.http.errors import UnavailableError

LOG = logging.getLogger(__name__)

MAX_HASHING = 16
"""Passwords that wait to be compared with a hash, one after the other."""


_NOBODYS = os.urandom(16).hex()
"""Compared with what is given for a name that nobody has."""


class PasswordLogin(Login):
    """``[[web.auth.users]]`` with a password."""

    scheme = "basic"
    openapi: ClassVar[Mapping[str, Any]] = {"basic": {"type": "http", "scheme": "basic"}}

    def __init__(self, auth: WebAuthSettings) -> None:
        self._users = {user.name: user for user in auth.users if user.password}
        self._costs = frozenset(costs_of(self._users.values()))
        self._hashing = asyncio.Semaphore()
        self._waiting = 0
        self.challenge = f'Basic {REALM}, charset="UTF-8"' if self._users else ""

    async def attempt(self, given: str, may_guess: Callable[[str], None]) -> Attempt:
        """Compare with the password of the user that is named."""
        try:
            name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor, in it, UTF-8
            return Attempt("malformed credentials", None)
        guess = partial(may_guess, name)
        guess()
        user = self._users.get(name)
        # The answer to an unknown name takes as long as that to a known one.
        matches = await self._matches(password, user.password.reveal() if user else _NOBODYS, guess)
        if user is None:
            # An unknown name may be a password that was typed into the wrong field.
            return Attempt("an unknown user", None, name)
        return Attempt(f"user {name!r}", caller_for(user) if colon and matches else None, name)

    async def _matches(self, given: str, password: str, guess: Callable[[], None]) -> bool:
        if not self._costs:
            return passwords.same(given, password)
        if self._waiting >= MAX_HASHING:
            raise UnavailableError("too many log in at once")
        self._waiting += 1
        try:
            async with self._hashing:
                guess()  # others may have failed while this one waited
                check = partial(passwords.matches, given, password, self._costs)
                return await asyncio.get_running_loop().run_in_executor(None, check)
        finally:
            self._waiting -= 1


def costs_of(users: Iterable[WebUser]) -> Iterator[passwords.Cost]:
    """Yield the cost of each password that is a hash; warn of those that are cheap to guess.

    Raises SettingsError where one only looks like a hash.
    """
    for user in users:
        try:
            hashed = passwords.hash_in(user.password.reveal())
        except ValueError as error:
            raise SettingsError(f"web.auth.users: {user.name}: its password {error}") from None
        if hashed is None:
            continue
        if hashed.cost.work < passwords.COST.work:
            LOG.warning(
                "the hash of the password of user %r is cheaper to guess than one of today: make "
                "it anew by vimfed hash-password",
                user.name,
            )
        yield hashed.cost
