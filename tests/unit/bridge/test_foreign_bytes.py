"""Whatever takes bytes of a cloud needs time in proportion to their number."""

import contextlib
import time
from collections.abc import Callable

import msgspec
import pytest

from bridge.forwarding import Arrival, UnusableBodyError, UnusedNotificationError, forwarded
from bridge.poller import nova_api
from bridge.poller.api_error import CloudApiError
from bridge.sampling import samples_of
from tests.support.ceilometer_messages import bare, counter
from tests.support.sections import vim_of
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.model.times import as_utc_text
from vimfed.nova import oslo
from vimfed.process.retry_after import retry_after
from vimfed.settings import KafkaSettings

KAFKA = KafkaSettings()
SIGNED = samples_of(
    KAFKA,
    vim_of({"cloud_owner": "o", "cloud_region_id": "r", "samples": {"telemetry_secret": "s"}}),
)
CAP = oslo.MAX_BODY_BYTES
LARGEST = 200_000
_MARK = b'"auth_token": '
"""Without such a word a body has nothing to be removed, and is not looked into."""
_OPEN = b'{"message_id": "m", "event_type": "e", "payload": {"auth_token": '


def _forward(body: bytes) -> None:
    with contextlib.suppress(UnusableBodyError):
        forwarded(KAFKA, body, Arrival("o_r", "p", 1, "2026-01-01"))


def _decode(body: bytes) -> None:
    with contextlib.suppress(oslo.NotANotificationError):
        oslo.decode(body)


