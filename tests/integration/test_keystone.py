"""Logins by the tokens of a real Keystone: whose they are, and what they show."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.real_keystone.cloud import SYSTEM, RealKeystone, of_domain, of_project
from tests.real_keystone.environment import keystone_python
from vimfed.settings import KeystoneSettings, Secret, WebAuthSettings, WebSettings
from web.auth.access import Access
from web.auth.caller import CALLER
from web.http.errors import errors_as_json, json_response
from web.http.routes import Route, add_routes

PASSWORD = "secret"
Client = TestClient[web.Request, web.Application]


@pytest.fixture(scope="module")
def keystone(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[RealKeystone]:
    """A Keystone that all tests of the module share: use users and projects of your own."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    with RealKeystone(keystone_python(say), tmp_path_factory.mktemp("keystone")) as service:
        yield service


class Cloud(NamedTuple):
    """Two domains with a project of the same name each, and a user who has roles in both."""

    keystone: RealKeystone
    domain: str
    ops: str
    """Project ``ops`` of the domain Default, which the settings name."""
    other_ops: str
    """Project ``ops`` of the other domain."""
    user: str


@pytest.fixture(scope="module")
def cloud(keystone: RealKeystone) -> Cloud:
    domain = keystone.make_domain("elsewhere")
    ops, other_ops = keystone.make_project("ops"), keystone.make_project("ops", domain)
    user = keystone.make_user("alice", domain)
    for project in (ops, other_ops):
        keystone.grant(user, "member", of_project(project))
    return Cloud(keystone, domain, ops, other_ops, user)


