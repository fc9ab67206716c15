"""The table of the ways to log in. A further one is a module beside this one, and a line here."""

from collections.abc import Iterable
from typing import Any

from web.auth.backends.keystone import KeystoneLogin
from web.auth.backends.login import Login
from web.auth.backends.password import PasswordLogin
from web.auth.backends.token import CHALLENGE, TokenLogin

LOGINS: tuple[type[Login], ...] = (PasswordLogin, TokenLogin, KeystoneLogin)
"""In the order in which they are asked, and told."""
HEADERS = tuple(dict.fromkeys(login.header for login in LOGINS))
"""The request headers that they read; of several that a request has, the first one decides."""


def security_schemes() -> dict[str, Any]:
    """Return the security schemes of the OpenAPI document, by name."""
    return {name: told for login in LOGINS for name, told in login.openapi.items()}


def challenges(logins: Iterable[Login]) -> str:
    """Return what WWW-Authenticate says: the ways to log in, a bearer token where none is told."""
    return ", ".join(each.challenge for each in logins if each.challenge) or CHALLENGE
