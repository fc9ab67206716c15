"""The brake on failed logins: it slows who guesses, and nobody beside them."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.support.keystone import Keystone
from vimfed.process.ports import free_ports
from vimfed.settings import KeystoneSettings, Secret, WebAuthSettings, WebSettings, WebUser
from web.auth import failed_logins, passwords
from web.auth.access import Access
from web.auth.caller import CALLER
from web.auth.failed_logins import FREE, FREE_IN_ALL, FailedLogins
from web.http.errors import errors_as_json, json_response
from web.http.routes import Route, add_routes

TOKEN = "a" * 20
CHEAP = passwords.Cost(4, 8, 1)
Client = TestClient[web.Request, web.Application]


class Asked:
    """A server with a route for readers that tells whether the caller is still admitted."""

    def __init__(self, keystone: str = "", settings: WebSettings | None = None) -> None:
        users = [
            WebUser(name="alice", password=Secret("correct")),
            WebUser(name="bob", password=Secret(passwords.hash_password("staple", CHEAP))),
            WebUser(name="robot", token=Secret(TOKEN)),
        ]
        told = KeystoneSettings(url=keystone, reader_roles=("member",), cache_seconds=0.0)
        usual = WebSettings(auth=WebAuthSettings(users=users, keystone=told))
        self.access = Access(settings or usual)
        self.held = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Tell who asks, and whether the login still holds in the end."""
        if "hold" in request.query:
            await self.held.wait()
        holds = await self.access.still_admits(request)
        return json_response({"name": request[CALLER].name, "holds": holds})

    def application(self) -> web.Application:
        app = web.Application(middlewares=[errors_as_json, self.access.check])
        app.cleanup_ctx.append(self.access.running)
        add_routes(
            app,
            [
                Route(
                    method="GET",
                    paths=("/x",),
                    handler=self.answer,
                    role="reader",
                    answers={200: None},
                )
            ],
        )
        return app


@pytest.fixture
async def keystone() -> AsyncIterator[Keystone]:
    async with Keystone(free_ports(1)[0]) as keystone:
        yield keystone


@pytest.fixture
def asked(keystone: Keystone) -> Asked:
    return Asked(keystone.url)


@pytest.fixture
async def client(asked: Asked) -> AsyncIterator[Client]:
    async with TestClient(TestServer(asked.application())) as client:
        yield client


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


async def status(client: Client, headers: Mapping[str, str]) -> int:
    async with client.get("/x", headers=headers) as answer:
        return answer.status


async def test_a_valid_token_is_never_held_up_by_the_failures_of_its_neighbours(
    client: Client, keystone: Keystone
) -> None:
    failed = []
    for number in range(50):
        wrong = {"X-Auth-Token": f"wrong-{number}"} if number % 2 else basic("alice", str(number))
        failed.append(await status(client, wrong))
        given = {"X-Auth-Token": keystone.give("carol", "member")}
        assert await status(client, given) == 200, number
    assert failed[:FREE] == [401] * FREE
    assert set(failed[FREE:]) == {429}
    assert await status(client, {"Authorization": f"Bearer {TOKEN}"}) == 200
    # It was valid, what Keystone said of it holds no more: it is asked again.
    assert await status(client, given) == 200


async def test_guesses_at_one_account_hold_up_no_other_at_the_same_address(client: Client) -> None:
    for number in range(FREE):
        assert await status(client, basic("bob", str(number))) == 401
    assert await status(client, basic("bob", "staple")) == 429
    assert await status(client, basic("alice", "correct")) == 200


async def test_a_guess_that_must_wait_is_not_told_whether_it_is_right(client: Client) -> None:
    guesses = [await status(client, basic("alice", str(number))) for number in range(FREE + 1)]
    assert guesses == [401] * FREE + [429]
    assert await status(client, basic("alice", "correct")) == 429


async def test_names_that_nobody_has_cannot_keep_the_processor_busy(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_logins, "FREE_IN_ALL", FREE + 3)
    answered = [await status(client, basic(f"nobody-{number}", "x")) for number in range(FREE + 5)]
    assert answered[:FREE] == [401] * FREE
    assert set(answered[FREE:]) == {429}
    # What must wait is not compared.
    assert await status(client, basic("bob", "staple")) == 429


async def test_a_revoked_login_holds_no_more_also_where_its_address_must_wait(
    asked: Asked, client: Client, keystone: Keystone
) -> None:
    token = keystone.give("carol", "member")
    holding = asyncio.create_task(_json(client, "/x?hold=1", {"X-Auth-Token": token}))
    while token not in keystone.asked:  # noqa: ASYNC110 - the stand-in has no event
        await asyncio.sleep(0.01)
    for number in range(FREE + 3):
        await status(client, {"X-Auth-Token": f"wrong-{number}"})
    keystone.revoke(token)
    asked.held.set()
    assert await holding == {"name": "carol@Default", "holds": False}


async def _json(client: Client, path: str, headers: Mapping[str, str]) -> object:
    async with client.get(path, headers=headers) as answer:
        return await answer.json()


async def test_a_flood_of_wrong_tokens_leaves_keystone_to_others(
    client: Client, keystone: Keystone
) -> None:
    flood = [asyncio.create_task(status(client, {"X-Auth-Token": f"w{n}"})) for n in range(200)]
    honest = {"X-Auth-Token": keystone.give("carol", "member")}
    assert await status(client, honest) == 200
    assert set(await asyncio.gather(*flood)) == {401, 429}


def test_one_48_of_ipv6_is_one_guesser_and_so_is_everybody_at_one_account() -> None:
    failed = FailedLogins()
    for number in range(FREE):
        failed.note(f"2001:db8:1:{number}::{number}", 0.0)
    assert failed.wait("2001:db8:1:ffff::1", 0.0) == 1.0
    assert failed.wait("2001:db8:2::1", 0.0) == 0.0
    for number in range(FREE_IN_ALL):
        failed.note(f"2001:db8:{number + 10:x}::1", 0.0, "alice")
    assert failed.wait_to_guess("192.0.2.1", "alice", 0.0) == 1.0
    assert failed.wait_to_guess("192.0.2.1", "bob", 0.0) == 0.0


async def test_behind_a_trusted_proxy_each_client_has_an_address_of_its_own() -> None:
    users = [WebUser(name="alice", password=Secret("correct"))]
    told = WebSettings(auth=WebAuthSettings(users=users), trusted_proxies=["127.0.0.0/8"])
    untold = msgspec.structs.replace(told, trusted_proxies=[])
    for settings, status_of_others in ((told, 200), (untold, 429)):
        app = Asked(settings=settings).application()
        async with TestClient(TestServer(app)) as client:
            # What a client itself sends before the proxy's own word is not believed.
            for number in range(FREE):
                forged = {"X-Forwarded-For": f"192.0.2.{number}, 198.51.100.1"}
                assert await status(client, basic("alice", "wrong") | forged) == 401
            forged = {"X-Forwarded-For": "198.51.100.2, 198.51.100.1"}
            assert await status(client, basic("alice", "correct") | forged) == 429
            other = {"X-Forwarded-For": "198.51.100.1, 198.51.100.2"}
            assert await status(client, basic("alice", "correct") | other) == status_of_others
