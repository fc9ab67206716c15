"""What the gateway refuses without Kafka's word."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from vimfed.settings import Settings
from web.gateway import service as gateway
from web.gateway.service import Gateway


async def test_there_are_no_more_consumers_than_connections_to_kafka_can_be_had_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def known(_gateway: Gateway, _topic: str) -> None:
        """Every topic is there."""

    monkeypatch.setattr(Gateway, "_known", known)
    monkeypatch.setattr(gateway, "MAX_CONSUMERS", 0)
    async with TestClient(TestServer(Gateway(Settings()).application())) as client:
        answer = await client.get("/events/topic/group/1")
        assert (answer.status, (await answer.json())["mrstatus"]) == (503, 5012)
