"""Every change over HTTP, and every refusal, is in the audit trail, and no secret is."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from streams.engine.apps import web_server_of
from streams.worker.worker import StreamWorker
from tests.unit.web.test_gateway import BOB, basic
from vimfed.kafka.clients import OutgoingRecord
from vimfed.process.audit import Trail
from vimfed.settings import GatewaySettings, Secret, Settings, WebAuthSettings, WebSettings, WebUser
from web.auth.access import Access
from web.auth.failed_logins import FREE
from web.gateway import service as gateway
from web.gateway.service import CHANGES, Gateway
from web.http.audit import RequestAudit, change_by_route
from web.http.errors import errors_as_json, json_response
from web.http.openapi import document
from web.http.routes import ROUTES, Route, add_routes
from web.service import serve

MARKER = "s3cret-marker-of-this-suite"
READS = {
    "/{vim_id}/check_vim_status",
    "/api/multicloud/v0/{vim_id}/check_vim_status",
    "/api/multicloud/v1/{owner}/{region}/check_vim_status",
}
"""What is asked by POST, and changes nothing."""
USERS = [
    WebUser(name="ada", password=Secret(MARKER), role="writer", clouds=["A_*"]),
    WebUser(name="may", password=Secret(MARKER), role="admin"),
    WebUser(name="eve", token=Secret(MARKER + "2"), role="reader"),
]
AUTH = WebAuthSettings(users=USERS, peer_secret=Secret(MARKER + "-of-workers"))
SUBSCRIPTION = "/api/multicloud/v1/subscriptions/alarms"
Client = TestClient[web.Request, web.Application]


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """Return all routes of a worker."""
    worker = StreamWorker(Settings(state_dir=tmp_path_factory.mktemp("state")))
    serve(worker)
    made = web_server_of(worker.app).web_app[ROUTES].values()
    return list({id(route): route for route in made}.values())


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the trail's records since the last call; none has a secret in it."""
    records = [each for each in caplog.records if each.name == "vimfed.audit"]
    fields: list[dict[str, Any]] = [each.msg for each in records]  # type: ignore[misc]
    for each in caplog.records:
        assert MARKER not in each.getMessage()
        assert MARKER not in repr(each.__dict__)
    caplog.clear()
    return fields


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vimfed.audit")


