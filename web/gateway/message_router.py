"""DMaaP Message Router's REST protocol: bodies, errors, authentication, and our filter.

The protocol is that of ONAP's archived Message Router; `filter`, which did nothing there, works.
"""

import base64
import codecs
import fnmatch
import gzip
import hashlib
import hmac
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from io import BytesIO
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from vimfed.model.decoding import UNREADABLE, decoded
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import GatewayUser
from web.auth import passwords

MAX_BODY = 64_000_000
"""Bytes of a POST, also of what it is unpacked to."""
MAX_FILTER_DEPTH = 50
"""Filters within filters."""
DATE_TOLERANCE = 600.0
"""Seconds that a signed request's date may be off."""
MAX_MESSAGES = 20_000
"""Messages of a POST: a few kilobytes could unpack to millions that are empty."""


class MessageRouterError(Exception):
    """An error as the Message Router tells it."""

    def __init__(
        self, status: int, code: int, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {
            "mrstatus": code,
            "helpURL": "http://onap.readthedocs.io",
            "message": message,
            "status": status,
        }


class Posted(NamedTuple):
    """One message of a POST."""

    key: bytes | None
    value: bytes


def parse_body(content_type: str, body: bytes, partition_key: str | None) -> list[Posted]:
    """Return the messages of a POST. Raises MessageRouterError."""
    default = partition_key.encode() if partition_key else None
    media_type = content_type.partition(";")[0].strip().lower()
    parse = _PARSERS.get(media_type, _raw)
    try:
        messages = parse(body, default)
    except _TooManyMessagesError:
        text = f"a body has at most {MAX_MESSAGES} messages"
        raise MessageRouterError(413, 5004, text) from None
    except (
        ValueError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        text = (
            f"Successfully published number of messages :0. The body is not {media_type}: {error}"
        )
        raise MessageRouterError(400, 5007, text) from None
    if any(len(message.key or b"") + len(message.value) > MAX_RECORD_BYTES for message in messages):
        raise MessageRouterError(413, 5004, f"a message has more than {MAX_RECORD_BYTES} bytes")
    return messages


class _TooManyMessagesError(Exception):
    """A body with more messages than one may have."""


_space = re.compile(rb"\s*").match
_line = re.compile(rb"[^\r\n]+")


def _cambria(body: bytes, default: bytes | None) -> list[Posted]:
    messages: list[Posted] = []
    at = _end_of_space(body, 0)
    while at < len(body):
        if len(messages) == MAX_MESSAGES:
            raise _TooManyMessagesError
        first = body.index(b".", at)
        second = body.index(b".", first + 1)
        key_end = second + 1 + int(body[at:first])
        end = key_end + int(body[first + 1 : second])
        if not second < key_end <= end <= len(body):
            raise ValueError("a length points beyond the end")
        messages.append(Posted(body[second + 1 : key_end] or default, body[key_end:end]))
        at = _end_of_space(body, end)
    return messages


def _end_of_space(body: bytes, at: int) -> int:
    found = _space(body, at)
    return at if found is None else found.end()


def _cambria_zip(body: bytes, default: bytes | None) -> list[Posted]:
    with gzip.GzipFile(fileobj=BytesIO(body)) as packed:
        unpacked = packed.read(MAX_BODY + 1)
    if len(unpacked) > MAX_BODY:
        raise MessageRouterError(413, 5004, f"the body unpacks to more than {MAX_BODY} bytes")
    return _cambria(unpacked, default)


def _json(body: bytes, default: bytes | None) -> list[Posted]:
    value = decoded(msgspec.json.decode, body.removeprefix(codecs.BOM_UTF8))
    values = value if isinstance(value, list) else [value]
    if len(values) > MAX_MESSAGES:
        raise _TooManyMessagesError
    messages = []
    for each in values:
        told = each.get("cambria.partition") if isinstance(each, dict) else None
        key = str(told).encode() if told is not None else default
        messages.append(Posted(key, msgspec.json.encode(each)))
    return messages


def _lines(body: bytes, default: bytes | None) -> list[Posted]:
    lines = [found.group() for found in islice(_line.finditer(body), MAX_MESSAGES + 1)]
    if len(lines) > MAX_MESSAGES:
        raise _TooManyMessagesError
    return [Posted(default, line) for line in lines]


def _raw(body: bytes, default: bytes | None) -> list[Posted]:
    return [Posted(default, body)]


_PARSERS: dict[str, Callable[[bytes, bytes | None], list[Posted]]] = {
    "application/cambria": _cambria,
    "application/cambria-zip": _cambria_zip,
    "application/json": _json,
    "text/plain": _lines,
}


def authorize(
    users: Sequence[GatewayUser],
    topic: str,
    headers: Mapping[str, str],
    *,
    publish: bool,
    open_topics: Sequence[str] = (),
) -> None:
    """Raise MessageRouterError unless the request may publish to, or subscribe, ``topic``.

    Without users everything is open, and with them what ``open_topics`` names.
    """
    if not users or is_listed(topic, open_topics):
        return
    user = authenticated(users, headers)
    topics = () if user is None else user.publish if publish else user.subscribe
    if not is_listed(topic, topics):
        what, code = ("publish", 5009) if publish else ("subscribe", 5008)
        raise MessageRouterError(401, code, f"{what} on {topic} is denied")


def is_listed(topic: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the patterns names a topic."""
    return any(fnmatch.fnmatchcase(topic, pattern) for pattern in patterns)


def claimed_name(headers: Mapping[str, str]) -> str | None:
    """Return the name in a request's login; None: it has none, or one that is too old to be one."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
        except ValueError:
            return ""
    name, colon, _ = headers.get("X-CambriaAuth", "").partition(":")
    return name if colon and _is_fresh(headers.get("X-CambriaDate", "")) else None


def authenticated(users: Sequence[GatewayUser], headers: Mapping[str, str]) -> GatewayUser | None:
    """Return who signed the request: Basic, or X-CambriaAuth with its X-CambriaDate."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, given = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor, in it, UTF-8
            return None
        user = next((user for user in users if user.name == name), None)
        return (
            user
            if user and user.password and passwords.same(given, user.password.reveal())
            else None
        )
    name, _, given = headers.get("X-CambriaAuth", "").partition(":")
    date = headers.get("X-CambriaDate", "")
    user = next((user for user in users if user.name == name), None)
    if user is None or not user.password or not _is_fresh(date):
        return None
    # The protocol's own choice; as an HMAC, SHA-1 still holds.
    signed = date.encode(errors="surrogateescape")
    digest = hmac.new(user.password.reveal().encode(), signed, hashlib.sha1).digest()
    return user if passwords.same(given, base64.b64encode(digest).decode()) else None


def _is_fresh(date: str) -> bool:
    try:
        told = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return False
    return abs(told - time.time()) < DATE_TOLERANCE


def parse_filter(text: str | None) -> Callable[[bytes], bool]:
    """Return what the parameter ``filter`` lets pass: JSON in the manner of ONAP's Highland Park.

    ``{"class": "Equals", "field": "vim_event.kind", "value": "DELETE"}``, ``OneOf`` with
    ``values``, ``And`` and ``Or`` with ``filters``, ``Not`` with ``filter``. Raises
    MessageRouterError.
    """
    if not text:
        return lambda _message: True
    try:
        test = _test(decoded(msgspec.json.decode, text))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise MessageRouterError(400, 5007, f"filter is not understood: {error!r}") from None

    def passes(message: bytes) -> bool:
        try:
            return test(msgspec.json.decode(message))
        except UNREADABLE:
            return False

    return passes


def _test(spec: Any, depth: int = 0) -> Callable[[Any], bool]:
    if depth > MAX_FILTER_DEPTH:
        raise ValueError("nested too deeply")
    match spec["class"]:
        case "Equals":
            path, value = spec["field"].split("."), spec["value"]
            return lambda message: bool(_field(message, path) == value)
        case "OneOf":
            path, values = spec["field"].split("."), list(spec["values"])
            return lambda message: _field(message, path) in values
        case "And":
            tests = [_test(each, depth + 1) for each in spec["filters"]]
            return lambda message: all(test(message) for test in tests)
        case "Or":
            tests = [_test(each, depth + 1) for each in spec["filters"]]
            return lambda message: any(test(message) for test in tests)
        case "Not":
            inner = _test(spec["filter"], depth + 1)
            return lambda message: not inner(message)
    raise KeyError(spec["class"])


def _field(message: Any, path: Sequence[str]) -> Any:
    for name in path:
        message = message.get(name) if isinstance(message, dict) else None
    return message
