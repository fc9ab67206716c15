"""Subscriptions over HTTP, while Kafka does not answer."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from vimfed.settings import Settings
from web import subscriptions
from web.auth.access import Access
from web.http.errors import errors_as_json
from web.http.routes import add_routes
from web.subscriptions import Subscriptions


async def test_whoever_asks_while_kafka_is_silent_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "KNOWN_WITHIN", 0.1)
    settings = Settings()
    check = Access(settings.web).check
    app = web.Application(middlewares=[errors_as_json, check])
    add_routes(app, Subscriptions(settings).routes())
    path = f"{settings.web.prefix}/v1/subscriptions"
    async with TestClient(TestServer(app)) as client, asyncio.timeout(5):
        for answer in (
            await client.get(path),
            await client.get(f"{path}/x"),
            await client.put(f"{path}/x", json={}),
            await client.delete(f"{path}/x"),
        ):
            assert (answer.status, (await answer.json())["reason"]) == (
                503,
                "Kafka does not answer",
            )
