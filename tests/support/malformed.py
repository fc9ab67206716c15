"""Requests as broken programs, scanners and attackers send them, made from a seed."""

import json
from collections.abc import Iterator
from random import Random
from typing import NamedTuple
from urllib.parse import quote

HOST = b"Host: 127.0.0.1\r\n"
JSON_PATHS = (
    b"POST /Owner_robustness/check_vim_status",
    b"POST /api/multicloud/v0/Owner_robustness/notifications",
    b"PUT /api/multicloud/v1/subscriptions/broken",
)
GET_PATHS = (
    b"/api/multicloud/v1/Owner/robustness/instances",
    b"/api/multicloud/v1/vims",
    b"/healthz",
)
REQUEST_LINES = (
    b"",
    b"GET",
    b"GET /",
    b"GET / HTTP/9.9",
    b"GET / HTTP/1.1 more",
    b"get / http/1.1",
    b"G\x00ET / HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET\t/\tHTTP/1.1",
    b"GET  /  HTTP/1.1",
    b"GET \xff\xfe HTTP/1.1",
    b"GET http:// HTTP/1.1",
    b"GET http://[::1 HTTP/1.1",
    b"GET //// HTTP/1.1",
    b"GET ?# HTTP/1.1",
    b"CONNECT worker:80 HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"TRACE / HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 64,
)
HEADERS = (
    b"no colon here",
    b": no name",
    b"Space : before the colon",
    b" folded",
    b"X-Nul: \x00",
    b"X-Cr: a\rb",
    b"X-Bytes: \xff\xfe\x80",
    b"N\xc3\xa4me: x",
    b"X(Y): separators",
    b"Host: second",
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 0x10",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: 1\r\nContent-Length: 2",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: \x0bchunked",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate",
    b"Content-Type: \x00",
    b"Content-Type: text/plain; charset=no-such",
    b"Expect: the-impossible",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings",
    b"Authorization: Basic \xff\xff",
    b"Authorization: Bearer",
    b'If-None-Match: "unterminated',
    b"Range: bytes=9-1",
    b"Last-Event-ID: \xff",
    b"Project: \xed\xa0\x80",
    b"Connection: close, keep-alive, \x01",
    b"Cookie: " + b"a=b; " * 500,
)
CHUNKED = (
    b"x\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"5\r\nhel",
    b"5\r\nhello0\r\n\r\n",
    b"5;" + b"x" * 10_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    b"5\r\nhello\r\n",
    b"\r\n\r\n",
    b"",
)
VALUES = (
    "null",
    "true",
    "[]",
    "{}",
    '""',
    "-1",
    "1e400",
    "9" * 5000,
    "-0.0",
    "NaN",
    "Infinity",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u0000"',
    '"\\x"',
    "[" * 20_000,
    '{"a":' * 20_000,
    "[" * 500 + "]" * 500,
    '[{"a": [{}]}]',
    '"' + "a" * 10_000 + '"',
    '["PAUSE", 1]',
    '["PAUSE"',
    "'single'",
    "// comment",
    "\ufeff{}",
)
FIELDS = {
    JSON_PATHS[0]: ("states", "instance_id", "tenant_id", "limit", "marker", "other"),
    JSON_PATHS[1]: (
        "instance_id",
        "state",
        "state_description",
        "timestamp",
        "message_id",
        "event_type",
        "payload",
        "oslo.message",
        "metadata",
        "vim_id",
    ),
    JSON_PATHS[2]: ("clouds", "kinds", "phases", "output", "format"),
}
QUERIES = (
    "state",
    "kind",
    "tenant_id",
    "host",
    "name",
    "changed_since",
    "sort",
    "order",
    "limit",
    "marker",
)
QUERY_VALUES = (
    "%00",
    "%ff%fe",
    "%",
    "%zz",
    "%ed%a0%80",
    "+",
    "-1",
    "9" * 400,
    "1e9",
    "2026-01-01T00:00:00+99:99",
    "9999-12-31T23:59:59.999999-23:59",
    "0000-00-00",
    "%0d%0aX-Injected:%201",
    "../../etc/passwd",
    "WyJjaGFuZ2VkX2F0IiwiZGVzYyIsWzEsMl1d",
    "bnVsbA==",
    "' OR 1=1 --",
    "<script>",
    "",
)


class Malformed(NamedTuple):
    """What is written into a connection."""

    sent: bytes
    is_whole: bool
    """Whether it is HTTP from beginning to end, so that there must be an answer."""


def malformed_requests(seed: int, count: int) -> Iterator[Malformed]:
    """Yield ``count`` requests."""
    random = Random(seed)
    whole = (_json, _bytes, _query)
    makers = (_line, _header, _chunked, _truncated, *whole)
    for number in range(count):
        maker = makers[number % len(makers)]
        yield Malformed(maker(random), maker in whole)


def request(head: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    """Return a request; ``head`` is method and path."""
    lines = b"".join(header + b"\r\n" for header in headers)
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return head + b" HTTP/1.1\r\n" + HOST + length + lines + b"\r\n" + body


def _line(random: Random) -> bytes:
    line = random.choice(REQUEST_LINES)
    if random.random() < 0.3:
        line = random.randbytes(random.randrange(1, 200))
    end = random.choice((b"\r\n", b"\n", b"\r", b""))
    return line + end + HOST + b"\r\n"


def _header(random: Random) -> bytes:
    chosen = random.sample(HEADERS, random.randrange(1, 4))
    if random.random() < 0.5:
        return request(b"GET " + random.choice(GET_PATHS), b"", *chosen)
    return request(random.choice(JSON_PATHS), b'{"states": ["PAUSE"]}', *chosen)


def _chunked(random: Random) -> bytes:
    head = request(random.choice(JSON_PATHS), b"", b"Transfer-Encoding: chunked")
    return head + random.choice(CHUNKED)


def _truncated(random: Random) -> bytes:
    whole = request(random.choice(JSON_PATHS), b'{"states": ["PAUSE"]}')
    return whole[: random.randrange(1, len(whole))]


def _json(random: Random) -> bytes:
    path = random.choice(JSON_PATHS)
    value = random.choice(VALUES)
    if random.random() < 0.3:
        return request(path, value.encode())
    good = {"states": ["PAUSE"]} if path == JSON_PATHS[0] else {}
    fields = [f"{json.dumps(name)}: {json.dumps(given)}" for name, given in good.items()]
    fields += [
        f"{json.dumps(name)}: {random.choice(VALUES)}"
        for name in random.sample(FIELDS[path], random.randrange(1, 4))
    ]
    body = "{" + ", ".join(fields) + "}"
    return request(path, f"[{body}]".encode() if random.random() < 0.3 else body.encode())


def _bytes(random: Random) -> bytes:
    body = bytearray(b'{"states": ["PAUSE"], "instance_id": "x", "state": "active"}')
    for _ in range(random.randrange(1, 6)):
        body[random.randrange(len(body))] = random.randrange(256)
    return request(random.choice(JSON_PATHS), bytes(body))


def _query(random: Random) -> bytes:
    names = random.choices(QUERIES, k=random.randrange(1, 4))
    parts = [f"{name}={random.choice(QUERY_VALUES)}" for name in names]
    query = "&".join(part if random.random() < 0.5 else quote(part, safe="=%") for part in parts)
    return request(b"GET " + GET_PATHS[0] + b"?" + query.replace(" ", "%20").encode())
