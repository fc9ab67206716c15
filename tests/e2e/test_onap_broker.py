"""The API as it is met behind ONAP's broker, which forwards only what has a cloud in its path."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.notifications_topic import NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.multicloud_broker import MulticloudBroker
from tests.support.paths import PROJECT

pytestmark = pytest.mark.asyncio(loop_scope="package")

VIM_ID = "Owner_onap"
BASE = "/api/multicloud/v1"
CLOUD = f"{BASE}/Owner/onap"


class Behind:
    """A client that knows the broker alone."""

    def __init__(self, broker: MulticloudBroker, session: aiohttp.ClientSession) -> None:
        self.broker = broker
        self._session = session

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON (or the text that is none) and headers."""
        async with self._session.request(
            method, self.broker.url + path, json=body, headers=headers
        ) as answer:
            try:
                told = await answer.json(content_type=None)
            except ValueError:
                told = await answer.text()
            return answer.status, told, dict(answer.headers)

    async def get(self, path: str) -> Any:
        status, told, _ = await self.ask("GET", path)
        assert status == 200, told
        return told


@pytest_asyncio.fixture(loop_scope="package")
async def behind(served: Stack) -> AsyncIterator[Behind]:
    services = [
        {
            "serviceName": "multicloud-vimfed",
            "version": version,
            "url": f"/api/multicloud/{version}",
            "server": f"http://127.0.0.1:{served.ports['one']}",
        }
        for version in ("v0", "v1")
    ]
    regions = {VIM_ID: ("openstack", "vimfed"), "Owner_neighbour": ("openstack", "vimfed")}
    plugins = PROJECT / "deploy" / "onap" / "provider-plugin.json"
    async with (
        MulticloudBroker(plugins, regions, services) as broker,
        aiohttp.ClientSession() as session,
    ):
        yield Behind(broker, session)


async def test_what_names_no_cloud_does_not_come_through(behind: Behind) -> None:
    """The traps that the cloud's own spellings avoid, so that the stand-in has them."""
    for method, path, status in (
        ("GET", f"{BASE}/vims", 404),
        ("GET", f"{BASE}/events", 404),
        ("GET", f"{BASE}/subscriptions", 404),
        ("GET", f"{BASE}/subscriptions/mine", 500),
        ("PUT", f"{BASE}/subscriptions/mine", 500),
        ("DELETE", f"{BASE}/subscriptions/mine", 404),  # it looks for that VIM, to unregister it
        ("GET", f"{BASE}/Nobody/nowhere/instances", 404),
    ):
        assert (await behind.ask(method, path))[0] == status, path
    assert behind.broker.forwarded == []
    assert (await behind.ask("GET", f"{CLOUD}/events", Accept="text/event-stream"))[0] == 406


async def test_a_cloud_is_seen_and_told_of_through_the_broker(behind: Behind) -> None:
    (vim,) = (await behind.get(f"{CLOUD}/vims"))["vims"]
    assert vim["vim_id"] == VIM_ID
    assert (await behind.get(f"{CLOUD}/workers"))["unowned"] == []
    start = await behind.get(f"{CLOUD}/events")
    assert (start["events"], start["missed"]) == ([], False)
    waiting = asyncio.create_task(behind.get(f"{CLOUD}/events?after={start['next']}&wait=30"))
    pushed = {"instance_id": "onap-1", "state": "stopped"}
    status, told, _ = await behind.ask("POST", f"{CLOUD}/notifications", pushed)
    assert (status, told) == (200, {"accepted": 1})
    first = await waiting
    assert [event["instance_id"] for event in first["events"]] == ["onap-1"]
    again = {"states": ["stopped"], "instance_id": "onap-1"}
    for path in (f"{CLOUD}/check_vim_status", f"/api/multicloud/v0/{VIM_ID}/check_vim_status"):

        async def is_found(path: str = path) -> bool:
            status, told, _ = await behind.ask("POST", path, again)
            assert status == 200
            return bool(told["count"] == 1)

        await eventually(is_found, within=30)
    for path in ("instances", "hosts", "alerts"):
        assert (await behind.get(f"{CLOUD}/{path}"))["vim_id"] == VIM_ID


async def test_polls_through_the_broker_lose_nothing_between_them(
    served: Stack, behind: Behind
) -> None:
    place = (await behind.get(f"{CLOUD}/events"))["next"]
    topic = NotificationsTopic(served, VIM_ID)
    NotificationsTopic(served, "Owner_neighbour").tell("onap-of-another-cloud")
    sent = [f"onap-poll-{number}" for number in range(40)]
    for name in sent:
        topic.tell(name)
    told: list[str] = []

    async def all_are_told() -> bool:
        nonlocal place
        polled = await behind.get(f"{CLOUD}/events?after={place}&limit=7&wait=5")
        assert not polled["missed"]
        assert len(polled["events"]) <= 7
        told.extend(event["instance_id"] for event in polled["events"])
        place = polled["next"]
        return {*told} >= {*sent}

    await eventually(all_are_told, within=60, every=0)
    assert sorted(told) == sorted(sent)


async def test_subscriptions_of_a_cloud_are_made_changed_and_ended_through_the_broker(
    served: Stack, behind: Behind
) -> None:
    one = f"{CLOUD}/subscriptions/onap.mine"
    try:
        status, told, _ = await behind.ask("PUT", one, {"kinds": ["PAUSE"]})
        assert (status, told["clouds"]) == (201, [VIM_ID])
        status, told, _ = await behind.ask("PUT", one, {"clouds": [VIM_ID], "phases": ["end"]})
        assert (status, told["kinds"], told["phases"]) == (200, [], ["end"])
        assert (await behind.get(one))["name"] == "onap.mine"
        listed = (await behind.get(f"{CLOUD}/subscriptions"))["subscriptions"]
        assert [each["name"] for each in listed] == ["onap.mine"]
        _, told = await served.get(f"{BASE}/subscriptions/onap.mine", "one")
        assert told["clouds"] == [VIM_ID]
        status, told, headers = await behind.ask("PUT", one, {"clouds": ["Owner_neighbour"]})
        assert (status, "leave them out" in told["error"]) == (400, True)
        assert headers["Content-Type"].startswith("text/html")  # the broker says so of all errors
    finally:
        status, told, _ = await behind.ask("DELETE", one)
        assert (status, told["name"]) == (200, "onap.mine")
    assert (await behind.ask("GET", one))[0] == 404


async def test_subscriptions_that_are_not_of_the_cloud_alone_are_out_of_its_reach(
    served: Stack, behind: Behind
) -> None:
    own = f"{BASE}/subscriptions/onap-of-all"
    assert (await served.put(own, {"clouds": [VIM_ID, "Owner_neighbour"]}, "one"))[0] == 201
    try:
        one = f"{CLOUD}/subscriptions/onap-of-all"
        assert (await behind.ask("GET", one))[0] == 404
        assert (await behind.ask("DELETE", one))[0] == 404
        status, told, _ = await behind.ask("PUT", one, {})
        assert (status, "take another name" in told["error"]) == (409, True)
        assert (await behind.get(f"{CLOUD}/subscriptions"))["subscriptions"] == []
    finally:
        assert (await served.delete(own, "one"))[0] == 200
