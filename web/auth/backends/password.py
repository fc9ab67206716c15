"""Passwords of the settings' users, or their hashes: Basic (RFC 7617)."""

import asyncio
import base64
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from vimfed.settings import WebAuthSettings
from web.auth import passwords
from web.auth.backends.login import REALM, Attempt, Login, caller_for
from web.http.errors import UnavailableError

MAX_HASHING = 16
"""Passwords that wait to be compared with a hash, one after the other."""


class PasswordLogin(Login):
    """``[[web.auth.users]]`` with a password."""

    scheme = "basic"
    openapi: ClassVar[Mapping[str, Any]] = {"basic": {"type": "http", "scheme": "basic"}}

    def __init__(self, auth: WebAuthSettings) -> None:
        self._users = {user.name: user for user in auth.users if user.password}
        self._passwords = _alike(
            {"": os.urandom(16).hex()}
            | {name: one.password.reveal() for name, one in self._users.items()}
        )
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
        matches = await self._matches(password, self._passwords[name if user else ""], guess)
        if user is None:
            # An unknown name may be a password that was typed into the wrong field.
            return Attempt("an unknown user", None, name)
        return Attempt(f"user {name!r}", caller_for(user) if colon and matches else None, name)

    async def _matches(self, given: str, password: str, guess: Callable[[], None]) -> bool:
        if not passwords.is_hash(password):
            return passwords.matches(given, password)
        if self._waiting >= MAX_HASHING:
            raise UnavailableError("too many log in at once")
        self._waiting += 1
        try:
            async with self._hashing:
                guess()  # others may have failed while this one waited
                check = partial(passwords.matches, given, password)
                return await asyncio.get_running_loop().run_in_executor(None, check)
        finally:
            self._waiting -= 1


def _alike(given: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords such that it takes equally long to compare with any of them."""
    hashed = any(map(passwords.is_hash, given.values()))
    return {
        name: passwords.hash_password(password)
        if hashed and not passwords.is_hash(password)
        else password
        for name, password in given.items()
    }
