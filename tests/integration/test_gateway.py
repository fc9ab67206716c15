"""The gateway over a real Kafka: its protocol, our publisher, and ONAP's own client, unchanged."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.test_utils import TestClient, TestServer
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.e2e.stack import Stack, eventually
from tests.support.onap_sdk import onap_sdk
from tests.support.topics import count_records, read_topic
from tests.support.vm_events import create_topics, vm_event, write_events
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.process.ports import free_ports
from vimfed.settings import KafkaSettings, Settings
from web.gateway.service import Gateway

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
    """Talks to a gateway; ``topic`` is open, ``guarded`` is bob's alone."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack, port: int) -> None:
        self.session, self.stack, self.port = session, stack, port
        self.url = f"http://127.0.0.1:{port}"
        self.topic = f"unauthenticated.{stack.prefix}"
        self.guarded = f"secret.{stack.prefix}"

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(self.url + path, **options) as response:
            return response.status, await response.json()

    async def post(
        self, path: str, body: bytes, content_type: str, **headers: str
    ) -> tuple[int, Any]:
        headers = {"Content-Type": content_type, **headers}
        async with self.session.post(self.url + path, data=body, headers=headers) as response:
            return response.status, await response.json()

    async def expired(self) -> float:
        """Return how many messages of the topic its groups have lost, as the metrics say."""
        async with self.session.get(self.url + "/metrics") as response:
            text = await response.text()
        name = f'vimfed_gateway_expired_unread_total{{topic="{self.topic}"}} '
        return sum(float(line[len(name) :]) for line in text.splitlines() if line.startswith(name))

    async def start_gateway(self) -> None:
        """Start it, also again, and wait until it answers."""
        self.stack.start("gateway")

        async def answers() -> bool:
            gateway = self.stack.children["gateway"]
            assert gateway.running, gateway.last_log_line()
            try:
                return (await self.get("/topics"))[0] == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(answers, within=30)

    async def create(self, topic: str, **headers: str) -> None:
        """Create a topic, and wait until it is listed."""
        body = json.dumps({"topicName": topic, "partitionCount": 2}).encode()
        assert (await self.post("/topics/create", body, "application/json", **headers))[0] == 200

        async def created() -> bool:
            return topic in (await self.get("/topics", headers=headers))[1]["topics"]

        await eventually(created, within=10)


BOB = {"Authorization": aiohttp.encode_basic_auth("bob", "secret")}


def signed_by_bob(date: str = "") -> dict[str, str]:
    date = date or formatdate(usegmt=True)
    signature = base64.b64encode(hmac.digest(b"secret", date.encode(), hashlib.sha1)).decode()
    return {"X-CambriaAuth": f"bob:{signature}", "X-CambriaDate": date}


@pytest.fixture
async def client(tmp_path: Path, kafka: LocalKafka) -> AsyncIterator[Client]:
    (port,) = free_ports(1)
    bob = 'name = "bob"\npassword = "secret"\npublish = ["secret.*"]\nsubscribe = ["secret.*"]\n'
    topics = 'topics = ["unauthenticated.*", "secret.*"]\nopen_publish = ["unauthenticated.*"]\n'
    hosts = '[web]\nallowed_hosts = ["mr"]\n'
    sections = f"{hosts}[gateway]\nport = {port}\n{topics}[[gateway.users]]\n{bob}"
    async with (
        Stack(tmp_path, kafka.bootstrap, [], sections) as stack,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, stack, port)
        await client.start_gateway()
        await client.create(client.topic)
        yield client


async def test_a_consumer_gets_what_others_have_compressed(client: Client) -> None:
    events = f"/events/{client.topic}/g/1?timeout=3000"
    assert await client.get(events) == (200, [])
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        producer = Producer(
            {
                "bootstrap.servers": client.stack.bootstrap,
                "compression.type": codec,
                "linger.ms": 100,
            }
        )
        for _each in range(20):
            producer.produce(client.topic, f'"{codec} {codec} {codec}"', "key")
        assert await asyncio.to_thread(producer.flush, 30) == 0
        got: list[str] = []
        while len(got) < 20:  # they may have come to Kafka in several batches
            status, messages = await client.get(events)
            assert status == 200
            assert messages
            got += messages
        assert got == [f'"{codec} {codec} {codec}"'] * 20


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
    assert await refusal(f"/topics/{client.stack.names.events}") == (404, 6002)
    status, body = await client.post(f"/events/{client.topic}", b"5.9.x", "application/cambria")
    assert (status, body["mrstatus"]) == (400, 5007)
    slow = asyncio.create_task(client.get(f"/events/{client.topic}/g/2?timeout=2500"))
    await asyncio.sleep(1.5)
    assert await refusal(f"/events/{client.topic}/g/2") == (409, 5012)
    assert (await slow)[0] == 200
    third = f"/events/{client.topic}/g/3?timeout=1"
    for _call in range(11):
        assert await client.get(third) == (200, [])
    asked = time.monotonic()
    assert await refusal(third) == (429, 5012)
    assert time.monotonic() - asked >= 6
    assert await client.get(third) == (200, [])