def _api(decode: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def ask(body: bytes) -> None:
        with contextlib.suppress(CloudApiError):
            nova_api._decoded(decode, body)

    return ask


def _samples(body: bytes) -> None:
    with contextlib.suppress(UnusableBodyError, UnusedNotificationError):
        SIGNED.convert(body, Arrival("o_r", "p", 1, "2026-01-01"))


def _retry_after(body: bytes) -> None:
    retry_after(body.decode("latin-1"))


def _as_utc_text(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        as_utc_text(body.decode("latin-1"))


TAKERS: dict[str, Callable[[bytes], object]] = {
    "oslo.decode": _decode,
    "oslo.without_context": oslo.without_context,
    "oslo.instance_id_of": oslo.instance_id_of,
    "forwarded": _forward,
    "samples_of": _samples,
    "dead_letter_record": lambda body: dead_letter_record(KAFKA, body, "why", source="q"),
    "nova_api: servers": _api(nova_api._decode_servers),
    "nova_api: server": _api(nova_api._decode_server),
    "nova_api: actions": _api(nova_api._decode_actions),
    "nova_api: action": _api(nova_api._decode_action),
    "nova_api: fault": _api(nova_api._decode_fault),
    "retry_after": _retry_after,
    "as_utc_text": _as_utc_text,
}

SHAPES: dict[str, Callable[[int], bytes]] = {
    "keys of a context": lambda n: b'{"a":NaN,"b":"' + b"_context" * (n // 8) + b'"}',
    "words": lambda n: _MARK + b"a" * n,
    "a key without an end": lambda n: _MARK + b"_context_" + b"a" * n,
    "opened texts": lambda n: b'"auth_token":"' * (n // 14),
    "escaped texts": lambda n: b'\\"auth_token\\":\\"' * (n // 18),
    "growing escapes": lambda n: b"".join(
        b'a_context%b":"' % (b"\\" * k) for k in range(int((2 * n) ** 0.5))
    ),
    "backslashes": lambda n: b'"_context' + b"\\" * n,
    "a text of backslashes": lambda n: b'"auth_token":"' + b"\\" * n,
    "escaped quotes": lambda n: b'"auth_token":"' + b'\\"' * (n // 2),
    "spaces": lambda n: b'"auth_token"' + b" " * n,
    "words and spaces": lambda n: b'auth_token"' + b'_context"   :  ' * (n // 15),
    "arrays": lambda n: _MARK + b"[" * n,
    "objects": lambda n: _OPEN + b'{"a":' * (n // 5),
    "a number": lambda n: _OPEN + b"1" * n + b"}}",
    "a fraction": lambda n: _OPEN + b"0." + b"1" * n + b"}}",
    "many keys": lambda n: _OPEN + b"{" + b",".join(b'"%d":1' % k for k in range(n // 9)) + b"}}}",
    "escapes": lambda n: _OPEN + b'"' + b"\\u0041" * (n // 6) + b'"}}',
    "an envelope": lambda n: msgspec.json.encode(
        {"oslo.version": "2.0", "oslo.message": (_OPEN + b'"' + b"x" * n + b'"}}').decode()}
    ),
    "servers": lambda n: b'{"servers":[' + b",".join([b'{"id":"a"}'] * (n // 11)) + b"]}",
    "samples": lambda n: bare(*[counter()] * (n // 900)),
    "a sample of many keys": lambda n: bare(
        counter() | {f"k{k}": {"a": k} for k in range(n // 18)}
    ),
    "a sample of lists": lambda n: bare(counter(x=[{"b": ["c"]}] * (n // 14))),
    "a number of a sample": lambda n: b'[{"a":NaN},{"counter_volume":' + b"1" * n + b"}]",
    "not numbers": lambda n: b"[" + b"NaN," * (n // 4) + b"1]",
    "digits of a time": lambda n: b"2026-01-01T00:00:00." + b"0" * n,
    "colons": lambda n: b"1:" * (n // 2),
}


def seconds(take: Callable[[bytes], object], body: bytes, runs: int) -> float:
    """Return the CPU time of the fastest of several calls."""
    taken = []
    for _ in range(runs):
        begun = time.process_time()
        take(body)
        taken.append(time.process_time() - begun)
    return min(taken)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("taker", TAKERS)
def test_twice_the_bytes_take_less_than_thrice_the_time(taker: str, shape: str) -> None:
    take, body = TAKERS[taker], SHAPES[shape]
    size = 16_000
    once, twice = body(size), body(2 * size)
    while seconds(take, once, 1) < 0.002 and size < LARGEST:
        size *= 4
        once, twice = body(size), body(2 * size)
    for runs in (3, 9, 27):
        # A tenth of a millisecond is the machine's, not the code's.
        ratio = (seconds(take, twice, runs) + 1e-4) / (seconds(take, once, runs) + 1e-4)
        if ratio < 3:
            return
    pytest.fail(f"{size} bytes and {2 * size}: {ratio:.1f} times the time")


def test_what_froze_the_bridge_for_half_a_minute_takes_no_time() -> None:
    body = b'{"a":NaN,"b":"' + b"_context" * 16_000 + b'"}'
    assert seconds(oslo.without_context, body, 1) < 0.5


def test_what_is_too_large_is_not_decoded() -> None:
    body = b'{"message_id": "m", "event_type": "e", "payload": {"a": "' + b"x" * CAP + b'"}}'
    with pytest.raises(oslo.NotANotificationError, match="too large"):
        oslo.decode(body)
    letter = dead_letter_record(KAFKA, b'"auth_token": "gAAA" ' + body, "why", source="q")
    assert b"gAAA" not in (letter.value or b"")
    assert dict(letter.headers)["size"] == str(len(body) + 21).encode()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (rb'"auth_token": "se\"cret", "b": "x"', rb'"auth_token": "***", "b": "x"'),
        (rb"\"_context_a\" : \"se\\\"cret\", \"b", rb"\"_context_a\" : \"***\", \"b"),
        (rb'{"my_auth_token":"secret', rb'{"my_auth_token":"***'),
        (rb'{"auth_token_expires":"now"', rb'{"auth_token_expires":"now"'),
        (rb'{"auth_token":"secret"', rb'{"auth_token":"***"'),
    ],
)
def test_a_secret_ends_where_its_text_ends(text: bytes, left: bytes) -> None:
    assert oslo.without_context(text) == left
