"""Workers prove to each other that they know their secret, and never send it."""

import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from vimfed.process.ports import free_ports
from vimfed.settings import Secret, WebAuthSettings, WebSettings
from web.auth import peers
from web.auth.access import Access
from web.auth.peer_signature import (
    ANSWER_HEADER,
    FRESH,
    MAX_OVERTAKEN,
    PeerRequest,
    Proof,
    RefusedProofError,
    Signer,
    Verifier,
    proof_in,
)
from web.auth.peers import PeerClient, PeerError, peers_session
from web.http.errors import errors_as_json
from web.http.routes import Route, add_routes

OLD, NEW, OTHER = (Secret(word * 8) for word in ("old", "new", "other"))
ASKED = PeerRequest("POST", "http://one:6066", "/peer/v1/vims?x=1", {"Vimfed-Tenant": "t"})
BODY = b'{"vim_id": "A_one"}'
NOW = 1_800_000_000.0


def auth_with(*secrets: Secret) -> WebAuthSettings:
    return WebAuthSettings(
        peer_secret=secrets[0], peer_secret_previous=secrets[1] if secrets[1:] else Secret()
    )


class Worker(NamedTuple):
    """A worker's peer route, and what it was asked."""

    url: str
    asked: list[bytes]


@asynccontextmanager
async def worker_with(*secrets: Secret) -> AsyncIterator[Worker]:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        """Answer with the question."""
        asked.append(await request.read())
        return web.Response(body=asked[-1])

    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    who = Access(WebSettings(auth=auth_with(*secrets)), url)
    app = web.Application(middlewares=[errors_as_json, who.check])
    path = "/peer/v1/echo"
    add_routes(
        app,
        [
            Route(
                method="POST",
                paths=(path,),
                handler=answer,
                role="peer",
                audit="reads",
                body=Any,
                answers={},
            )
        ],
    )
    async with TestServer(app, port=port):
        yield Worker(url, asked)


@asynccontextmanager
async def client_with(*secrets: Secret) -> AsyncIterator[PeerClient]:
    async with peers_session(WebSettings()) as session:
        yield PeerClient(session, auth_with(*secrets))


@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        ((OLD,), (OLD,)),
        ((NEW, OLD), (OLD,)),
        ((OLD,), (NEW, OLD)),
        ((NEW,), (NEW, OLD)),
        ((NEW, OLD), (NEW,)),
    ],
)
async def test_workers_on_their_way_to_a_new_secret_know_each_other(
    asks: Sequence[Secret], answers: Sequence[Secret]
) -> None:
    async with worker_with(*answers) as worker, client_with(*asks) as client:
        for body in (b"a question", b"", bytes(range(256))):
            assert await client.ask("POST", worker.url, "/peer/v1/echo", body) == body


@pytest.mark.parametrize("secrets", [(OTHER,), (NEW, OTHER)])
async def test_who_knows_another_secret_is_not_answered(secrets: Sequence[Secret]) -> None:
    async with worker_with(OLD) as worker, client_with(*secrets) as client:
        with pytest.raises(PeerError, match=r"answered 401: its web\.auth\.peer_secret is"):
            await client.ask("POST", worker.url, "/peer/v1/echo", BODY)
        assert worker.asked == []


