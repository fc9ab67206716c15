"""How the command line logs in to the workers of its own settings file."""

import base64
import ssl

from vimfed.process.tls import tls_context
from vimfed.settings import Tls, WebSettings
from web.auth import passwords

_ROLES = ("reader", "writer", "admin")


def login_headers(web: WebSettings) -> dict[str, str]:
    """Return the headers of the settings' user who may do least, of those who may see everything.

    The command line only reads, and every role may. They are for the workers alone.

    Empty where nobody has to log in, or a password is known as a hash alone.
    """
    users = [
        user
        for user in web.auth.users
        if not (user.clouds or user.tenants) and not passwords.is_hash(user.password.reveal())
    ]
    if not users:
        return {}
    user = min(users, key=lambda user: _ROLES.index(user.role))
    if user.token:
        return {"Authorization": f"Bearer {user.token.reveal()}"}
    encoded = base64.b64encode(f"{user.name}:{user.password.reveal()}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def client_context(web: WebSettings) -> ssl.SSLContext:
    """Return what the workers' certificates are checked with."""
    return tls_context(Tls(ca_file=web.ca_file))
