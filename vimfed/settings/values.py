"""Values that settings pass on as one."""

import base64
from typing import NamedTuple

_KEY_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
"""How long a key that signs webhooks may be, by Standard Webhooks."""


class Secret:
    """A text that nobody may read by accident: neither repr() nor str() nor a format shows it."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')" if self._text else "Secret('')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other.reveal()

    def __hash__(self) -> int:
        return hash(self._text)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class Login(NamedTuple):
    """Who logs in to a server, and by which password."""

    username: str
    password: Secret


def signing_key(secret: Secret) -> bytes:
    """Return the key of a secret ``whsec_...``, as Standard Webhooks writes them.

    Raises ValueError, which says what is right, and quotes nothing.
    """
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not text.startswith(_KEY_PREFIX) or len(key) not in _KEY_BYTES:
        raise ValueError(
            f"must be {_KEY_PREFIX} and the base64 of {_KEY_BYTES[0]} to {_KEY_BYTES[-1]} random "
            'bytes, such as: echo "whsec_$(openssl rand -base64 32)"'
        )
    return key
