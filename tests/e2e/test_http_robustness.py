"""The API among broken programs and attackers: it answers them, and goes on."""

import asyncio
import codecs
import contextlib
import gzip
import json
import re
import time
from collections import Counter
from functools import partial
from typing import NamedTuple

import aiohttp
import psutil
import pytest

from tests.e2e.stack import Stack, eventually
from tests.support.malformed import malformed_requests, request

pytestmark = pytest.mark.asyncio(loop_scope="package")

STATUS = b"POST /Owner_robustness/check_vim_status"
AT_ONCE = 100


class Answer(NamedTuple):
    """What came back on a connection; the status is 0 where nothing did."""

    status: int
    head: bytes
    body: bytes

    @property
    def error(self) -> str:
        """What the body says; empty where it does not say it as all errors do."""
        try:
            return str(json.loads(self.body)["error"])
        except (ValueError, KeyError, TypeError):
            return ""


async def asked(stack: Stack, sent: bytes, patience: float = 10.0) -> Answer:
    """Write bytes into a new connection and return the first answer.

    What has not been answered after ``patience`` seconds is incomplete: then the sending side is
    closed.
    """
    async with asyncio.timeout(patience + 10):
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports["one"])
        answer = asyncio.create_task(answer_of(reader))
        try:
            writer.write(sent)
            await asyncio.wait([answer], timeout=patience)
            if not answer.done() and writer.can_write_eof():
                writer.write_eof()
            return await answer
        finally:
            await closed(writer)


async def closed(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer_of(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields[b"content-length"]))
    except (ConnectionError, asyncio.IncompleteReadError):
        return Answer(0, b"", b"")
    return Answer(status, head, body)


async def is_healthy(stack: Stack) -> bool:
    began = time.monotonic()
    health = await stack.get("/healthz", "one")
    ready, _ = await stack.get("/readyz", "one")
    answered, _ = await stack.post(
        "/Owner_robustness/check_vim_status", {"states": ["PAUSE"]}, "one"
    )
    return (health, ready, answered) == ((200, {"status": "ok"}), 200, 200) and (
        time.monotonic() - began < 2
    )


async def test_ten_thousand_malformed_requests_leave_it_healthy(served: Stack) -> None:
    worker = served.children["one"]
    memory = psutil.Process(worker.pid).memory_info
    log = worker.log
    assert log is not None
    logged, before = log.stat().st_size, memory().rss
    requests = malformed_requests(seed=7, count=10_000)
    statuses: Counter[int] = Counter()
    failed: list[tuple[int, bytes]] = []

    async def client() -> None:
        for sent, is_whole in requests:
            answer = await asked(served, sent, patience=30 if is_whole else 0.1)
            statuses[answer.status] += 1
            is_refused = 400 <= answer.status < 500 and answer.error
            if not (
                is_refused or answer.status in (200, 201) or (answer.status == 0 and not is_whole)
            ):
                failed.append((answer.status, sent[:500]))

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    assert failed == []
    assert statuses[400] > 4_000, statuses
    await eventually(partial(is_healthy, served), within=10)
    assert memory().rss - before < 100e6
    with log.open() as lines:
        lines.seek(logged)
        assert "Traceback" not in lines.read()


HUGE = b'{"states": ["' + b"x" * (2**20) + b'"]}'
BOMB = gzip.compress(b" " * 200_000_000)


@pytest.mark.parametrize(
    ("sent", "status", "complaint"),
    [
        (request(STATUS, HUGE), 413, "1 MiB"),
        (
            request(STATUS, b"", b"Transfer-Encoding: chunked")
            + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HUGE), HUGE),
            413,
            "1 MiB",
        ),
        (request(STATUS, BOMB, b"Content-Encoding: gzip"), 415, "Content-Encoding"),
        (request(STATUS, BOMB, b"Content-Encoding: deflate"), 415, "Content-Encoding"),
        (request(b"GET /healthz", BOMB, b"Content-Encoding: gzip"), 200, ""),
        (request(b"GET /" + b"x" * 20_000), 400, "no HTTP request"),
        (request(b"GET /healthz", b"", b"X: " + b"x" * 20_000), 400, "no HTTP request"),
        (request(b"GET /healthz", b"", *[b"X-%d: y" % n for n in range(500)]), 400, "no HTTP"),
        (request(b"GET /healthz", b"", b"X" * 20_000), 400, "no HTTP request"),
    ],
    ids=range(9),
)  # fmt: skip
async def test_what_is_too_large_is_refused(
    served: Stack, sent: bytes, status: int, complaint: str
) -> None:
    answer = await asked(served, sent)
    assert (answer.status, complaint in answer.error) == (status, True), answer.error
    await eventually(partial(is_healthy, served), within=10)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../service.py",
        "/static/%2e%2e/service.py",
        "/static/%2e%2e%2fservice.py",
        "/static/..%5cservice.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/index.html%00.js",
        "/static/",
        "/docs/../openapi.py",
        "/docs/%2e%2e%2f__init__.py",
        "//static/index.html",
        "/api/multicloud/v1/Owner%2frobustness/x/instances",
        "/api/multicloud/v1/Owner/robustness%2f..%2fqueries/instances",
        "/api/multicloud/v1/Owner/../../../peer/v1/vims",
        "/api/multicloud/v1/%00/%00/instances",
        "/api/multicloud/v1/" + "x" * 4000 + "/y/instances",
        "/api/multicloud/v1/Owner/robustness/instances/" + "%2e%2e%2f" * 500,
        "/api/multicloud/v1/Owner/robustness/instances/%ff%fe",
        "/api/multicloud/v1/Owner/robustness/instances/a%0d%0aX-Injected:%201",
    ],
)
async def test_tricks_with_paths_lead_nowhere(served: Stack, path: str) -> None:
    answer = await asked(served, request(b"GET " + path.encode()))
    assert answer.status == 404, answer
    assert answer.error


