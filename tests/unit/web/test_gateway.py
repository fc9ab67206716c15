"""What the gateway refuses without Kafka's word."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from vimfed.settings import (
    GatewaySettings,
    GatewayUser,
    Secret,
    Settings,
    SettingsError,
    WebSettings,
)
from vimfed.settings.checks import check_web
from web.auth.failed_logins import FREE
from web.gateway import service as gateway
from web.gateway.access import refuse_open_gateway
from web.gateway.message_router import MessageRouterError, authorize
from web.gateway.service import Gateway

BOB = GatewayUser(name="bob", password=Secret("right"), publish=["own.*"], subscribe=["own.*"])
TOPICS = ["unauthenticated.VIM_VM_EVENTS", "own.a", "other.b", "site2.notifications"]
OPEN = TOPICS[0]


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def known(_gateway: Gateway, _topic: str) -> None:
        """Every topic is there."""

    async def listed(_admin: object) -> list[str]:
        return TOPICS

    monkeypatch.setattr(Gateway, "_known", known)
    monkeypatch.setattr(gateway, "MAX_CONSUMERS", 0)  # what is let in is answered 503
    monkeypatch.setattr("aiokafka.admin.AIOKafkaAdminClient.list_topics", listed)


@pytest.fixture
def settings() -> GatewaySettings:
    return GatewaySettings(users=[BOB], topics=("unauthenticated.*", "own.*"))


@pytest.fixture
async def client(settings: GatewaySettings) -> AsyncIterator[TestClient[Any, Any]]:
    whole = Settings(gateway=settings, web=WebSettings(allowed_hosts=["mr.example"]))
    async with TestClient(TestServer(Gateway(whole).application())) as client:
        yield client


async def test_there_are_no_more_consumers_than_connections_to_kafka_can_be_had_for() -> None:
    async with TestClient(TestServer(Gateway(Settings()).application())) as client:
        answer = await client.get("/events/topic/group/1")
        assert (answer.status, (await answer.json())["mrstatus"]) == (503, 5012)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"/events/{OPEN}/g/1"), ("POST", f"/events/{OPEN}"), ("POST", "/topics/create")],
)
@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Host": "mr.example", "Origin": "https://evil.example"}, False),
        ({"Host": "evil.example"}, False),
        ({"Host": "mr.example"}, True),
        ({"Host": "192.0.2.1:3904"}, True),
    ],
)
async def test_a_foreign_page_takes_and_gives_nothing(
    client: TestClient[Any, Any], method: str, path: str, headers: Mapping[str, str], is_ours: bool
) -> None:
    async with client.request(method, path, headers=headers, data=b"{") as answer:
        assert (answer.status != 403) is is_ours, await answer.text()
    if method == "GET" and is_ours:
        image = {**headers, "Referer": "http://evil.example/page"}
        if "Sec-Fetch-Site" not in headers:
            assert (await client.get(path, headers=image)).status == 403


async def test_probes_are_answered_by_whatever_name(client: TestClient[Any, Any]) -> None:
    foreign = {"Host": "evil.example", "Sec-Fetch-Site": "cross-site"}
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await client.get(path, headers=foreign)).status == 200


async def test_everybody_reads_the_default_topic_and_nobody_forges_on_it(
    client: TestClient[Any, Any],
) -> None:
    assert (await client.get(f"/events/{OPEN}/g/1")).status == 503
    assert (await client.post(f"/events/{OPEN}", data=b"{}")).status == 401
    assert (
        await client.post(f"/events/{OPEN}", data=b"{}", headers=basic("bob", "right"))
    ).status == 401
    body = json.dumps({"topicName": "unauthenticated.forged"}).encode()
    assert (await client.post("/topics/create", data=body)).status == 401


@pytest.mark.parametrize(
    ("login", "seen"), [({}, TOPICS[:1]), (basic("bob", "right"), ["own.a", TOPICS[0]])]
)
async def test_topics_are_told_to_who_may_use_them_alone(
    client: TestClient[Any, Any], login: dict[str, str], seen: list[str]
) -> None:
    async with client.get("/topics", headers=login) as answer:
        assert (await answer.json())["topics"] == seen
    async with client.get("/topics/listAll", headers=login) as answer:
        assert [each["topicName"] for each in (await answer.json())["topics"]] == seen


async def test_without_users_the_topics_of_the_settings_are_served_alone() -> None:
    async with TestClient(TestServer(Gateway(Settings()).application())) as client:
        async with client.get("/topics") as answer:
            assert (await answer.json())["topics"] == TOPICS[:1]
        body = json.dumps({"topicName": "site2.notifications"}).encode()
        assert (await client.post("/topics/create", data=body)).status == 401


async def test_guesses_wait_and_are_logged_and_known_logins_go_on(
    client: TestClient[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = "/events/own.a/g/1"
    assert (await client.get(path, headers=basic("bob", "right"))).status == 503
    guessed = [(await client.get(path, headers=basic("bob", f"g{n}"))) for n in range(FREE + 2)]
    assert [each.status for each in guessed] == [401] * FREE + [429] * 2
    assert int(guessed[-1].headers["Retry-After"]) >= 1
    assert (await client.get(path, headers=basic("bob", "right"))).status == 503
    told = [text for each in caplog.records if "=login.failed " in (text := each.getMessage())]
    assert len(told) == FREE
    assert " address=127.0.0.1 method=GET route=/events/{topic}/{group}/{id} " in told[0]
    assert " object=own.a/g/1 reason=\"user 'bob'\" status=401" in told[0]


@pytest.mark.parametrize("headers", [basic("bob", ""), basic("bob", "x")])
def test_a_user_without_a_password_does_not_log_in(headers: dict[str, str]) -> None:
    user = msgspec.structs.replace(BOB, password=Secret())
    with pytest.raises(MessageRouterError, match="is denied"):
        authorize([user], "own.a", headers, publish=False)
    with pytest.raises(SettingsError, match=r"gateway.users: bob needs password"):
        check_web(Settings(gateway=GatewaySettings(users=[user])))


def test_a_gateway_that_is_open_to_the_network_does_not_start() -> None:
    for host in ("127.0.0.1", "localhost"):
        refuse_open_gateway(Settings(gateway=GatewaySettings(host=host)))
    for host in ("0.0.0.0", "192.0.2.1"):
        with pytest.raises(SettingsError, match=r"add \[\[gateway.users\]\]"):
            refuse_open_gateway(Settings(gateway=GatewaySettings(host=host)))
        for told in (
            GatewaySettings(host=host, users=[BOB]),
            GatewaySettings(host=host, allow_anonymous=True),
        ):
            refuse_open_gateway(Settings(gateway=told))
