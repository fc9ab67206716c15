from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import Counter

from streams.publisher.health import PublisherCounters
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


async def test_openmetrics_has_the_trace_of_a_case() -> None:
    registry = new_registry()
    PublisherCounters(registry, "mr").took(0.3, {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"})
    server = MonitoringServer(registry, live=dict, ready=dict)
    port = await server.start("127.0.0.1", 0)
    wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    async with (
        aiohttp.ClientSession(headers={"Accept": wanted}) as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = await answer.text()
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    await server.close()
    (line,) = (each for each in text.splitlines() if "trace_id" in each)
    assert line.startswith('vimfed_publisher_delay_seconds_bucket{le="0.5",output="mr"} 1.0 # ')
    assert text.endswith("# EOF\n")


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
