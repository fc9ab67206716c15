"""Passwords as hashes: scrypt (RFC 7914), as ``vimfed hash-password`` prints them.

A hash is a PHC string, which carries its cost: ``$scrypt$ln=17,r=8,p=1$SALT$HASH``, salt and hash
in base64 without padding. Release 0.1.0 wrote ``scrypt$SALT$HASH``, in base64url, at one cost.
"""

import hashlib
import hmac
import os
import re
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Collection
from typing import NamedTuple

_PHC = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})",
    re.ASCII,
)
_OLD = re.compile(r"scrypt\$([\w-]{22}==)\$([\w-]{86}==)", re.ASCII)
_OTHERS = ("$scrypt$", "$argon2", "$2a$", "$2b$", "$2y$", "$pbkdf2")
"""How hashes begin that are no password which somebody chose."""
MAX_MEMORY = 512 * 1024 * 1024
"""Bytes that a check may take."""
MAX_WORK = 2**25
"""2^ln * r * p of a hash at most: some ten seconds."""


class Cost(NamedTuple):
    """What scrypt takes: 2^ln * r * 128 bytes, and p times as long."""

    ln: int
    r: int
    p: int

    @property
    def work(self) -> int:
        """What the time is proportional to."""
        return (1 << self.ln) * self.r * self.p


COST = Cost(17, 8, 1)
"""OWASP's of 2025 for scrypt: 128 MB and 0.3 s to 0.5 s for each check."""
OLD_COST = Cost(14, 8, 1)


class Hash(NamedTuple):
    """A password's hash."""

    cost: Cost
    salt: bytes
    digest: bytes


def hash_password(password: str, cost: Cost = COST) -> str:
    """Return the PHC string of a password."""
    salt = os.urandom(16)
    digest = _digest(password, salt, cost, 32)
    parts = (b64encode(part).decode().rstrip("=") for part in (salt, digest))
    return "$".join(["", "scrypt", f"ln={cost.ln},r={cost.r},p={cost.p}", *parts])


def hash_in(password: str) -> Hash | None:
    """Return the hash that a setting is; None where it is a password itself.

    Raises ValueError where it looks like a hash and is none that can be checked.
    """
    old = _OLD.fullmatch(password)
    if old is not None:
        return Hash(OLD_COST, *map(urlsafe_b64decode, old.groups()))
    found = _PHC.fullmatch(password)
    if found is not None:
        ln, r, p, salt, digest = found.groups()
        cost = Cost(int(ln), int(r), int(p))
        if min(cost) < 1 or cost.work > MAX_WORK or 2**cost.ln * cost.r * 128 > MAX_MEMORY // 2:
            raise ValueError(f"costs ln={ln},r={r},p={p}, which is none or too much")
        return Hash(cost, _unpadded(salt), _unpadded(digest))
    if password.startswith(_OTHERS):
        raise ValueError("begins as a hash, and is none that vimfed hash-password makes")
    return None


def is_hash(password: str) -> bool:
    """Return whether a setting is a password's hash, or looks like one."""
    try:
        return hash_in(password) is not None
    except ValueError:
        return True


def matches(given: str, password: str, costs: Collection[Cost] = ()) -> bool:
    """Return whether ``given`` is the password, itself or as its hash; in constant time.

    ``costs`` are those of all hashes: whose hash has one of them takes as long as anybody else.
    """
    wanted = hash_in(password)
    for cost in set(costs) - {wanted.cost if wanted else None}:
        _digest(given, bytes(16), cost, 32)
    if wanted is None:
        return same(given, password)
    found = _digest(given, wanted.salt, wanted.cost, len(wanted.digest))
    return hmac.compare_digest(found, wanted.digest)


def same(given: str, secret: str) -> bool:
    """Return whether two secrets are the same; the time tells nothing, not even a length."""
    return hmac.compare_digest(_sha256(given), _sha256(secret))


def _digest(password: str, salt: bytes, cost: Cost, length: int) -> bytes:
    return hashlib.scrypt(
        password.encode(errors="surrogateescape"),
        salt=salt,
        n=2**cost.ln,
        r=cost.r,
        p=cost.p,
        maxmem=MAX_MEMORY,
        dklen=length,
    )


def _unpadded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
