"""The gateway over a real Kafka: its protocol, and ONAP's own client, unchanged."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.stack import Stack, eventually
from vimfed.local_kafka import CACHE, LocalKafka
from vimfed.ports import free_ports

ONAPSDK = "onapsdk==14.6.0"

SCRIPT = """
import json, sys
from onapsdk.dmaap.dmaap import Dmaap
auth = {"username": "bob", "password": "secret"}
topic = sys.argv[1]
first = Dmaap.get_events_for_topic(topic, auth)
Dmaap.post_event(topic, json.dumps({"instance_id": "vm-1", "state": "error"}))
print(json.dumps([Dmaap.get_all_topics(auth), first, Dmaap.get_events_for_topic(topic, auth)]))
"""


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str, topic: str) -> None:
        self.session, self.url, self.topic = session, url, topic

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(self.url + path, **options) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: bytes, content_type: str) -> tuple[int, Any]:
        headers = {"Content-Type": content_type}
        async with self.session.post(self.url + path, data=body, headers=headers) as response:
            return response.status, await response.json()


@pytest.fixture
async def client(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Client]:
    (port,) = free_ports(1)
    users = '[[gateway.users]]\nname = "bob"\npassword = "secret"\nsubscribe = ["secret.*"]\n'
    sections = f"[gateway]\nport = {port}\n{users}"
    async with Stack(tmp_path, kafka.bootstrap, [], sections) as stack:
        stack.start("gateway")
        async with aiohttp.ClientSession() as session:
            client = Client(session, f"http://127.0.0.1:{port}", f"unauthenticated.{stack.prefix}")

            async def answers() -> bool:
                assert stack.children["gateway"].running, stack.children["gateway"].last_log_line()
                try:
                    return (await client.get("/topics"))[0] == 200
                except aiohttp.ClientConnectionError:
                    return False

            await eventually(answers, within=30)
            topic = json.dumps({"topicName": client.topic, "partitionCount": 2}).encode()
            assert (await client.post("/topics/create", topic, "application/json"))[0] == 200

            async def created() -> bool:
                return client.topic in (await client.get("/topics"))[1]["topics"]

            await eventually(created, within=10)
            yield client


async def test_a_consumer_gets_what_was_posted_in_every_content_type_and_only_once(
    client: Client,
) -> None:
    events = f"/events/{client.topic}"
    assert await client.get(f"{events}/g/1?timeout=3000") == (200, [])
    frames = b"".join(b"1.%d.k%b\n" % (len(m), m) for m in (b'{"n":1}', b'{"n":2}'))
    for body, content_type, count in (
        (frames, "application/cambria", 2),
        (gzip.compress(frames), "application/cambria-zip", 2),
        (b'[{"n":3},{"n":4}]', "application/json", 2),
        (b'{"n":5}\n{"n":6}', "text/plain", 2),
        (b'{"n":7}', "application/unheard-of", 1),
    ):
        status, answer = await client.post(events, body, content_type)
        assert (status, answer["count"]) == (200, count)
    got: list[int] = []
    while len(got) < 9:
        status, messages = await client.get(f"{events}/g/1?timeout=5000&limit=4")
        assert status == 200
        assert 0 < len(messages) <= 4
        got += [json.loads(message)["n"] for message in messages]
    assert sorted(got) == [1, 1, 2, 2, 3, 4, 5, 6, 7]
    assert await client.get(f"{events}/g/1?timeout=300") == (200, [])
    await client.post(events, b'[{"n":8},{"n":9}]', "application/json")
    wanted = json.dumps({"class": "Equals", "field": "n", "value": 9})
    assert await client.get(f"{events}/g/1", params={"filter": wanted}) == (200, ['{"n":9}'])


async def test_errors_are_the_message_routers(client: Client) -> None:
    async def refusal(path: str) -> tuple[int, int]:
        status, body = await client.get(path)
        assert body["status"] == status
        return status, body["mrstatus"]

    assert await refusal("/events/unauthenticated.none/g/1") == (404, 3001)
    assert await refusal(f"/events/{client.topic}") == (404, 5008)
    assert await refusal("/events/secret.topic/g/1") == (401, 5008)
    assert await refusal("/topics/none") == (404, 6002)
    status, body = await client.post(f"/events/{client.topic}", b"5.9.x", "application/cambria")
    assert (status, body["mrstatus"]) == (400, 5007)
    slow = asyncio.create_task(client.get(f"/events/{client.topic}/g/2?timeout=4000"))
    await asyncio.sleep(1.5)
    assert await refusal(f"/events/{client.topic}/g/2") == (409, 5012)
    assert (await slow)[0] == 200


def onapsdk_python() -> Path:
    """Return a Python with ONAP's SDK: its pins do not go with ours."""
    folder = CACHE / ONAPSDK.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "setuptools<80", ONAPSDK]
        subprocess.run(install, check=True)
        (folder / "installed").touch()
    return python


async def test_onaps_own_client_reads_and_writes_through_the_gateway(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "sdk_settings.py").write_text(f'DMAAP_URL = "{client.url}"\n')
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "ONAP_PYTHON_SDK_SETTINGS": "sdk_settings",
    }
    python = await asyncio.to_thread(onapsdk_python)

    def play() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-c", SCRIPT, client.topic],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = await asyncio.to_thread(play)
    assert done.returncode == 0, done.stderr
    topics, before, after = json.loads(done.stdout)
    assert client.topic in topics
    assert before == []
    assert [json.loads(message)["state"] for message in after] == ["error"]
