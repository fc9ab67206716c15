from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import Counter

from vimfed.process.metrics import MonitoringServer, new_registry


@pytest.fixture
async def server_and_url() -> AsyncIterator[tuple[dict[str, str], str]]:
    wrong: dict[str, str] = {}
    registry = new_registry()
    Counter("vimfed_test_things", "things", registry=registry).inc(3)
    server = MonitoringServer(registry, live=lambda: wrong, ready=dict)
    port = await server.start("127.0.0.1", 0)
    yield wrong, f"http://127.0.0.1:{port}"
    await server.close()


async def test_metrics_are_shown_in_prometheus_text_format(
    server_and_url: tuple[dict[str, str], str],
) -> None:
    _wrong, url = server_and_url
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        text = await answer.text()
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert "vimfed_test_things_total 3.0" in text
    assert "process_resident_memory_bytes" in text


async def test_health_names_what_is_wrong(server_and_url: tuple[dict[str, str], str]) -> None:
    wrong, url = server_and_url
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        wrong["Owner_Region"] = "stuck"
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 503
            assert await answer.json() == {"status": "failing", "wrong": {"Owner_Region": "stuck"}}
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 200
