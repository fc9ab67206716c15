"""How the command line logs in, with secrets of the settings or of files, not of arguments.

Everybody on a machine may read the arguments of every process, and a shell keeps them.
"""

import base64
import re
import ssl

from vimfed.errors import UsageError
from vimfed.process.tls import tls_context
from vimfed.settings import Tls, WebSettings, read_secret
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
        return _bearer(user.token.reveal())
    return _basic(f"{user.name}:{user.password.reveal()}")


def headers_of_file(path: str) -> dict[str, str]:
    """Return the headers of the login in a file, ``USER:PASSWORD`` or a token.

    Raises SettingsError where it cannot be read.
    """
    login = read_secret(path)
    return _basic(login) if ":" in login else _bearer(login)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _basic(login: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def refuse_secret_argument(option: str, url: str, instead: str) -> None:
    """Raise UsageError where a URL that is given as an argument has a password."""
    if re.search(r"//[^/]*:[^/]*@", url):
        raise UsageError(
            f"{option}: everybody on this machine can read the password in an argument: {instead}"
        )


def client_context(web: WebSettings) -> ssl.SSLContext:
    """Return what the workers' certificates are checked with."""
    return tls_context(Tls(ca_file=web.ca_file))