class Stranger:
    """Answers as a worker would, keeps what it is sent, and knows no secret."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((request.path, dict(request.headers), body))
        return web.Response(body=body, headers=self.headers)


async def test_a_foreign_url_that_is_announced_gets_nothing_of_use_and_is_not_believed() -> None:
    stranger = Stranger()
    app = web.Application()
    app.router.add_post("/{path:.*}", stranger.answer)
    async with worker_with(OLD) as worker, client_with(OLD) as client, TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        for forged in ({}, {ANSWER_HEADER: "0" * 64}, {ANSWER_HEADER: "é"}):
            stranger.headers = forged
            with pytest.raises(PeerError, match="does not prove that it knows"):
                await client.ask("POST", url, "/peer/v1/echo", BODY)
        async with aiohttp.ClientSession() as session:
            for path, headers, body in stranger.requests:
                assert OLD.reveal() not in f"{path}{headers}{body!r}"
                async with session.post(
                    worker.url + path,
                    data=body,
                    headers={"Authorization": headers["Authorization"]},
                ) as answer:
                    assert answer.status == 401
        assert worker.asked == []


async def test_a_stranger_leads_a_worker_nowhere_and_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "MAX_ANSWER_BYTES", 1000)
    elsewhere: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async def much(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(1001))

    async def packed(_request: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})

    app = web.Application()
    for path, handler in (("/redirect", redirect), ("/much", much), ("/packed", packed)):
        app.router.add_post(path, handler)
    async with TestServer(app) as server, client_with(OLD) as client:
        url = str(server.make_url("")).rstrip("/")
        with pytest.raises(PeerError, match="answered 307"):
            await client.ask("POST", url, "/redirect")
        assert elsewhere == ["/redirect"]
        for path in ("/much", "/packed"):
            with pytest.raises(PeerError, match="RefusedAnswerError"):
                await client.ask("POST", url, path)


async def test_a_worker_whose_certificate_does_not_name_it_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("*.headless").configure_cert(served)

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/echo", echo)
    settings = WebSettings(ca_file=str(tmp_path / "ca.crt"))
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=served)
    async with server, peers_session(settings) as session:
        client = PeerClient(session, WebAuthSettings())
        url = f"https://127.0.0.1:{server.port}"
        for _ in range(3):
            with pytest.raises(PeerError, match=r"^cannot be verified: .*127\.0\.0\.1"):
                await client.ask("POST", url, "/echo", b"x")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"the worker at {url} cannot be verified" in record.message
    assert "web.cert_file there must name it" in record.message


async def test_a_request_is_answered_once() -> None:
    async with worker_with(OLD) as worker, aiohttp.ClientSession() as session:
        signer = Signer([OLD])
        proof = signer.sign(PeerRequest("POST", worker.url, "/peer/v1/echo"), BODY, time.time())
        for status in (200, 401):
            async with session.post(
                worker.url + "/peer/v1/echo", data=BODY, headers={"Authorization": str(proof)}
            ) as answer:
                assert answer.status == status
        assert worker.asked == [BODY]


async def test_a_body_that_is_altered_is_refused() -> None:
    async with worker_with(OLD) as worker, aiohttp.ClientSession() as session:
        proof = Signer([OLD]).sign(
            PeerRequest("POST", worker.url, "/peer/v1/echo"), BODY, time.time()
        )
        async with session.post(
            worker.url + "/peer/v1/echo", data=BODY + b" ", headers={"Authorization": str(proof)}
        ) as answer:
            assert answer.status == 401
        assert worker.asked == []


async def test_the_secret_itself_opens_nothing() -> None:
    async with worker_with(OLD) as worker, aiohttp.ClientSession() as session:
        for header in (f"Bearer {OLD.reveal()}", f"Vimfed-Peer {OLD.reveal()}", "Vimfed-Peer  "):
            async with session.post(
                worker.url + "/peer/v1/echo", headers={"Authorization": header}
            ) as answer:
                assert answer.status == 401
        assert worker.asked == []


def admitted(proof: Proof, asked: PeerRequest = ASKED, now: float = NOW, began: float = 0) -> None:
    Verifier([OLD], began).admit(asked, proof, now)


def test_whatever_is_signed_cannot_be_altered() -> None:
    proof = Signer([OLD]).sign(ASKED, BODY, NOW)
    admitted(proof)
    for altered in (
        ASKED._replace(method="GET"),
        ASKED._replace(url="http://two:6066"),
        ASKED._replace(path="/peer/v1/vims?x=2"),
        ASKED._replace(path="/peer/v1/vims"),
        ASKED._replace(headers={"Vimfed-Tenant": "another"}),
        ASKED._replace(headers={}),
        ASKED._replace(headers={**ASKED.headers, "vimfed-further": "x"}),
    ):
        with pytest.raises(RefusedProofError, match="altered"):
            admitted(proof, altered)
    admitted(proof, ASKED._replace(headers={"vimfed-tenant": "t", "Accept": "*/*"}))
    for wrong in (
        proof._replace(time=proof.time + 1),
        proof._replace(sender="0" * 16),
        proof._replace(number=proof.number + 1),
        proof._replace(digest="0" * 64),
    ):
        with pytest.raises(RefusedProofError, match="altered"):
            admitted(wrong)


def test_a_request_is_refused_when_it_is_old_or_from_before_the_start() -> None:
    proof = Signer([OLD]).sign(ASKED, BODY, NOW)
    for late in (FRESH - 1, 1 - FRESH):
        admitted(proof, now=NOW + late)
    for late in (FRESH + 1, -1 - FRESH):
        with pytest.raises(RefusedProofError, match="clock"):
            admitted(proof, now=NOW + late)
    with pytest.raises(RefusedProofError, match="before this worker began"):
        admitted(proof, now=NOW + 2, began=NOW + 1)


def test_requests_may_overtake_each_other_and_come_once() -> None:
    verifier, signer = Verifier([OLD], 0), Signer([OLD])
    proofs = [signer.sign(ASKED, BODY, NOW) for _ in range(MAX_OVERTAKEN + 2)]
    for number in (3, 1, 2, 0, 10, MAX_OVERTAKEN + 1, 4, 9, MAX_OVERTAKEN):
        verifier.admit(ASKED, proofs[number], NOW)
        with pytest.raises(RefusedProofError, match="second time"):
            verifier.admit(ASKED, proofs[number], NOW)
    for number in (0, 1, 2, 3, 4, 9, 10):
        with pytest.raises(RefusedProofError, match="second time"):
            verifier.admit(ASKED, proofs[number], NOW)
    Verifier([OLD], 0).admit(ASKED, Signer([OLD]).sign(ASKED, BODY, NOW), NOW)


def test_a_proof_is_read_as_it_is_written_and_nothing_else_is() -> None:
    proof = Signer([NEW, OLD]).sign(ASKED, BODY, NOW)
    assert proof_in(str(proof)) == proof
    for text in ("", "vimfed-peer", f"{proof},{'0' * 64}", f"{proof} ", f"{proof}\n", "Bearer x"):
        assert proof_in(text) is None


async def test_a_worker_whose_certificate_is_not_taken_is_known_by_its_url() -> None:
    authority, serving = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    server = TestServer(web.Application())
    await server.start_server(ssl=serving)
    url = f"https://127.0.0.1:{server.port}"
    try:
        async with peers_session(WebSettings()) as session:
            client = PeerClient(session, WebAuthSettings())
            with pytest.raises(PeerError, match="cannot be verified"):
                await client.ask("POST", url, "/peer/v1/vims")
    finally:
        await server.close()
    assert list(client.unverified) == [url]
    assert "not taken" in client.unverified[url]