async def test_a_guarded_topic_takes_basic_and_signed_requests_of_its_user_alone(
    client: Client,
) -> None:
    body = json.dumps({"topicName": client.guarded}).encode()
    status, answer = await client.post("/topics/create", body, "application/json")
    assert (status, answer["mrstatus"]) == (401, 5009)
    await client.create(client.guarded, **signed_by_bob())
    events = f"/events/{client.guarded}"
    assert await client.get(f"{events}/g/1?timeout=1", headers=BOB) == (200, [])
    unsigned = {**signed_by_bob(), "X-CambriaDate": formatdate(time.time() - 60, usegmt=True)}
    old = signed_by_bob(formatdate(time.time() - 3600, usegmt=True))
    mistaken = {"Authorization": aiohttp.encode_basic_auth("bob", "no")}
    nobody: dict[str, str] = {}
    for headers in (nobody, mistaken, unsigned, old):
        status, answer = await client.post(events, b"{}", "application/json", **headers)
        assert (status, answer["mrstatus"]) == (401, 5009)
        status, answer = await client.get(f"{events}/g/1?timeout=1", headers=headers)
        assert (status, answer["mrstatus"]) == (401, 5008)
    for headers in (BOB, signed_by_bob()):
        status, _answer = await client.post(events, b"{}", "application/json", **headers)
        assert status == 200
        assert await client.get(f"{events}/g/1?timeout=5000", headers=headers) == (200, ["{}"])


