"""The signature that ceilometer gives each sample: HMAC-SHA256 under its telemetry_secret.

It is over names and values of the sample as Python spells them (``None``, ``True``, ``1.5``), in
the order of the names; an object's are those of what is in it, behind its own name and a colon, and
one that is empty is left out. A list is spelled with its texts as bytes, ``[b'a']``, and the
objects in it by the order of their names. Numbers are spelled as the sender's Python spells them:
JSON keeps what is needed for that.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Any

_OWN = "message_signature"


def is_signed(sample: Mapping[str, Any], secret: bytes) -> bool:
    """Return whether a decoded sample bears the signature that the secret gives it."""
    told = sample.get(_OWN)
    if not isinstance(told, str):
        return False
    return hmac.compare_digest(told.encode(), signature_of(sample, secret).encode())


def signature_of(sample: Mapping[str, Any], secret: bytes) -> str:
    """Return the signature of a decoded sample, in hexadecimal digits."""
    digest = hmac.new(secret, digestmod=hashlib.sha256)
    for name, value in _flat(sample):
        if name != _OWN:
            digest.update(f"{name}{value}".encode())
    return digest.hexdigest()


def _flat(sample: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(sample.items(), key=lambda item: item[0]):
        if isinstance(value, dict):
            yield from ((f"{name}:{inner}", each) for inner, each in _flat(value))
        else:
            yield name, _spelled(value) if isinstance(value, list) else value


def _spelled(value: Any) -> Any:
    """Return a list, or what is in it, so that ``str`` spells it as it is signed."""
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    if isinstance(value, dict):
        return {_spelled(name): _spelled(value[name]) for name in sorted(value)}
    return value.encode() if isinstance(value, str) else value