@asynccontextmanager
async def asked(
    routes: list[Route],
    answer: Callable[[web.Request], Any],
    settings: WebSettings | None = None,
) -> AsyncIterator[Client]:
    """Serve the routes behind the shell, each answered by ``answer``."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return answer(request)  # type: ignore[no-any-return]

    access = Access(settings or WebSettings(auth=AUTH))
    audit = RequestAudit(Trail(CollectorRegistry()), change_by_route)
    app = web.Application(middlewares=[audit.keep, errors_as_json, access.check])
    app.cleanup_ctx.append(access.running)
    add_routes(app, [msgspec.structs.replace(each, handler=handler) for each in routes])
    async with TestClient(TestServer(app)) as client:
        yield client


def well(_request: web.Request) -> web.Response:
    return json_response({})


async def test_every_changing_route_of_the_document_is_in_the_trail(
    routes: list[Route], caplog: pytest.LogCaptureFixture
) -> None:
    changing = [
        (method.upper(), path)
        for path, item in document(routes, {})["paths"].items()
        for method in item
        if method in ("post", "put", "delete", "patch")
    ]
    assert len(changing) > len(READS) > 0
    seen = set()
    async with asked(routes, well) as client:
        for method, template in changing:
            path = template.format(vim_id="A_one", owner="A", region="one", name="alarms")
            answer = await client.request(
                method, f"{path}?x={MARKER}", headers=basic("may", MARKER), json={}
            )
            assert answer.status == 200, path
            records = told(caplog)
            if template in READS:
                assert records == []
                seen.add(template)
                continue
            (record,) = records
            assert record["result"] == "done"
            assert (record["login"], record["role"]) == ("may", "admin")
            assert (record["address"], record["method"]) == ("127.0.0.1", method)
            assert record["route"] == template
            assert record["object"] in ("A_one", "alarms", "A_one/alarms")
    assert seen == READS


def test_a_changing_route_without_a_name_in_the_trail_does_not_come_about() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return json_response({})

    with pytest.raises(ValueError, match="POST /x: say what it is in the audit trail"):
        Route(method="POST", paths=("/x",), handler=answer, role="writer", answers={})


@pytest.mark.parametrize("status", [400, 404, 503])
async def test_a_change_that_did_not_happen_or_of_which_nobody_knows_is_told_as_failed(
    routes: list[Route], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    async with asked(routes, lambda _request: json_response({}, status)) as client:
        await client.delete(SUBSCRIPTION, headers=basic("ada", MARKER))
    (record,) = told(caplog)
    assert (record["event"], record["result"]) == ("subscription.deleted", "failed")
    assert (record["object"], record["status"]) == ("alarms", status)


async def test_an_error_of_ours_is_told_as_well(
    routes: list[Route], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_request: web.Request) -> web.Response:
        raise RuntimeError("a fault")

    async with asked(routes, fail) as client:
        await client.put(SUBSCRIPTION, headers=basic("ada", MARKER), json={})
    (record,) = told(caplog)
    assert (record["result"], record["status"]) == ("failed", 500)


VIM = "/api/multicloud/v1/B/one/instances"
PAGE = {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", VIM, {}, ("request.refused", "", 401, "log in")),
        ("GET", "/nowhere", {}, ("request.refused", "", 401, "log in")),
        ("GET", VIM, basic("ada", MARKER), ("request.refused", "ada", 403, "may not see")),
        (
            "PUT",
            SUBSCRIPTION,
            {"Authorization": f"Bearer {MARKER}2"},
            ("request.refused", "eve", 403, "has the role reader"),
        ),
        ("PUT", SUBSCRIPTION, PAGE, ("request.refused", "", 403, "page of another site")),
        ("GET", VIM, basic("ada", f"{MARKER}x"), ("login.failed", "", 401, "user 'ada'")),
        ("GET", VIM, basic(MARKER, "x"), ("login.failed", "", 401, "an unknown user")),
        (
            "DELETE",
            SUBSCRIPTION,
            {"Authorization": f"Bearer {MARKER}x"},
            ("login.failed", "", 401, "a bearer token"),
        ),
        (
            "POST",
            "/peer/v1/vims",
            {"Authorization": f"vimfed-peer {MARKER}"},
            ("login.failed", "", 401, "a worker's request, malformed,"),
        ),
    ],
)
async def test_every_refusal_is_in_the_trail_once(
    routes: list[Route],
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    headers: dict[str, str],
    expected: tuple[str, str, int, str],
) -> None:
    async with asked(routes, well) as client:
        answer = await client.request(method, path, headers=headers, json={})
    event, login, status, reason = expected
    (record,) = told(caplog)
    assert answer.status == record["status"] == status
    assert (record["event"], record["result"], record["login"]) == (event, "refused", login)
    assert reason in record["reason"]
    assert record["address"] == "127.0.0.1"
    if path == "/nowhere":
        assert (record["route"], record["object"]) == ("unknown", path)


async def test_a_borrowed_name_and_who_must_wait_are_in_the_trail(
    routes: list[Route], caplog: pytest.LogCaptureFixture
) -> None:
    async with asked(routes, well, WebSettings()) as client:
        await client.get(VIM, headers={"Host": "evil.example"})
    (record,) = told(caplog)
    assert (record["event"], record["status"]) == ("request.refused", 403)
    assert "evil.example" in record["reason"]
    async with asked(routes, well) as client:
        for number in range(FREE + 2):
            await client.get(VIM, headers=basic("ada", f"{MARKER}{number}"))
    records = told(caplog)
    assert [each["status"] for each in records] == [401] * FREE + [429] * 2
    assert [each["event"] for each in records] == ["login.failed"] * FREE + ["request.refused"] * 2


async def test_who_stands_behind_a_trusted_proxy_is_who_is_told(
    routes: list[Route], caplog: pytest.LogCaptureFixture
) -> None:
    settings = WebSettings(trusted_proxies=["127.0.0.0/8"], auth=WebAuthSettings(users=USERS))
    async with asked(routes, well, settings) as client:
        await client.get(VIM, headers={"X-Forwarded-For": "203.0.113.9, 192.0.2.7"})
    assert [each["address"] for each in told(caplog)] == ["192.0.2.7"]


async def test_a_login_that_ends_during_live_events_is_told(
    routes: list[Route], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of live events asks again; the login has been changed meanwhile."""
    access = Access(WebSettings(auth=WebAuthSettings(users=USERS)))

    async def live(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        access._known._entries.clear()
        monkeypatch.setattr(access._logins[0], "_users", {})
        assert not await access.still_admits(request)
        return stream

    audit = RequestAudit(Trail(), change_by_route)
    app = web.Application(middlewares=[audit.keep, errors_as_json, access.check])
    (route,) = [each for each in routes if each.paths == ("/api/multicloud/v1/events",)]
    add_routes(app, [msgspec.structs.replace(route, handler=live)])
    async with TestClient(TestServer(app)) as client:
        await client.get(route.paths[0], headers=basic("ada", MARKER))
    (record,) = told(caplog)
    assert (record["event"], record["login"], record["status"]) == ("login.ended", "ada", 200)


# -- the gateway


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[OutgoingRecord]:
    """Return what the gateway writes; every topic is there."""
    records: list[OutgoingRecord] = []

    class Producer:
        async def partitions_for(self, _topic: str) -> set[int]:
            return {0}

    async def started(_producers: object) -> Producer:
        return Producer()

    async def append(_producer: object, more: list[OutgoingRecord]) -> None:
        records.extend(more)

    async def nothing(*_arguments: object) -> None:
        """Do nothing."""

    monkeypatch.setattr(Gateway, "_known", nothing)
    monkeypatch.setattr(gateway, "ensure_topic", nothing)
    monkeypatch.setattr(gateway, "append_all", append)
    monkeypatch.setattr("vimfed.kafka.renewed_producer.RenewedProducer.started", started)
    return records


@asynccontextmanager
async def served(users: list[Any]) -> AsyncIterator[Client]:
    settings = GatewaySettings(users=users, topics=("unauthenticated.*", "own.*"))
    async with TestClient(TestServer(Gateway(Settings(gateway=settings)).application())) as client:
        yield client


RIGHT = msgspec.structs.replace(BOB, password=Secret(MARKER))


async def test_what_is_published_and_made_on_the_gateway_is_in_the_trail_and_names_its_caller(
    caplog: pytest.LogCaptureFixture, written: list[OutgoingRecord]
) -> None:
    async with served([RIGHT]) as client:
        login = basic("bob", MARKER)
        assert (await client.post("/events/own.a", headers=login, json=[1, MARKER])).status == 200
        made = {"topicName": "own.b"}
        assert (await client.post("/topics/create", headers=login, json=made)).status == 200
        assert (await client.post("/topics/create", headers=login, data=b"{")).status == 400
    published, created, failed = told(caplog)
    assert (published["event"], published["result"]) == ("messages.published", "done")
    assert (published["login"], published["object"], published["count"]) == ("bob", "own.a", 2)
    assert (created["event"], created["login"], created["object"]) == (
        "topic.created",
        "bob",
        "own.b",
    )
    assert (failed["event"], failed["result"]) == ("topic.created", "failed")
    assert [dict(each.headers) for each in written] == [{"caller": b"bob/-@127.0.0.1"}] * 2


async def test_every_post_of_the_gateway_is_a_change_that_has_a_name() -> None:
    app = Gateway(Settings()).application()
    others = {
        each.resource.canonical
        for each in app.router.routes()
        if each.method not in ("GET", "HEAD") and each.resource is not None
    }
    assert others == set(CHANGES)


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/events/own.a", {}, ("request.refused", "", 401)),
        ("POST", "/events/unauthenticated.x", {}, ("request.refused", "", 401)),
        ("GET", "/events/own.a/g/1", {}, ("request.refused", "", 401)),
        ("GET", "/events/unauthenticated.x/g/1", PAGE, ("request.refused", "", 403)),
        ("GET", "/topics", {"Host": "evil.example"}, ("request.refused", "", 403)),
        ("POST", "/events/other", basic("bob", MARKER), ("request.refused", "bob", 401)),
        ("POST", "/events/own.a", basic("bob", f"{MARKER}x"), ("login.failed", "", 401)),
        ("POST", "/events/own.a", basic(MARKER, "x"), ("login.failed", "", 401)),
        ("GET", "/topics", basic("bob", f"{MARKER}x"), ("login.failed", "", 200)),
    ],
)
@pytest.mark.usefixtures("written")
async def test_every_refusal_of_the_gateway_is_in_the_trail_once(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    headers: dict[str, str],
    expected: tuple[str, str, int],
) -> None:
    async def listed(_admin: object) -> list[str]:
        return []

    monkeypatch.setattr("aiokafka.admin.AIOKafkaAdminClient.list_topics", listed)
    async with served([RIGHT]) as client:
        answer = await client.request(method, path, headers=headers)
    (record,) = told(caplog)
    assert (record["event"], record["login"], record.get("status")) == expected
    assert answer.status == expected[-1]
    assert record["result"] == "refused"
    assert record["address"] == "127.0.0.1"


@pytest.mark.usefixtures("written")
async def test_who_guesses_on_the_gateway_is_told_until_the_guesses_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served([RIGHT]) as client:
        for number in range(FREE + 1):
            await client.post("/events/own.a", headers=basic("bob", f"{MARKER}{number}"))
    records = told(caplog)
    assert [each["status"] for each in records] == [401] * FREE + [429]
    assert [each["event"] for each in records] == ["login.failed"] * FREE + ["request.refused"]
