"""docker-compose.yml as it is shipped: no page in a browser can use what it publishes.

The containers' own commands and environments, as processes of this machine.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.e2e.stack import eventually
from tests.support.paths import PROJECT
from tests.support.topics import count_records
from vimfed.local.child import Child
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())[
    "services"
]
CLOUD = "/api/multicloud/v1/CloudOwner/RegionOne"
SUBSCRIPTION = "/api/multicloud/v1/subscriptions/forged"
STATE = {"instance_id": "vm-1", "state": "stopped"}
PAGE = {"Origin": "http://evil.example", "Referer": "http://evil.example/"}
NO_TOPICS = '{"topics":[]}'
TEXT = {"Content-Type": "text/plain"}
"""What a page may send without asking first."""


class Asked(NamedTuple):
    """A request for which a page may make a browser."""

    method: str
    path: str
    body: bytes = b""


WORKER = [
    Asked("GET", "/api/multicloud/v1/vims"),
    Asked("GET", f"{CLOUD}/instances"),
    Asked("GET", "/api/multicloud/v1/events?recent=10"),
    Asked("GET", "/api/multicloud/v1/workers"),
    Asked("GET", "/metrics"),
    Asked("POST", "/CloudOwner_RegionOne/check_vim_status", b'{"states": ["ACTIVE"]}'),
    Asked("POST", f"{CLOUD}/notifications", json.dumps(STATE).encode()),
    Asked("PUT", SUBSCRIPTION, b"{}"),
    Asked("DELETE", SUBSCRIPTION),
]
GATEWAY = [
    Asked("GET", "/topics"),
    Asked("GET", "/topics/TOPIC"),
    Asked("GET", "/events/TOPIC/group/one?timeout=100"),
    Asked("GET", "/metrics"),
    Asked("POST", "/events/TOPIC", b'{"forged": true}'),
    Asked("POST", "/topics/create", b'{"topicName": "unauthenticated.forged"}'),
]


class Shipped:
    """A worker and a gateway as the compose file runs them, and what they are asked."""

    def __init__(self, session: aiohttp.ClientSession, folder: Path, bootstrap: str) -> None:
        self.session = session
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.topic = f"unauthenticated.{self.prefix}"
        self._folder = folder
        self._bootstrap = bootstrap
        names = ("worker", "worker probes", "gateway", "gateway probes")
        self.ports = dict(zip(names, free_ports(4), strict=True))
        made = [self._on_this_machine(each) for each in SERVICES["login"]["command"]]
        subprocess.run([*self._vimfed, *made], check=True)

    def login(self, name: str) -> dict[str, str]:
        """Return the headers of the user that a container's first start has made."""
        password = (self._folder / "login" / name / "password").read_text().strip()
        return {"Authorization": aiohttp.encode_basic_auth("operator", password)}

    def _on_this_machine(self, value: str) -> str:
        return value.replace("/etc/vimfed/login", f"{self._folder}/login")

    @property
    def _vimfed(self) -> list[str]:
        return [sys.executable, "-m", "vimfed", "--config", str(PROJECT / "vimfed.toml")]

    def environment(self, name: str) -> dict[str, str]:
        """Return a container's, with brokers, folders and ports of this machine."""
        given = dict(SERVICES[name]["environment"])
        section = "WEB" if name == "worker" else "GATEWAY"
        given = {
            key: each.replace("/etc/vimfed/login", f"{self._folder}/login")
            for key, each in given.items()
        }
        return given | {
            "VIMFED_STATE_DIR": str(self._folder / name),
            "VIMFED_KAFKA__BOOTSTRAP": self._bootstrap,
            "VIMFED_KAFKA__TOPIC_PREFIX": self.prefix,
            f"VIMFED_{section}__PORT": str(self.ports[name]),
            f"VIMFED_{section}__MONITORING_PORT": str(self.ports[f"{name} probes"]),
        }

    def child(self, name: str) -> Child:
        """Return the process of a container, not started."""
        log = self._folder / f"{name}.log"
        environment = {**os.environ, **self.environment(name)}
        return Child([*self._vimfed, *SERVICES[name]["command"]], env=environment, log=log)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    async def ask(
        self, name: str, asked: Asked, **headers: str
    ) -> tuple[int, str, Mapping[str, str]]:
        """Return status, body and headers of the answer; of a stream, the first bytes."""
        url = self.url(name) + asked.path.replace("TOPIC", self.topic)
        async with self.session.request(
            asked.method, url, data=asked.body or None, headers=headers
        ) as answer:
            is_stream = answer.content_type == "text/event-stream"
            body = await (answer.content.readany() if is_stream else answer.read())
            return answer.status, body.decode(), answer.headers

    def status(self) -> dict[str, Any]:
        """Return what ``vimfed status`` says with both containers' settings."""
        environment = self.environment("gateway") | self.environment("worker")
        environment["VIMFED_GATEWAY__ENABLED"] = "true"
        told = subprocess.run(
            [*self._vimfed, "status", "--json"],
            env={**os.environ, **environment},
            capture_output=True,
            check=True,
        )
        answer: dict[str, Any] = json.loads(told.stdout)
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shipped(
    tmp_path_factory: pytest.TempPathFactory, kafka: LocalKafka
) -> AsyncIterator[Shipped]:
    folder = tmp_path_factory.mktemp("compose")
    async with aiohttp.ClientSession() as session:
        compose = Shipped(session, folder, kafka.bootstrap)
        children = [compose.child(name) for name in ("worker", "gateway")]
        try:
            for child in children:
                child.spawn()
            for name, child in zip(("worker", "gateway"), children, strict=True):
                await eventually(lambda: _is_ready(compose, name, child), within=60)  # noqa: B023
            body = json.dumps({"topicName": compose.topic}).encode()
            made = Asked("POST", "/topics/create", body)
            assert (await compose.ask("gateway", made, **compose.login("gateway")))[0] == 200
            published = Asked("POST", "/events/TOPIC", b'{"true": true}')

            async def is_published() -> bool:
                return (await compose.ask("gateway", published, **compose.login("gateway")))[
                    0
                ] == 200

            await eventually(is_published, within=20)
            yield compose
        finally:
            for child in children:
                child.stop()


