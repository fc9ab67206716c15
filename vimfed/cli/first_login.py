"""``vimfed first-login``: makes the secrets of a first login, where they are not there yet."""

import os
import secrets
from pathlib import Path

from vimfed.errors import OperatorError

FILES = ("password", "peer-secret")
"""Of the user, and of the workers (``web.auth.peer_secret_file``)."""
RANDOM_BYTES = 24
"""Of each secret, written as 32 characters."""


class FirstLoginError(OperatorError):
    """The secrets cannot be written where they should."""


def make(folder: Path) -> list[Path]:
    """Write a random secret into each of FILES that ``folder`` lacks; return those that were made.

    Nobody but the user who runs this may read them. Raises FirstLoginError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [folder / name for name in FILES if _make(folder / name)]
    except OSError as error:
        raise FirstLoginError(
            f"cannot write {error.filename}: {error.strerror}; name a folder that we may write"
        ) from None


def _make(path: Path) -> bool:
    """Write a secret and return True, or leave the one that is there. It is there whole or not."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
        file.write(secrets.token_urlsafe(RANDOM_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    finally:
        new.unlink()
    return True
