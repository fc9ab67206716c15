"""The ports for probes and metrics answer as every server of the job does."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from vimfed.process.metrics import MonitoringServer
from vimfed.process.ports import free_ports


@pytest.fixture
async def port() -> AsyncIterator[int]:
    def broken() -> dict[str, str]:
        raise RuntimeError("a fault with a path in it")

    server = MonitoringServer(
        CollectorRegistry(), live=broken, ready=dict, allowed_hosts=["monitor.example"]
    )
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def asked(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, Mapping[str, str]]:
    url = f"http://127.0.0.1:{port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers) as answer,
    ):
        return answer.status, await answer.read(), answer.headers


async def test_errors_are_json_and_show_nothing_of_ours(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    status, body, _ = await asked(port, "/nothing")
    assert (status, json.loads(body)) == (404, {"error": "there is nothing at /nothing"})
    status, body, headers = await asked(port, "/metrics", "POST")
    assert (status, json.loads(body)) == (405, {"error": "/metrics takes GET, HEAD, not POST"})
    assert headers["Allow"] == "GET, HEAD"
    status, body, headers = await asked(port, "/healthz")
    assert (status, json.loads(body)) == (500, {"error": "an error of ours; the log says more"})
    assert "GET /healthz failed" in caplog.text
    for name, value in (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")):
        assert headers[name] == value
    assert "Server" not in headers
    assert (await asked(port, "/readyz", "HEAD"))[:2] == (200, b"")


async def test_a_head_of_any_size_is_refused_as_json(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert "no HTTP request" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


async def test_a_site_whose_name_leads_to_loopback_reads_nothing(port: int) -> None:
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.example", ""):
        status, body, _ = await asked(port, "/readyz", Host=host)
        assert (status, "web.allowed_hosts" in json.loads(body)["error"]) == (403, True), host
    for host in ("localhost", f"127.0.0.1:{port}", "[::1]", "10.0.0.1", "Monitor.example:80"):
        assert (await asked(port, "/readyz", Host=host))[0] == 200, host


async def test_off_loopback_prometheus_asks_by_the_name_of_a_service() -> None:
    server = MonitoringServer(CollectorRegistry(), live=dict, ready=dict)
    (port,) = free_ports(1)
    await server.start("0.0.0.0", port)
    assert (await asked(port, "/metrics", Host="bridge.monitoring.svc:6065"))[0] == 200
    await server.close()
