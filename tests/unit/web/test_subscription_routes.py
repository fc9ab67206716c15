"""Subscriptions over HTTP, while Kafka does not answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from streams.subscriptions.filters import SubscriptionHistory
from streams.subscriptions.log import SubscriptionLog
from streams.subscriptions.switches import OutputSwitches
from vimfed.settings import DmaapOutput, DmaapSettings, Settings
from web import change_log
from web.auth.access import Access
from web.change_log import ChangeLog
from web.http.errors import errors_as_json
from web.http.routes import add_routes
from web.outputs import Outputs
from web.subscriptions import Subscriptions

SETTINGS = Settings(
    dmaap=DmaapSettings(
        outputs=[
            DmaapOutput(name="events", url="kafka://a:1/t"),
            DmaapOutput(name="metrics", url="kafka://a:1/m", carries="measurements"),
        ]
    )
)
PATH = f"{SETTINGS.web.prefix}/v1/subscriptions"

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(change_log, "KNOWN_WITHIN", 0.1)
    check = Access(SETTINGS.web).check
    app = web.Application(middlewares=[errors_as_json, check])
    switches = OutputSwitches()
    changes = ChangeLog(
        SubscriptionLog(SETTINGS.kafka, SubscriptionHistory(None, kept=0), (switches,))
    )
    add_routes(app, Subscriptions(SETTINGS, changes).routes())
    add_routes(app, Outputs(SETTINGS, changes, switches).routes())
    async with TestClient(TestServer(app)) as client, asyncio.timeout(5):
        yield client


async def test_whoever_asks_while_kafka_is_silent_is_told_so(client: Client) -> None:
    for answer in (
        await client.get(PATH),
        await client.get(f"{PATH}/x"),
        await client.put(f"{PATH}/x", json={}),
        await client.delete(f"{PATH}/x"),
    ):
        assert (answer.status, (await answer.json())["reason"]) == (503, "Kafka does not answer")


@pytest.mark.parametrize(
    ("subscription", "complaint"),
    [
        ({"kinds": ["PAUS"]}, "kinds: 'PAUS' is none of"),
        ({"output": "other"}, "output: 'other' is none of events, metrics"),
        ({"output": "metrics", "kinds": ["PAUSE"]}, "output metrics gets measurements, which have"),
        ({"output": "metrics", "phases": ["end"]}, "have neither kinds nor phases: leave them out"),
        ({"meter": ["cpu_util"]}, "unknown field `meter`"),
    ],
)
async def test_what_would_want_nothing_is_refused(
    client: Client, subscription: dict[str, Any], complaint: str
) -> None:
    answer = await client.put(f"{PATH}/x", json=subscription)
    assert answer.status == 400
    assert complaint in str(await answer.json())


async def test_meters_can_be_named_with_or_without_an_output_of_measurements(
    client: Client,
) -> None:
    for output in ("", "events", "metrics"):
        wanted = {"output": output, "meters": ["cpu_util"]}
        # It is right: then Kafka is asked.
        assert (await client.put(f"{PATH}/x", json=wanted)).status == 503
