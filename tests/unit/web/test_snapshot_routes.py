"""Snapshots over HTTP: what is refused before Kafka is asked."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from streams.subscriptions.snapshots import SnapshotBook
from vimfed.settings import DmaapOutput, DmaapSettings, Settings
from web.auth.access import Access
from web.http.errors import errors_as_json
from web.http.routes import add_routes
from web.snapshots import Snapshots

SETTINGS = Settings(
    dmaap=DmaapSettings(
        outputs=[
            DmaapOutput(name="events", url="kafka://a:1/t"),
            DmaapOutput(name="metrics", url="kafka://a:1/m", carries="measurements"),
            DmaapOutput(name="faults", url="kafka://a:1/f", format="ves"),
            DmaapOutput(name="tenants", url="kafka://a:1/t.{project_id}"),
        ]
    )
)
V1 = f"{SETTINGS.web.prefix}/v1"
Client = TestClient[web.Request, web.Application]


class Changes:
    """The subscriptions topic, read as soon as it is written."""

    def __init__(self, book: SnapshotBook) -> None:
        self._book = book

    async def known(self) -> None:
        pass

    async def append(self, key: bytes, value: bytes | None, _caller: tuple[str, bytes]) -> None:
        self._book.add(key.decode().removeprefix("snapshot/"), value)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    worker: Any = SimpleNamespace(
        settings=SETTINGS, snapshots=SnapshotBook(), vim_ids={"Owner_one", "Owner_two"}
    )
    changes: Any = Changes(worker.snapshots)
    app = web.Application(middlewares=[errors_as_json, Access(SETTINGS.web).check])
    add_routes(app, Snapshots(worker, changes).routes())
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("snapshots/a", {}, "not a snapshot: "),
        ("snapshots/a", {"output": "metrics"}, "output: 'metrics' is none of events, faults"),
        ("snapshots/a", {"output": "tenants"}, "output: 'tenants' is none of events, faults"),
        ("snapshots/a", {"output": "faults"}, "output faults gets no notifications of VES"),
        ("snapshots/a", {"output": "events", "clouds": ["x"]}, "clouds: 'x' is none of Owner_one"),
        ("snapshots/a b", {"output": "events"}, "a name has 1 to 64 letters"),
        (
            "Owner/one/snapshots/a",
            {"output": "events", "clouds": ["Owner_two"]},
            "clouds: by this path it is of Owner_one alone: leave them out",
        ),
        ("Owner/three/snapshots/a", {"output": "events"}, "clouds: 'Owner_three' is none of"),
    ],
)
async def test_what_nobody_could_take_is_refused_with_what_mends_it(
    client: Client, path: str, body: dict[str, Any], complaint: str
) -> None:
    answer = await client.put(f"{V1}/{path}", json=body)
    error = (await answer.json())["error"]
    assert (answer.status, error[: len(complaint)]) == (400, complaint)


async def test_a_cloud_that_is_named_twice_is_told_of_once(client: Client) -> None:
    body = {"output": "events", "clouds": ["Owner_two", "Owner_one", "Owner_two"]}
    for status in (201, 200):
        answer = await client.put(f"{V1}/snapshots/a", json=body)
        assert (answer.status, (await answer.json())["clouds"]) == (
            status,
            ["Owner_two", "Owner_one"],
        )
