"""The secret by which the workers know each other."""

from collections.abc import Callable

from vimfed.settings import WebAuthSettings
from web.auth import passwords
from web.auth.backends.login import Attempt, Login
from web.auth.caller import PEER


class PeerLogin(Login):
    """``web.auth.peer_secret``, as a bearer token. No challenge and no document tells of it."""

    scheme = "bearer"

    def __init__(self, auth: WebAuthSettings) -> None:
        self._secret = auth.peer_secret

    async def attempt(self, given: str, may_guess: Callable[[str], None]) -> Attempt:
        """Compare with the secret."""
        is_peer = bool(self._secret) and passwords.same(given, self._secret.reveal())
        return Attempt("a bearer token", PEER if is_peer else None)


def peer_headers(auth: WebAuthSettings) -> dict[str, str]:
    """Return the headers by which other workers know this one."""
    return {"Authorization": f"Bearer {auth.peer_secret.reveal()}"} if auth.peer_secret else {}
