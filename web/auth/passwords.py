"""Passwords as hashes: scrypt (RFC 7914), as ``vimfed hash-password`` prints them."""

import hashlib
import hmac
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_HASH = re.compile(r"scrypt\$[\w-]{22}==\$[\w-]{86}==", re.ASCII)
N, R, P = 2**14, 8, 1
"""16 MB and about 50 ms for each check."""


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return ``scrypt$SALT$HASH``, both in base64."""
    salt = os.urandom(16) if salt is None else salt
    digest = hashlib.scrypt(password.encode(errors="surrogateescape"), salt=salt, n=N, r=R, p=P)
    return "$".join(["scrypt", *(urlsafe_b64encode(part).decode() for part in (salt, digest))])


def is_hash(password: str) -> bool:
    """Return whether a setting is a password's hash."""
    return _HASH.fullmatch(password) is not None


def matches(given: str, password: str) -> bool:
    """Return whether ``given`` is the password, itself or as its hash; in constant time."""
    if is_hash(password):
        given = hash_password(given, urlsafe_b64decode(password.split("$")[1]))
    return same(given, password)


def same(given: str, secret: str) -> bool:
    """Return whether two secrets are the same; the time tells nothing, not even a length."""
    return hmac.compare_digest(_digest(given), _digest(secret))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
