"""Subscriptions that projects keep of their own, over HTTP."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from streams.subscriptions.filters import Subscription, SubscriptionHistory
from vimfed.settings import (
    DmaapOutput,
    DmaapSettings,
    Secret,
    SelfServiceSettings,
    Settings,
    SettingsError,
    WebAuthSettings,
    WebSettings,
    WebUser,
)
from web import self_service
from web.auth.access import Access
from web.http.errors import errors_as_json
from web.http.routes import add_routes
from web.self_service import refuse_unknown_projects
from web.subscriptions import Subscriptions

ONE, OTHER = "1" * 32, "2" * 32
TENANTS = {
    "one": [ONE],
    "other": [OTHER],
    "both": [ONE, OTHER],
    "no-id": ["demo"],
    "operator": [],
}
"""By the user; the operator is a writer, all others are readers."""
Client = TestClient[web.Request, web.Application]


class Changes:
    """Stands for the subscriptions topic, as one that answers at once."""

    def __init__(self) -> None:
        self.log = SimpleNamespace(history=SubscriptionHistory(None, kept=0))

    async def known(self) -> None:
        pass

    async def append(self, key: bytes, value: bytes | None, _caller: object) -> int:
        given = None if value is None else msgspec.json.decode(value, type=Subscription)
        self.log.history.add(key.decode(), given, 0)
        return 0


def settings(per_project: int) -> Settings:
    users = [
        WebUser(
            name=name,
            token=Secret(f"the-token-of-{name}"),
            tenants=tenants,
            role="reader" if tenants else "writer",
        )
        for name, tenants in TENANTS.items()
    ]
    return Settings(
        web=WebSettings(auth=WebAuthSettings(users=users)),
        self_service=SelfServiceSettings(per_project=per_project),
        dmaap=DmaapSettings(
            outputs=[
                DmaapOutput(name="events", url="kafka://a:1/t"),
                DmaapOutput(name="own", url="kafka://a:1/t.{project_id}"),
            ]
        ),
    )


async def served(per_project: int) -> AsyncIterator[Client]:
    told = settings(per_project)
    app = web.Application(middlewares=[errors_as_json, Access(told.web).check])
    changes: Any = Changes()
    add_routes(app, Subscriptions(told, changes).routes())
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async for each in served(2):
        yield each


@pytest.fixture
async def client_when_off() -> AsyncIterator[Client]:
    async for each in served(0):
        yield each


async def ask(
    client: Client, user: str, method: str, name: str = "", body: Any = None
) -> tuple[int, Any]:
    path = f"/api/multicloud/v1/subscriptions{'/' if name else ''}{name}"
    headers = {"Authorization": f"Bearer the-token-of-{user}"}
    answer = await client.request(method, path, json=body, headers=headers)
    return answer.status, await answer.json()


async def names(client: Client, user: str) -> list[tuple[str, str]]:
    _, told = await ask(client, user, "GET")
    return [(each["name"], each.get("owner", "")) for each in told["subscriptions"]]


OWN = {"output": "own"}


async def test_a_project_keeps_its_own_and_learns_of_no_others(client: Client) -> None:
    for user, project in (("one", ONE), ("other", OTHER)):
        status, told = await ask(client, user, "PUT", "mine", {**OWN, "kinds": ["PAUSE"]})
        assert (status, told["name"], told["tenants"]) == (201, "mine", [project])
        assert (await ask(client, user, "PUT", "mine", OWN))[0] == 200
        assert await names(client, user) == [("mine", project)]
    assert (await ask(client, "operator", "PUT", "theirs", {"tenants": [ONE]}))[0] == 201
    assert await names(client, "operator") == [
        (f"mine@{ONE}", ONE),
        (f"mine@{OTHER}", OTHER),
        ("theirs", ""),
    ]
    for foreign in ("theirs", f"mine@{OTHER}", f"mine@{ONE}", "a%2Fb", "nothing"):
        assert (await ask(client, "one", "GET", foreign))[0] == 404
        assert (await ask(client, "one", "DELETE", foreign))[0] in (400, 404)
    assert (await ask(client, "one", "PUT", "theirs", OWN))[0] == 201  # another one of this name
    assert (await ask(client, "one", "DELETE", "mine"))[0] == 200
    assert await names(client, "other") == [("mine", OTHER)]
    assert (await ask(client, "operator", "GET", "theirs"))[1]["tenants"] == [ONE]


@pytest.mark.parametrize(
    ("name", "body", "status", "complaint"),
    [
        ("x", {**OWN, "tenants": [OTHER]}, 403, f"of your project {ONE} alone: leave them out"),
        ("x", {**OWN, "tenants": [ONE, OTHER]}, 403, f"of your project {ONE} alone"),
        ("x", {}, 400, "output: '' is none of own"),
        ("x", {"output": "events"}, 400, "output: 'events' is none of own"),
        ("x", {**OWN, "instances": ["i" * 10_000]}, 400, "takes at most 10000 bytes"),
        (f"x@{OTHER}", OWN, 400, "a name has 1 to 64 letters"),
        ("x%2Fy", OWN, 400, "a name has 1 to 64 letters"),
        ("default", OWN, 409, "default is the settings' [filter]"),
    ],
)
async def test_what_is_not_a_projects_own_is_refused(
    client: Client, name: str, body: Any, status: int, complaint: str
) -> None:
    answer = await ask(client, "one", "PUT", name, body)
    assert (answer[0], complaint in answer[1]["error"]) == (status, True), answer
    assert await names(client, "operator") == []


async def test_a_project_has_no_more_than_its_number(client: Client) -> None:
    for name in ("a", "b", "a"):
        assert (await ask(client, "one", "PUT", name, OWN))[0] in (200, 201)
    status, told = await ask(client, "one", "PUT", "c", OWN)
    assert (status, "your project may have 2 subscriptions" in told["error"]) == (409, True)
    assert (await ask(client, "other", "PUT", "c", OWN))[0] == 201
    assert (await ask(client, "one", "DELETE", "a"))[0] == 200
    assert (await ask(client, "one", "PUT", "c", OWN))[0] == 201


async def test_all_projects_leave_room_for_those_who_operate(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_service, "MAX_OF_PROJECTS", 1)
    assert (await ask(client, "one", "PUT", "a", OWN))[0] == 201
    status, told = await ask(client, "other", "PUT", "a", OWN)
    assert (status, "all projects together" in told["error"]) == (409, True)
    assert (await ask(client, "operator", "PUT", "a", {}))[0] == 201


async def test_a_project_cannot_fill_memories_with_changes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_service, "MAX_CHANGES", 2)
    for _ in range(2):
        assert (await ask(client, "one", "PUT", "a", OWN))[0] in (200, 201)
    status, told = await ask(client, "one", "PUT", "a", OWN)
    assert (status, told["retry_after"] > 0) == (429, True)
    assert (await ask(client, "other", "PUT", "a", OWN))[0] == 201


@pytest.mark.parametrize("user", ["both", "no-id"])
async def test_a_reader_of_no_single_project_writes_nothing(client: Client, user: str) -> None:
    assert (await ask(client, user, "PUT", "x", OWN))[0] == 403
    assert (await ask(client, user, "DELETE", "x"))[0] == 403
    assert (await ask(client, user, "GET"))[0] == 200


async def test_where_it_is_off_nothing_is_written_and_the_rest_can_be_removed(
    client_when_off: Client,
) -> None:
    client = client_when_off
    assert (await ask(client, "one", "PUT", "x", OWN))[0] == 403
    assert (await ask(client, "one", "DELETE", "x"))[0] == 403


async def test_those_who_operate_remove_a_projects_own(client: Client) -> None:
    assert (await ask(client, "one", "PUT", "x", OWN))[0] == 201
    name = f"x@{ONE}"
    assert (await ask(client, "operator", "GET", name))[1]["owner"] == ONE
    assert (await ask(client, "operator", "PUT", name, OWN))[0] == 400
    assert (await ask(client, "operator", "DELETE", f"y@{ONE}"))[0] == 404
    assert (await ask(client, "operator", "DELETE", name))[0] == 200
    assert await names(client, "one") == []


def test_a_worker_does_not_start_where_nobody_says_whose_project_a_callers_is() -> None:
    with pytest.raises(SettingsError, match=r"per_project needs \[web\.auth\.keystone\]"):
        refuse_unknown_projects(settings(1))
    refuse_unknown_projects(settings(0))