@pytest.fixture
async def client(cloud: Cloud, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of a server that asks Keystone each time, as the token itself or as an account."""
    as_account = getattr(request, "param", "itself") == "account"
    account = {"username": "admin", "password": Secret(PASSWORD), "project": "admin"}
    asked = KeystoneSettings(
        url=cloud.keystone.url,
        reader_roles=("reader", "member"),
        all_tenants_projects=["ops@Default"],
        cache_seconds=0.0,
        timeout=20.0,
        **(account if as_account else {}),  # type: ignore[arg-type]
    )
    access = Access(WebSettings(auth=WebAuthSettings(keystone=asked)))

    async def who(request: web.Request) -> web.Response:
        """Tell who asks."""
        caller = request[CALLER]
        return json_response({"name": caller.name, "role": caller.role, "tenants": caller.tenants})

    app = web.Application(middlewares=[errors_as_json, access.check])
    app.cleanup_ctx.append(access.running)
    route = Route(method="GET", paths=("/who",), handler=who, role="reader", answers={})
    add_routes(app, [route])
    async with TestClient(TestServer(app)) as client:
        yield client


async def told(client: Client, token: str) -> tuple[int, Any]:
    """Return the status that a token gets, and what is told of who has it."""
    async with client.get("/who", headers={"X-Auth-Token": token}) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("client", ["itself", "account"], indirect=True)
async def test_a_token_shows_its_project_and_one_of_a_named_project_all(
    client: Client, cloud: Cloud
) -> None:
    """A project of the same name, in a domain that is not named, is another one."""
    keystone, user = cloud.keystone, cloud.user
    alice = {"name": "alice@elsewhere", "role": "reader"}
    token = keystone.token(user, of_project(cloud.other_ops))
    assert await told(client, token) == (200, {**alice, "tenants": [cloud.other_ops]})
    token = keystone.token(user, of_project(cloud.ops))
    assert await told(client, token) == (200, {**alice, "tenants": None})


async def test_an_admin_of_a_project_sees_no_more_than_the_project(
    client: Client, cloud: Cloud
) -> None:
    keystone = cloud.keystone
    project = keystone.make_project(f"p{time.monotonic_ns()}", cloud.domain)
    keystone.grant(cloud.user, "admin", of_project(project))
    status, answer = await told(client, keystone.token(cloud.user, of_project(project)))
    assert (status, answer["role"], answer["tenants"]) == (200, "admin", [project])


async def test_a_token_of_the_system_shows_all_and_one_of_a_domain_nothing(
    client: Client, cloud: Cloud
) -> None:
    keystone = cloud.keystone
    user = keystone.make_user(f"u{time.monotonic_ns()}")
    for scope in (SYSTEM, of_domain("default")):
        keystone.grant(user, "reader", scope)
    status, answer = await told(client, keystone.token(user, SYSTEM))
    assert (status, answer["role"], answer["tenants"]) == (200, "reader", None)
    for token in (keystone.token(user, of_domain("default")), keystone.token(user)):
        status, answer = await told(client, token)
        assert (status, "a project, or of the system" in answer["error"]) == (403, True)


async def test_a_role_that_is_not_ours_shows_nothing(client: Client, cloud: Cloud) -> None:
    """Nor does one of the same name that a domain has for itself."""
    keystone, scope = cloud.keystone, of_project(cloud.other_ops)
    user = keystone.make_user(f"u{time.monotonic_ns()}")
    for role in ("service", keystone.make_role("reader", cloud.domain)):
        keystone.grant(user, role, scope)
    status, answer = await told(client, keystone.token(user, scope))
    assert (status, "has the role anyone" in answer["error"]) == (403, True)


@pytest.mark.parametrize("client", ["itself", "account"], indirect=True)
async def test_a_token_is_none_once_it_is_revoked(client: Client, cloud: Cloud) -> None:
    token = cloud.keystone.token(cloud.user, of_project(cloud.ops))
    assert (await told(client, token))[0] == 200
    cloud.keystone.revoke(token)
    assert (await told(client, token))[0] == 401


async def test_a_token_is_none_once_it_has_expired(client: Client, cloud: Cloud) -> None:
    token = cloud.keystone.short_token(cloud.user, of_project(cloud.ops), seconds=4)
    statuses = [(await told(client, token))[0]]
    while statuses[-1] == 200:
        await asyncio.sleep(0.1)
        statuses.append((await told(client, token))[0])
    assert (statuses[0], statuses[-1]) == (200, 401)


async def test_an_application_credential_shows_its_project(client: Client, cloud: Cloud) -> None:
    """Restricted, as they are by default, or not; but not one that is for some requests alone.

    Its rules would have to be obeyed here: Keystone tells them to who says that it does.
    """
    keystone, project = cloud.keystone, cloud.other_ops
    user = keystone.make_user(f"u{time.monotonic_ns()}", cloud.domain)
    for role in ("member", "admin"):
        keystone.grant(user, role, of_project(project))
    for limits in ({}, {"unrestricted": True}):
        token = keystone.credential_token(
            user, project, roles=[{"name": "member"}], description=str(limits), **limits
        )
        status, answer = await told(client, token)
        assert (status, answer["role"], answer["tenants"]) == (200, "reader", [project])
    rule = {"path": "/v2.1/servers", "method": "GET", "service": "compute"}
    token = keystone.credential_token(user, project, access_rules=[rule])
    assert (await told(client, token))[0] == 401


@pytest.mark.parametrize("kind", ["user", "project"])
async def test_a_token_is_none_once_its_user_or_project_is_disabled(
    client: Client, cloud: Cloud, kind: str
) -> None:
    keystone = cloud.keystone
    user = keystone.make_user(f"u{time.monotonic_ns()}")
    project = keystone.make_project(f"p{time.monotonic_ns()}")
    keystone.grant(user, "member", of_project(project))
    token = keystone.token(user, of_project(project))
    assert (await told(client, token))[0] == 200
    keystone.disable(kind, user if kind == "user" else project)
    assert (await told(client, token))[0] == 401


async def test_what_is_no_token_is_refused(client: Client) -> None:
    for token in ("gAAAAABnone", "x" * 300, "ä"):
        assert (await told(client, token))[0] == 401
