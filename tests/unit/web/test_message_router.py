"""The Message Router's protocol: whatever is sent is taken, or refused as it refuses."""

import base64
import gzip
import time
import tracemalloc
from email.utils import formatdate

import pytest

from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import GatewayUser, Secret
from web.gateway.message_router import (
    MAX_BODY,
    MessageRouterError,
    Posted,
    authorize,
    parse_body,
    parse_filter,
)

BOB = GatewayUser(name="bob", password=Secret("pässword"), subscribe=["secret"])


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_a_password_may_have_any_letters() -> None:
    authorize([BOB], "secret", basic("bob", "pässword"), publish=False)


NOW = formatdate(usegmt=True)


@pytest.mark.parametrize(
    "headers",
    [
        basic("bob", "password"),
        {"Authorization": "Basic é"},
        {"Authorization": "Basic \udcff"},
        basic("bob", "é"),
        basic("é", "é"),
        {"X-CambriaAuth": "bob:é", "X-CambriaDate": NOW},
        {"X-CambriaAuth": "bob:x", "X-CambriaDate": NOW + "\udcff"},
        {"X-CambriaAuth": "bob:x", "X-CambriaDate": "Mon, 01 Jan 99999999999 00:00:00 GMT"},
    ],
)
def test_a_login_of_whatever_bytes_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(MessageRouterError, match="subscribe on secret is denied") as refusal:
        authorize([BOB], "secret", headers, publish=False)
    assert refusal.value.status == 401


@pytest.mark.parametrize("message", [b'{"a": "\xff"}', b"[" * 100_000, b"no JSON", b""])
def test_a_message_that_is_not_understood_passes_no_filter(message: bytes) -> None:
    passes = parse_filter('{"class": "Equals", "field": "a", "value": null}')
    assert passes(b"{}")
    assert not passes(message)


@pytest.mark.parametrize(
    "text",
    ["x", "\udcff", "{}", '{"class": "Equals", "field": 1, "value": 1}', '{"class": "OneOf"}'],
)
def test_a_filter_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MessageRouterError, match="filter is not understood"):
        parse_filter(text)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"a": "\xff"}'),
        ("application/cambria", b"5.9.x"),
        ("application/cambria", b"1.1.kx-1.1.kx"),
        ("application/cambria", b"9" * 5000 + b".1.kx"),
        ("application/cambria-zip", b"no gzip"),
        pytest.param("application/cambria-zip", gzip.compress(b"1.1.kx", mtime=0)[:-4], id="cut"),
    ],
)
def test_a_body_that_is_not_understood_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(MessageRouterError, match="messages :0") as refusal:
        parse_body(content_type, body, None)
    assert refusal.value.status == 400


def test_a_packed_body_is_not_unpacked_beyond_what_a_body_may_have() -> None:
    bomb = gzip.compress(bytes(3 * MAX_BODY), compresslevel=1)
    tracemalloc.start()
    with pytest.raises(MessageRouterError, match="unpacks to more than"):
        parse_body("application/cambria-zip", bomb, None)
    assert tracemalloc.get_traced_memory()[1] < 2.5 * MAX_BODY
    tracemalloc.stop()
    twice = gzip.compress(b"1.1.kx") + gzip.compress(b"1.1.ky")
    assert parse_body("application/cambria-zip", twice, None) == [
        Posted(b"k", b"x"),
        Posted(b"k", b"y"),
    ]


def test_a_message_is_as_large_as_a_record_may_be_its_key_included() -> None:
    def posted(key: int, value: int) -> list[Posted]:
        frame = b"%d.%d.%b" % (key, value, bytes(key + value))
        return parse_body("application/cambria", frame, None)

    assert len(posted(500_000, MAX_RECORD_BYTES - 500_000)) == 1
    with pytest.raises(MessageRouterError, match="more than 1000000 bytes"):
        posted(500_001, MAX_RECORD_BYTES - 500_000)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/cambria-zip", gzip.compress(b"0.0." * (MAX_BODY // 4), compresslevel=1)),
        ("application/cambria", b"0.0." * (MAX_BODY // 4)),
        ("application/json", b"[" + b"0," * (MAX_BODY // 8) + b"0]"),
        ("text/plain", b"x\n" * (MAX_BODY // 2)),
    ],
    ids=["zip", "frames", "json", "lines"],
)
def test_a_body_of_millions_of_messages_is_refused_at_once(content_type: str, body: bytes) -> None:
    began = time.thread_time()
    with pytest.raises(MessageRouterError, match="at most") as refusal:
        parse_body(content_type, body, None)
    assert refusal.value.status == 413
    assert time.thread_time() - began < 3


def test_a_body_of_nothing_but_spaces_is_read_at_once() -> None:
    began = time.thread_time()
    assert parse_body("application/cambria", b" " * MAX_BODY, None) == []
    assert time.thread_time() - began < 2


def test_a_filter_that_is_nested_too_deeply_is_refused_and_holds_nothing_back() -> None:
    def nested(depth: int) -> str:
        inner = '{"class": "Equals", "field": "a", "value": 1}'
        return '{"class": "Not", "filter": ' * depth + inner + "}" * depth

    assert parse_filter(nested(50))(b'{"a": 1}')
    for depth in (51, 400, 100_000):
        with pytest.raises(MessageRouterError, match="filter is not understood"):
            parse_filter(nested(depth))