async def _is_ready(compose: Shipped, name: str, child: Child) -> bool:
    assert child.running, child.last_log_line()
    try:
        return (await compose.ask(name, Asked("GET", "/readyz")))[0] == 200
    except aiohttp.ClientConnectionError:
        return False


def pages(port: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what makes a browser ask, and the headers that it sends then."""
    yield "a page of another site", {**PAGE, "Sec-Fetch-Site": "cross-site"}
    yield "another site's page over HTTP, in a browser that tells its origin alone", PAGE
    yield "an image of a page that lets its browser tell nothing", {}
    name = f"evil.example:{port}"
    yield (
        "a page whose site's name leads to us",
        {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"},
    )


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (name, asked)
        for name, all_asked in (("worker", WORKER), ("gateway", GATEWAY))
        for asked in all_asked
    ],
    ids=lambda each: " ".join(each[:2]) if isinstance(each, Asked) else each,
)
async def test_no_page_in_a_browser_reads_or_changes_anything(
    shipped: Shipped, kafka: LocalKafka, name: str, asked: Asked
) -> None:
    before = count_records(kafka.bootstrap, shipped.topic)
    for page, headers in pages(shipped.ports[name]):
        status, body, answered = await shipped.ask(name, asked, **TEXT, **headers)
        assert status in (401, 403, 404) or body == NO_TOPICS, (page, status, body)
        assert "Access-Control-Allow-Origin" not in answered
    assert count_records(kafka.bootstrap, shipped.topic) == before


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("worker", Asked("PUT", SUBSCRIPTION, b"{}")),
        ("worker", Asked("POST", f"{CLOUD}/notifications", json.dumps(STATE).encode())),
        ("gateway", Asked("POST", "/events/TOPIC", b'{"forged": true}')),
        ("gateway", Asked("GET", "/events/TOPIC/group/two?timeout=100")),
    ],
    ids=lambda each: " ".join(each[:2]) if isinstance(each, Asked) else each,
)
async def test_a_login_that_the_browser_remembers_is_for_our_own_page_alone(
    shipped: Shipped, name: str, asked: Asked
) -> None:
    own = {"Origin": shipped.url(name), "Sec-Fetch-Site": "same-origin"}
    for page, headers in list(pages(shipped.ports[name]))[:2]:
        status, body, _ = await shipped.ask(name, asked, **shipped.login(name), **headers)
        assert status == 403, (page, body)
    status, body, _ = await shipped.ask(name, asked, **shipped.login(name), **own)
    assert status in (200, 201), body


@pytest.mark.parametrize("name", ["worker", "gateway"])
async def test_probes_and_metrics_have_a_port_that_has_nothing_else(
    shipped: Shipped, name: str
) -> None:
    probes = f"{name} probes"
    for path in ("/healthz", "/readyz"):
        assert (await shipped.ask(probes, Asked("GET", path)))[0] == 200
        assert (await shipped.ask(name, Asked("GET", path)))[0] == 200
    status, metrics, _ = await shipped.ask(probes, Asked("GET", "/metrics"))
    assert (status, "vimfed_ready 1.0" in metrics) == (200, True)
    assert (await shipped.ask(name, Asked("GET", "/metrics"), **shipped.login(name)))[0] == 404
    for asked in WORKER + GATEWAY:
        if asked.path != "/metrics":
            assert (await shipped.ask(probes, asked))[0] == 404


async def test_the_status_asks_probes_where_they_are(shipped: Shipped) -> None:
    told = shipped.status()
    (gateway,) = [each for each in told["processes"] if each["name"] == "gateway"]
    assert (gateway["url"], gateway["wrong"]) == (shipped.url("gateway probes"), {})
    assert [worker["wrong"] for worker in told["workers"]] == [{}]