@pytest.mark.parametrize(
    "sent",
    [
        request(b"GET /api/multicloud/v1/subscriptions/a%0d%0aX-Injected:%201"),
        request(b"PUT /api/multicloud/v1/subscriptions/a%0d%0aX-Injected:%201", b"{}"),
        request(b"GET /api/multicloud/v1/a%0d%0aX-Injected:%201/b/instances"),
        request(b"GET /%0d%0aX-Injected:%201"),
        request(b"DELETE /healthz?%0d%0aX-Injected:%201"),
        request(b"GET /api/multicloud/v1/Owner/robustness/instances?sort=%0d%0aX-Injected:%201"),
        request(STATUS, b'{"states": ["\\r\\nX-Injected: 1"]}'),
        request(b"GET /healthz", b"", b"Expect: \rX-Injected: 1"),
    ],
    ids=range(8),
)
async def test_no_header_comes_from_what_was_asked(served: Stack, sent: bytes) -> None:
    answer = await asked(served, sent)
    assert b"\r\nx-injected" not in answer.head.lower()
    assert 400 <= answer.status < 500


async def test_head_is_answered_wherever_get_is_and_has_no_body(served: Stack) -> None:
    _status, document = await served.get("/openapi.json", "one")
    known = {"vim_id": "Owner_robustness", "cloud_owner": "Owner", "cloud_region_id": "robustness"}
    paths = [
        re.sub(r"{(\w+)}", lambda found: known.get(found[1], "x"), path)
        for path, operations in document["paths"].items()
        if "get" in operations
    ]
    assert len(paths) > 15
    async with aiohttp.ClientSession(f"http://127.0.0.1:{served.ports['one']}") as session:
        for path in paths:
            async with session.get(path) as got, session.head(path) as head:
                assert head.status == got.status, path
                assert head.content_type == got.content_type
                assert await head.read() == b""


@pytest.mark.parametrize(
    "headers",
    [b"Content-Encoding:", b"Content-Encoding: identity", b"Content-Encoding: Identity, "],
)
async def test_a_body_that_is_not_encoded_may_say_so_and_begin_with_a_byte_order_mark(
    served: Stack, headers: bytes
) -> None:
    body = b'{"states": ["PAUSE"]}'
    for sent in (body, codecs.BOM_UTF8 + body):
        answer = await asked(served, request(STATUS, sent, headers))
        assert answer.status == 200, answer
    name = b"PUT /api/multicloud/v1/subscriptions/bom"
    answer = await asked(served, request(name, codecs.BOM_UTF8 + b"{}", headers))
    assert answer.status in (200, 201), answer
    pushed = b"POST /api/multicloud/v1/Owner/robustness/notifications"
    answer = await asked(served, request(pushed, codecs.BOM_UTF8 + b"[]", headers))
    assert "BOM" not in answer.error, answer
    answer = await asked(served, request(STATUS, codecs.BOM_UTF16_LE + body))
    assert answer.status == 400


async def test_hundreds_of_slow_clients_keep_nobody_else_waiting(served: Stack) -> None:
    slow = [
        b"GET /healthz HTTP/1.1\r\nHost: wor",
        request(STATUS, b"", b"Content-Length: 1000") + b'{"sta',
        request(STATUS, b"", b"Transfer-Encoding: chunked") + b"10\r\n{",
        b"",
    ]
    connections = [
        await asyncio.open_connection("127.0.0.1", served.ports["one"]) for _ in range(400)
    ]
    for number, (_reader, writer) in enumerate(connections):
        writer.write(slow[number % len(slow)])
    await eventually(partial(is_healthy, served), within=10)
    answers = [await asked(served, request(STATUS, b'{"states": ["PAUSE"]}')) for _ in range(50)]
    assert {answer.status for answer in answers} == {200}
    await closed(*(writer for _reader, writer in connections))
