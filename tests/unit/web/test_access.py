"""Who may what: decisions, without a worker."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.support.keystone import ACCOUNT, Keystone
from vimfed.cli.own_login import login_headers
from vimfed.local.supervisor import services_of
from vimfed.process.ports import free_ports
from vimfed.settings import (
    KeystoneSettings,
    Secret,
    Settings,
    SettingsError,
    WebAuthSettings,
    WebSettings,
    WebUser,
    is_loopback,
)
from web.auth import passwords
from web.auth.access import Access, refuse_open_door
from web.auth.backends.keystone import caller_of
from web.auth.backends.keystone_client import Keystone as KeystoneClient
from web.auth.backends.keystone_client import Project, TokenOwner
from web.auth.caller import Caller
from web.auth.failed_logins import FREE, MAX_ADDRESSES, MAX_PAUSE, FailedLogins
from web.http.errors import UnavailableError, errors_as_json, json_response
from web.http.routes import Route, add_routes

USER = WebUser(name="u", token=Secret("a" * 20))
CHEAP = passwords.Cost(4, 8, 1)


def test_everybody_is_let_in_on_loopback_alone_unless_the_settings_say_so() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        refuse_open_door(WebSettings(host=host))
    for host in ("0.0.0.0", "::", "192.0.2.1", "worker-1"):
        assert not is_loopback(host)
        with pytest.raises(SettingsError, match=r"add \[\[web.auth.users\]\] or"):
            refuse_open_door(WebSettings(host=host))
        refuse_open_door(WebSettings(host=host, auth=WebAuthSettings(users=[USER])))
        refuse_open_door(WebSettings(host=host, auth=WebAuthSettings(allow_anonymous=True)))
        keystone = KeystoneSettings(url="https://keystone:5000")
        refuse_open_door(WebSettings(host=host, auth=WebAuthSettings(keystone=keystone)))


def test_a_caller_sees_the_clouds_that_its_patterns_name() -> None:
    all_seeing = Caller(name="u", role="reader")
    assert all_seeing.may_see("A_one")
    assert all_seeing.may_see_all([])
    assert Caller(name="u", role="reader", clouds=("*",)).may_see_all([])
    limited = Caller(name="u", role="reader", clouds=("A_*", "B_two"))
    assert limited.may_see("A_one")
    assert not limited.may_see("B_one")
    assert limited.may_see_all(["A_one", "B_two"])
    assert not limited.may_see_all(["A_one", "B_one"])
    assert not limited.may_see_all([])


def test_a_caller_sees_the_tenants_that_it_is_limited_to() -> None:
    all_seeing = Caller(name="u", role="reader")
    assert all_seeing.may_see_tenants([])
    assert all_seeing.may_see_tenants([""])
    limited = Caller(name="u", role="reader", tenants=("a", "b"))
    assert limited.may_see_tenants(["a", "b"])
    for beyond in ([], [""], ["a", "c"], ["A"]):
        assert not limited.may_see_tenants(beyond)
    assert not Caller(name="u", role="reader", tenants=()).may_see_tenants([""])


@pytest.mark.parametrize(
    ("name", "domain", "tenants"),
    [
        ("ops", "Default", None),
        ("ops", "elsewhere", ("an id",)),
        ("ops", "default", ("an id",)),
        ("opS", "Default", ("an id",)),
        ("a@b", "c", None),
        ("a", "b@c", ("an id",)),
        ("ops@Default", "elsewhere", ("an id",)),
        ("ops@Default", "", ("an id",)),
    ],
)
def test_a_project_that_is_named_is_one_of_its_domain(
    name: str, domain: str, tenants: tuple[str, ...] | None
) -> None:
    named = ["f" * 32, "ops@Default", "a@b@c"]
    settings = KeystoneSettings(reader_roles=("member",), all_tenants_projects=named)
    project = {"id": "an id", "name": name, "domain": {"name": domain}}
    owner = TokenOwner("u@Default", ("member",), 5.0, msgspec.convert(project, Project))
    assert caller_of(owner, settings).tenants == tenants
    by_id = msgspec.structs.replace(
        owner, project=msgspec.convert({**project, "id": "f" * 32}, Project)
    )
    assert caller_of(by_id, settings).tenants is None


def test_a_token_without_a_project_shows_nothing_unless_it_is_the_systems() -> None:
    owner = TokenOwner("u@Default", ("admin",), 5.0)
    assert caller_of(owner, KeystoneSettings()).tenants == ()
    assert caller_of(msgspec.structs.replace(owner, is_system=True), KeystoneSettings()) == Caller(
        name="u@Default", role="admin", until=5.0, holds=60.0
    )


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        ((), "anyone"),
        (("stranger",), "anyone"),
        (("member",), "reader"),
        (("member", "operator"), "writer"),
        (("admin", "member"), "admin"),
    ],
)
def test_the_most_that_keystones_roles_allow_is_allowed(roles: tuple[str, ...], role: str) -> None:
    settings = KeystoneSettings(
        reader_roles=("member",), writer_roles=("operator",), clouds=["A_*"]
    )
    caller = caller_of(TokenOwner("u@Default", roles, 5.0), settings)
    assert (caller.role, caller.clouds, caller.until) == (role, ("A_*",), 5.0)


def test_an_address_waits_twice_as_long_after_each_failed_login() -> None:
    failed = FailedLogins()
    waits = []
    for _ in range(FREE + 7):
        failed.note("192.0.2.1", 100.0)
        waits.append(failed.wait("192.0.2.1", 100.0))
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 :] == [1.0, 2.0, 4.0, 8.0, 16.0, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE]
    assert failed.wait("192.0.2.1", 100.0 + MAX_PAUSE) == 0.0
    assert failed.wait("192.0.2.2", 100.0) == 0.0
    assert failed.wait("192.0.2.1", 2000.0) == 0.0
    failed.note("192.0.2.1", 2000.0)
    assert failed.wait("192.0.2.1", 2000.0) == 0.0


def test_the_neighbours_of_an_ipv6_address_wait_with_it_and_memory_is_bounded() -> None:
    failed = FailedLogins()
    for number in range(FREE):
        failed.note(f"2001:db8::{number}", 0.0)
    assert failed.wait("2001:db8::ffff", 0.0) > 0
    assert failed.wait("2001:db8:0:1::1", 0.0) > 0
    assert failed.wait("2001:db8:1::1", 0.0) == 0
    for number in range(MAX_ADDRESSES):
        failed.note(f"host-{number}", 0.0)
    assert failed.wait("2001:db8::ffff", 0.0) == 0


def test_the_command_line_logs_in_as_the_user_who_may_do_least() -> None:
    def headers(*users: WebUser) -> dict[str, str]:
        return login_headers(WebSettings(auth=WebAuthSettings(users=list(users))))

    reader = WebUser(name="r", password=Secret("p"))
    hashed = WebUser(name="h", password=Secret(passwords.hash_password("x", CHEAP)), role="admin")
    limited = WebUser(name="l", token=Secret("b" * 20), role="admin", clouds=["A_one"])
    writer = WebUser(name="w", token=Secret("c" * 20), role="writer")
    assert headers() == {}
    of_a_tenant = WebUser(name="t", token=Secret("d" * 20), tenants=["a"])
    assert headers(hashed, limited, of_a_tenant) == {}
    assert headers(reader, hashed) == {"Authorization": "Basic cjpw"}
    assert headers(writer, limited) == {"Authorization": "Bearer " + "c" * 20}
    assert headers(writer, reader) == {"Authorization": "Basic cjpw"}


def test_the_supervisor_asks_workers_that_serve_https_over_it() -> None:
    settings = Settings(web=WebSettings(cert_file="worker.pem"))
    urls = [each.health_url for each in services_of(settings) if each.name == "worker"]
    assert urls == ["https://127.0.0.1:6066/healthz"]


@pytest.fixture
async def keystone() -> AsyncIterator[Keystone]:
    async with Keystone(free_ports(1)[0]) as keystone:
        yield keystone


@pytest.mark.parametrize("account", [False, True])
async def test_keystone_says_whose_a_token_is(keystone: Keystone, account: bool) -> None:
    username, password = ACCOUNT if account else ("", "")
    settings = KeystoneSettings(
        url=keystone.url + "/", username=username, password=Secret(password), timeout=0.3
    )
    client = KeystoneClient(settings)
    async with client.connected() as client.session:
        token = keystone.give("alice", "reader", "member")
        owner = await client.owner_of(token)
        assert owner is not None
        assert (owner.name, owner.roles) == ("alice@Default", ("reader", "member"))
        assert 3500 < owner.until - time.time() <= 3600
        for wrong in ("none", "", keystone.give("bob", seconds=-1)):
            assert await client.owner_of(wrong) is None
        if account:  # whose own token may expire
            for each in [each for each in keystone.tokens if each != token]:
                keystone.revoke(each)
            assert await client.owner_of(token) is not None
        for keystone.answer in (500, 403, 200, 300, 0):
            with pytest.raises(UnavailableError, match="Keystone"):
                await client.owner_of(token)
        keystone.answer = None
        assert await client.owner_of(token) == owner


async def test_keystone_refuses_an_account_with_a_wrong_password(keystone: Keystone) -> None:
    client = KeystoneClient(
        KeystoneSettings(url=keystone.url, username="v", password=Secret("wrong"))
    )
    async with client.connected() as client.session:
        with pytest.raises(UnavailableError, match="refuses our account"):
            await client.owner_of(keystone.give("alice"))


async def test_a_keystone_that_is_away_is_told_so() -> None:
    client = KeystoneClient(KeystoneSettings(url=f"http://127.0.0.1:{free_ports(1)[0]}"))
    async with client.connected() as client.session:
        with pytest.raises(UnavailableError, match="does not answer"):
            await client.owner_of("token")


async def statuses(
    auth: WebAuthSettings | WebSettings, method: str, *sent: dict[str, str]
) -> list[int]:
    """Return what requests of these headers are answered, all at once, by a route for readers."""

    async def answer(_request: web.Request) -> web.Response:
        return json_response({})

    if isinstance(auth, WebAuthSettings):
        auth = WebSettings(auth=auth, canonical_url="http://worker-1:6066")
    access = Access(auth)
    app = web.Application(middlewares=[errors_as_json, access.check])
    app.cleanup_ctx.append(access.running)
    routes = [
        Route(method="GET", paths=("/x",), handler=answer, role="reader", answers={200: None}),
        Route(
            method="POST",
            paths=("/x",),
            handler=answer,
            role="reader",
            audit="reads",
            answers={200: None},
        ),
    ]
    add_routes(app, routes)
    async with TestClient(TestServer(app)) as client:
        asked = (client.request(method, "/x", headers=each) for each in sent)
        return [answer.status for answer in await asyncio.gather(*asked)]


async def test_a_login_of_whatever_bytes_is_a_failed_one() -> None:
    auth = WebAuthSettings(users=[USER, WebUser(name="p", password=Secret("p"))])
    for login in ("Basic é", "Basic /w==", "Bearer é", "é"):
        assert await statuses(auth, "GET", {"Authorization": login}) == [401]


async def test_guesses_at_a_hashed_password_that_come_at_once_wait_as_well() -> None:
    hashed = Secret(passwords.hash_password("x", CHEAP))
    auth = WebAuthSettings(users=[WebUser(name="h", password=hashed)])
    guesses = [{"Authorization": f"Basic {b64encode(b'h:%d' % n).decode()}"} for n in range(12)]
    answered = await statuses(auth, "GET", *guesses)
    assert answered == [401] * FREE + [429] * (12 - FREE)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://named-by-a-proxy"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "worker:6066", "Origin": "http://worker:6066"}, 200),
        ({"Host": "worker:6066", "Origin": "http://worker"}, 403),
        ({"Host": "worker:6066", "Origin": "http://elsewhere"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_a_page_of_another_site_changes_nothing_also_where_a_browser_tells_its_origin_alone(
    headers: dict[str, str], status: int
) -> None:
    auth = WebSettings(allowed_hosts=["worker:6066"], auth=WebAuthSettings(allow_anonymous=True))
    assert await statuses(auth, "POST", headers) == [status]
    assert await statuses(auth, "GET", headers) == [200]


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("worker:6066", "https://portal.example", 200),
        ("worker:6066", "https://Portal.example:8443", 200),
        ("worker:6066", "https://only.example:8443", 200),
        ("worker:6066", "https://only.example", 403),
        ("worker:6066", "https://[2001:db8::1]:80", 200),
        ("worker:6066", "https://portal.example.evil", 403),
        ("worker:6066", "https://evil/portal.example", 403),
        ("portal.example", "https://evil", 403),
        ("worker:6066", "null", 403),
    ],
)
async def test_a_page_behind_a_proxy_that_rewrites_host_is_ours_where_the_settings_name_it(
    host: str, origin: str, status: int
) -> None:
    web_settings = WebSettings(
        allowed_hosts=["portal.example", "only.example:8443", "[2001:db8::1]", "worker:6066"],
        auth=WebAuthSettings(allow_anonymous=True),
    )
    assert await statuses(web_settings, "POST", {"Host": host, "Origin": origin}) == [status]


async def test_who_need_not_log_in_may_ask_by_a_name_that_the_settings_allow() -> None:
    allowed = WebSettings(allowed_hosts=["Portal.example"])
    for host, status in (("portal.example:80", 200), ("other.example", 403)):
        assert await statuses(allowed, "GET", {"Host": host}) == [status]


@pytest.mark.parametrize("host", ["", "*", "http://portal", "portal/x", "a b", "2001:db8::1"])
def test_a_name_that_no_browser_sends_is_refused(host: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"allowed_hosts": [host]}, WebSettings)


async def test_who_need_not_log_in_must_ask_loopback_by_a_name_of_its_own() -> None:
    own = ("127.0.0.1:6066", "127.0.0.1", "localhost:6066", "[::1]:6066", "[::1]", "worker-1:6066")
    for host in own:
        assert await statuses(WebAuthSettings(), "GET", {"Host": host}) == [200], host
    foreign = (
        "site.example:6066",
        "127.0.0.1.site.example",
        "192.0.2.1:6066",
        "[",
        "é",
        ":",
        "",
    )
    for host in foreign:
        assert await statuses(WebAuthSettings(), "GET", {"Host": host}) == [403], host
        # No site's own name is an address.
        allowed = WebAuthSettings(allow_anonymous=True)
        status = 200 if host == "192.0.2.1:6066" else 403
        assert await statuses(allowed, "GET", {"Host": host}) == [status], host
        assert await statuses(WebAuthSettings(users=[USER]), "GET", {"Host": host}) == [401]
