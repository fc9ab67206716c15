"""Values that settings pass on as one."""

from typing import NamedTuple


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
