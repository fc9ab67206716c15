"""Signatures by the scheme of Standard Webhooks (standardwebhooks.com), version 1.0.0."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence


def signed_headers(
    keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the headers by which a receiver checks a request, with a signature by each key.

    ``timestamp``: of this attempt, in seconds since 1970.
    """
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if keys:
        content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
        headers["webhook-signature"] = " ".join(_signatures(keys, content))
    return headers


def _signatures(keys: Iterable[bytes], content: bytes) -> Iterable[str]:
    for key in keys:
        digest = hmac.digest(key, content, hashlib.sha256)
        yield f"v1,{base64.b64encode(digest).decode()}"