async def test_what_a_vanished_client_or_a_killed_gateway_did_not_deliver_comes_again(
    client: Client,
) -> None:
    events = f"/events/{client.topic}"
    assert await client.get(f"{events}/g/1?timeout=1") == (200, [])
    sent = [f"{number:02}" + "x" * 900_000 for number in range(8)]
    for message in sent:
        assert (await client.post(events, message.encode(), "text/plain"))[0] == 200

    def begin_to_read() -> socket.socket:
        """Read the beginning of an answer, which is larger than what the machine takes ahead."""
        connection = socket.socket()
        connection.settimeout(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
        connection.connect(("127.0.0.1", client.port))
        connection.sendall(f"GET {events}/g/1 HTTP/1.1\r\nHost: mr\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        return connection

    (await asyncio.to_thread(begin_to_read)).close()
    status, got = await client.get(f"{events}/g/1?timeout=5000&limit=1")
    assert (status, len(got)) == (200, 1)
    with await asyncio.to_thread(begin_to_read):
        client.stack.children["gateway"].kill()
    await client.start_gateway()
    while len(got) < len(sent):
        # The killed gateway stays a member of the group for ten seconds.
        status, answer = await client.get(f"{events}/g/1?timeout=20000")
        assert status == 200
        assert answer
        got += answer
    assert sorted(got) == sorted(sent)


async def test_nothing_comes_again_to_a_client_that_closes_once_it_has_its_answer(
    client: Client,
) -> None:
    events = f"/events/{client.topic}"
    assert await client.get(f"{events}/g/1?timeout=1") == (200, [])
    sent = [f"{number:02}" + "x" * 300_000 for number in range(20)]
    for message in sent:
        assert (await client.post(events, message.encode(), "text/plain"))[0] == 200

    def ask() -> list[str]:
        """Read as curl does: as much as the length says, and close at once."""
        with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
            request = f"GET {events}/g/1?timeout=1000&limit=1 HTTP/1.1\r\nHost: mr\r\n"
            connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(100)
            head, _, body = head.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            while len(body) < length:
                body += connection.recv(length - len(body))
        messages: list[str] = json.loads(body)
        return messages

    got: list[str] = []
    while answer := await asyncio.to_thread(ask):
        got += answer
    assert sorted(got) == sent
    assert "Traceback" not in (client.stack.folder / "gateway.log").read_text()


async def test_who_waits_for_messages_does_not_hold_up_the_stop(client: Client) -> None:
    path = f"/events/{client.topic}/g/1"
    assert await client.get(f"{path}?timeout=1") == (200, [])
    waiting = asyncio.create_task(client.session.get(f"{client.url}{path}?timeout=60000"))
    await asyncio.sleep(1.5)  # until it is there: to ask would be to take its place
    begun = time.monotonic()
    gateway = client.stack.children["gateway"]
    await asyncio.to_thread(gateway.stop)
    assert gateway.returncode == 0
    assert time.monotonic() - begun < 5
    async with await waiting as answer:
        assert (await answer.json(), answer.headers["Connection"]) == ([], "close")


async def test_who_comes_back_need_not_wait_for_the_call_that_it_gave_up(client: Client) -> None:
    path = f"/events/{client.topic}/g/1"
    with pytest.raises(TimeoutError):
        await client.get(f"{path}?timeout=60000", timeout=aiohttp.ClientTimeout(total=2))
    asked = time.monotonic()
    assert await client.get(f"{path}?timeout=1") == (200, [])
    assert time.monotonic() - asked < 5


async def test_a_consumer_that_was_slower_than_the_retention_gets_what_is_left(
    client: Client,
) -> None:
    path = f"/events/{client.topic}/g/1"
    assert await client.get(f"{path}?timeout=1") == (200, [])
    client.stack.children["gateway"].stop()
    await client.start_gateway()
    for number in range(5):
        body = b"1.1.k%d" % number
        await client.post(f"/events/{client.topic}", body, "application/cambria")
    first, *_ = read_topic(client.stack.bootstrap, client.topic)
    admin = AdminClient({"bootstrap.servers": client.stack.bootstrap})
    gone = TopicPartition(client.topic, first.partition() or 0, 3)
    for deleted in admin.delete_records([gone]).values():
        await asyncio.to_thread(deleted.result)
    assert await client.get(f"{path}?timeout=10000") == (200, ["3", "4"])
    assert await client.expired() == 3
    # Also where nothing is left at all, and once.
    client.stack.children["gateway"].stop()
    producer = Producer({"bootstrap.servers": client.stack.bootstrap})
    producer.produce(client.topic, b"5", b"k", first.partition() or 0)
    producer.flush(30)
    gone = TopicPartition(client.topic, first.partition() or 0, OFFSET_END)
    for deleted in admin.delete_records([gone]).values():
        await asyncio.to_thread(deleted.result)
    await client.start_gateway()
    for _again in range(2):
        assert await client.get(f"{path}?timeout=3000") == (200, [])
        assert await client.expired() == 1
    log = (client.stack.folder / "gateway.log").read_text()
    assert log.count("removed before they were read") == 2


async def test_a_head_takes_no_messages(client: Client) -> None:
    path = f"/events/{client.topic}/g/1"
    assert await client.get(f"{path}?timeout=1") == (200, [])
    await client.post(f"/events/{client.topic}", b"1.1.ka", "application/cambria")
    async with client.session.head(f"{client.url}{path}") as response:
        assert response.status == 405
    assert await client.get(f"{path}?timeout=10000") == (200, ["a"])


async def test_a_request_asks_kafka_for_its_own_topic_alone(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    send = AIOKafkaAdminClient._send_request

    async def noted(admin: Any, request: Any, node_id: int | None = None) -> Any:
        if "Metadata" in type(request).__name__:
            asked.append(request._topics)
        return await send(admin, request, node_id)

    topic = f"unauthenticated.{uuid.uuid4().hex}"
    settings = Settings(kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=topic))
    gateway = Gateway(settings)
    await gateway._admin.start()
    monkeypatch.setattr(AIOKafkaAdminClient, "_send_request", noted)
    try:
        async with TestClient(TestServer(gateway.application())) as client:
            for _again in range(2):
                absent = await client.post(f"/events/{topic}", data=b"{}")
                assert absent.status == 404  # nor is it made by being asked for
            created = await client.post("/topics/create", json={"topicName": topic})
            assert created.status == 200
            posted = await client.post(f"/events/{topic}", data=b"{}")
            assert posted.status == 200
            assert asked == [[topic]] * 3
    finally:
        gateway._background = []
        await gateway.close()


async def test_what_is_not_understood_is_refused(client: Client) -> None:
    for path, body, code in (
        ("/topics/create", b'{"topicName": "\xff"}', 400),
        ("/topics/create", b'{"x": ' + b"[" * 100_000, 400),
        ("/events/unauthenticated.\xff", b"{}", 404),
    ):
        status, answer = await client.post(path, body, "application/json")
        assert (status, answer["status"]) == (code, code)
    endless = f"/events/{client.topic}/g/1?timeout=1&limit={'9' * 5000}"
    assert (await client.get(endless))[0] == 200


async def test_a_publisher_delivers_every_event_through_the_gateway_also_when_that_is_killed(
    client: Client,
) -> None:
    stack = client.stack
    topics = {name: f"{client.guarded}.{name}" for name in ("plain", "zipped")}
    config = stack.folder / "vimfed.toml"
    outputs = (
        f'[[dmaap.outputs]]\nname = "{name}"\nurl = "{client.url}/events/{topic}"\n'
        f'username = "bob"\npassword = "secret"\ngzip = {str(name == "zipped").lower()}\n'
        for name, topic in topics.items()
    )
    config.write_text(config.read_text() + "".join(outputs))
    await create_topics(stack.bootstrap, stack.prefix)
    for name, topic in topics.items():
        await client.create(topic, **BOB)
        stack.start(name, "publisher", "--output", name, "--port", "0")
    sent = [vm_event(f"vm-{number % 20}") for number in range(2000)]
    writing = asyncio.create_task(
        asyncio.to_thread(write_events, stack.bootstrap, stack.prefix, sent, rate=400)
    )

    async def come(count: int) -> bool:
        there = [
            await asyncio.to_thread(count_records, stack.bootstrap, t) for t in topics.values()
        ]
        return min(there) >= count

    await eventually(lambda: come(200), within=40)
    stack.children["gateway"].kill()
    await client.start_gateway()
    await writing
    wanted = {event.id: event for event in sent}

    async def all_there() -> bool:
        there = [await asyncio.to_thread(ids_on, stack.bootstrap, t) for t in topics.values()]
        return all(set(ids) == wanted.keys() for ids in there)

    await eventually(all_there, within=60, every=0.5)
    for topic in topics.values():
        first = list(dict.fromkeys(ids_on(stack.bootstrap, topic)))
        place = {event_id: number for number, event_id in enumerate(first)}
        for instance in {event.instance_id for event in sent}:
            places = [place[event.id] for event in sent if event.instance_id == instance]
            assert places == sorted(places)
        for record in read_topic(stack.bootstrap, topic):
            event = wanted[json.loads(record.value() or b"")["vim_event"]["id"]]
            assert record.key() == instance_key(event.vim_id, event.instance_id)


def ids_on(bootstrap: str, topic: str) -> list[str]:
    records = read_topic(bootstrap, topic)
    return [json.loads(record.value() or b"")["vim_event"]["id"] for record in records]


async def test_onaps_own_client_reads_and_writes_through_the_gateway(
    client: Client, tmp_path: Path
) -> None:
    told = await asyncio.to_thread(
        onap_sdk, tmp_path, {"DMAAP_URL": client.url}, SCRIPT, client.topic
    )
    topics, before, after = json.loads(told)
    assert client.topic in topics
    assert before == []
    assert [json.loads(message)["state"] for message in after] == ["error"]


async def test_it_serves_https_alone_where_it_has_a_certificate(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "gateway.pem")
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    (port,) = free_ports(1)
    section = f'[gateway]\nport = {port}\ncert_file = "{tmp_path}/gateway.pem"\n'
    async with (
        Stack(tmp_path, kafka.bootstrap, [], section) as stack,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
    ):
        gateway = stack.start("gateway")

        async def topics(scheme: str = "https", **options: Any) -> int:
            url = f"{scheme}://127.0.0.1:{port}/topics"
            async with session.get(url, **options) as answer:
                return answer.status

        async def answers() -> bool:
            assert gateway.running, gateway.last_log_line()
            try:
                return await topics() == 200
            except aiohttp.ClientConnectorError:
                return False

        await eventually(answers, within=30)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await topics(ssl=ssl.create_default_context())
        with pytest.raises(aiohttp.ClientError):
            await topics("http")


async def test_a_certificate_that_cannot_be_used_ends_the_start_with_one_line(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    section = '[gateway]\ncert_file = "/none/gateway.pem"\n'
    async with Stack(tmp_path, kafka.bootstrap, [], section) as stack:
        gateway = stack.start("gateway")
        assert gateway.wait(30)
        assert gateway.last_log_line() == (
            "vimfed: gateway.cert_file and gateway.key_file cannot be used: "
            "No such file or directory"
        )
