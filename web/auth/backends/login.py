"""The shape of a way to log in."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol

from vimfed.settings import WebAuthSettings, WebUser
from web.auth.caller import Caller

REALM = 'realm="vim-event-federation"'


class Attempt(NamedTuple):
    """What becomes of an attempt to log in."""

    who: str
    """Who tries, for the log; never what was given."""
    caller: Caller | None
    """None where the login is not accepted. It says how long it holds."""
    account: str = ""
    """The name at which a guess was made; empty: what was given cannot be guessed."""


class Login(Protocol):
    """A way to log in. One that the settings do not ask for accepts nothing."""

    header: ClassVar[str] = "Authorization"
    """The request header that it reads."""
    scheme: ClassVar[str] = ""
    """The scheme before what is given, in lower case; empty: the whole header is given."""
    openapi: ClassVar[Mapping[str, Any]] = {}
    """The OpenAPI document's security scheme, by its name; empty: not told."""
    challenge: str = ""
    """Its part of WWW-Authenticate (RFC 9110, 11.6.1); empty: not told, or not asked for."""

    def __init__(self, auth: WebAuthSettings) -> None: ...

    def connected(self) -> AbstractAsyncContextManager[Any]:
        """Return what is open while the server runs: connections to others."""
        return nullcontext()

    async def attempt(self, given: str, may_guess: Callable[[str], None]) -> Attempt:
        """Return whose login ``given`` is.

        One whose secrets can be guessed calls ``may_guess`` with the account's name before it looks
        at what was given: it raises ApiError (429). Raises UnavailableError where it cannot tell.
        """
        raise NotImplementedError


def given_to(login: type[Login] | Login, header: str, value: str) -> str | None:
    """Return what a request header gives to a way to log in; None where it is for another."""
    if header != login.header:
        return None
    if not login.scheme:
        return value
    scheme, _, given = value.partition(" ")
    return given.strip() if scheme.lower() == login.scheme else None


def caller_for(user: WebUser) -> Caller:
    """Return what a user of the settings may."""
    return Caller(
        name=user.name,
        role=user.role,
        clouds=tuple(user.clouds),
        tenants=tuple(user.tenants) or None,
    )
