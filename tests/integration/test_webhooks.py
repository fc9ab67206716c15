"""A webhook's receiver with every fault: what reaches it, in which order, and what is said."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiokafka.structs import ConsumerRecord

from streams.publisher.delivery import Delivery, DeliveryError, Message, PartlyTakenError
from streams.publisher.formats import FORMATS
from streams.publisher.outputs.webhook.output import WebhookOutput, probe
from streams.publisher.outputs.webhook.signature import signed_headers
from tests.e2e.stack import Stack, eventually
from tests.support.topics import read_topic
from tests.support.vm_events import create_topics, vm_event, write_events
from tests.support.webhook_receiver import WebhookReceiver
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import home_key
from vimfed.model.records import VmEvent
from vimfed.process.ports import free_ports
from vimfed.settings import (
    DmaapOutput,
    Secret,
    Settings,
    WebhookMode,
    WebhookSettings,
    load_settings,
    signing_key,
)

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "A" * 32)
LOOPBACK = ("127.0.0.0/8",)


def message(event: VmEvent) -> Message:
    content = FORMATS["cloudevents"](event, output_of("webhook+https://a/"))
    assert content is not None
    key = home_key(event.vim_id, event.instance_id, event.host or "")
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "events", 0, 0, 2**60, 1, key, b"", None, 0, 0, ()
    )
    return Message(key, content.value, content.headers, record, replayed_at=2**60)


def output_of(url: str, *, timeout: float = 60, **webhook: Any) -> DmaapOutput:
    given = {"handshake": False, "allowed_networks": LOOPBACK, **webhook}
    return DmaapOutput(name="hook", url=url, timeout=timeout, webhook=WebhookSettings(**given))


def events(count: int, instances: int = 7) -> list[VmEvent]:
    return [vm_event(f"vm-{number % instances}") for number in range(count)]


def assert_all_in_order(receiver: WebhookReceiver, sent: Sequence[VmEvent]) -> None:
    """Each event is there, and those of each instance have first come in order."""
    first = list(dict.fromkeys(receiver.ids()))
    assert set(first) == {event.id for event in sent}
    for instance in {event.instance_id for event in sent}:
        wanted = [event.id for event in sent if event.instance_id == instance]
        assert [each for each in first if each in set(wanted)] == wanted


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as receiver:
        yield receiver


class Running:
    """An output and its delivery, and what it has given up."""

    def __init__(self, output: DmaapOutput) -> None:
        self.place = WebhookOutput(Settings(), output)
        self.given_up: list[tuple[Message, str]] = []
        self.delivery = Delivery(
            "hook",
            self.place,
            give_up=self._give_up,
            give_up_after=3600,
            figures=self,
            gate=SimpleNamespace(paused_at="", opened_at=0),
        )
        self.may_go_on = True

    def delivered(self, count: int) -> None:
        pass

    def retried(self) -> None:
        pass

    async def _give_up(self, messages: Sequence[Message], reason: str) -> None:
        self.given_up.extend((each, reason) for each in messages)

    async def deliver(self, sent: Sequence[VmEvent]) -> None:
        async def go_on() -> bool:
            return self.may_go_on

        await self.delivery.deliver([message(each) for each in sent], go_on)


Run = Callable[[DmaapOutput], Running]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    all_running: list[Running] = []

    def run(output: DmaapOutput) -> Running:
        all_running.append(Running(output))
        return all_running[-1]

    yield run
    for each in all_running:
        await each.place.close()


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
async def test_a_receiver_gets_every_event_in_order_through_all_of_its_faults(
    receiver: WebhookReceiver, run: Run, mode: WebhookMode
) -> None:
    sent = events(60)
    running = run(output_of(receiver.url, timeout=1, mode=mode))
    for number, fault in enumerate(["500", "408", "425", "hanging", "cut", "302", "503 0", "404"]):
        receiver.faults = [fault]
        await running.deliver(sent[7 * number : 7 * (number + 1)])
        assert not receiver.faults
    await running.deliver(sent[56:])
    assert running.given_up == []
    assert_all_in_order(receiver, sent)
    assert any(len(request.events) > 1 for request in receiver.requests) == (mode == "batch")


async def test_requests_are_under_way_at_once_and_never_two_about_one_instance(
    receiver: WebhookReceiver, run: Run
) -> None:
    receiver.hold = asyncio.Event()
    running = run(output_of(receiver.url, parallel=5))
    sent = events(40, instances=10)
    delivering = asyncio.create_task(running.deliver(sent))
    await eventually(under_way(receiver, 5), within=20)
    receiver.hold.set()
    await delivering
    assert receiver.most_under_way == 5
    assert_all_in_order(receiver, sent)
    assert len(receiver.ids()) == len(sent)


def under_way(receiver: WebhookReceiver, count: int) -> Callable[[], Awaitable[bool]]:
    async def looked() -> bool:
        return receiver.under_way == count

    return looked


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
async def test_what_is_refused_is_given_up_with_the_answer_and_nothing_else_is(
    receiver: WebhookReceiver, run: Run, mode: WebhookMode
) -> None:
    sent = events(30)
    bad = {sent[3].id: 400, sent[11].id: 413, sent[12].id: 415, sent[20].id: 422}
    receiver.refuse = lambda event: bad.get(str(event["id"]), 0)
    running = run(output_of(receiver.url, mode=mode))
    await running.deliver(sent)
    told = {json.loads(each.value)["vim_event"]["id"]: why for each, why in running.given_up}
    assert told.keys() == bad.keys()
    for event_id, status in bad.items():
        assert f"{status} {event_id} is refused" in told[event_id]
    assert_all_in_order(receiver, [event for event in sent if event.id not in bad])
    assert len(receiver.ids()) == len(sent) - len(bad)  # none comes twice


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "the receiver does not know webhook.token"),
        (404, "nobody listens at this path"),
        (302, "redirects are not followed"),
    ],
)
async def test_what_would_meet_every_event_holds_the_stream_up_and_says_how_to_mend_it(
    receiver: WebhookReceiver, run: Run, status: int, told: str
) -> None:
    receiver.faults = [str(status)]
    running = run(output_of(receiver.url))
    with pytest.raises(DeliveryError) as caught:
        await running.place.deliver([message(vm_event())])
    assert told in str(caught.value)
    assert "/hooks/vms" not in str(caught.value)  # a path may be a key
    assert receiver.requests == []


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(100_000),
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: 100\r\n\r\na",  # the rest never comes
    ],
    ids=["long", "packed", "without an end"],
)
async def test_what_is_taken_is_taken_whatever_body_says_so(run: Run, answer: bytes) -> None:
    async with answering(answer) as (port, heads):
        running = run(output_of(f"webhook+http://127.0.0.1:{port}/", timeout=1))
        await running.place.deliver([message(vm_event())])
    assert len(heads) == 1


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n", HEAD + b"A: " + b"b" * 20_000],
)
async def test_an_answer_that_is_no_http_brings_no_path_into_the_log(
    run: Run, answer: bytes
) -> None:
    async with answering(answer) as (port, _heads):
        output = output_of(f"webhook+http://127.0.0.1:{port}/s3cr3t")
        with pytest.raises(DeliveryError, match="the answer is no HTTP: ") as caught:
            await run(output).place.deliver([message(vm_event())])
        assert "s3cr3t" not in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(aiohttp.ClientError) as told:
            await probe(Settings(), output)
        assert "s3cr3t" not in str(told.value)


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a server that gives each request these bytes, and keeps the connection open.

    Yields its port, and the heads of the requests.
    """
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], heads
    server.close()


@pytest.mark.parametrize("as_date", [False, True])
async def test_nothing_is_sent_before_the_time_for_which_a_receiver_asks(
    receiver: WebhookReceiver, run: Run, as_date: bool
) -> None:
    asked = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
    receiver.faults = [f"429 {asked if as_date else '500'}"]
    place = run(output_of(receiver.url)).place
    pauses = []
    for _ in range(2):  # the second is not made
        with pytest.raises(DeliveryError) as caught:
            await place.deliver([message(vm_event())])
        assert caught.value.is_circuit_open
        assert caught.value.retry_after is not None
        pauses.append(caught.value.retry_after)
    assert 200 < pauses[1] <= pauses[0] <= 501
    assert (receiver.met, receiver.requests) == (1, [])


async def test_a_receiver_that_is_gone_is_asked_no_more(
    receiver: WebhookReceiver, run: Run
) -> None:
    receiver.faults = ["410"]
    place = run(output_of(receiver.url)).place
    for _ in range(2):
        with pytest.raises(DeliveryError, match=r"410.*wants nothing any more") as caught:
            await place.deliver([message(vm_event())])
        assert caught.value.is_circuit_open
    assert receiver.requests == []


async def test_a_receiver_that_is_away_gets_everything_once_it_is_back(
    receiver: WebhookReceiver, run: Run
) -> None:
    await receiver.stop()
    running = run(output_of(receiver.url))
    sent = events(20)
    delivering = asyncio.create_task(running.deliver(sent))
    await eventually(is_circuit_open(running), within=20)
    assert running.delivery.failing_since is not None
    await receiver.start()
    await delivering
    assert not running.delivery.is_circuit_open
    assert_all_in_order(receiver, sent)
    assert running.given_up == []


def is_circuit_open(running: Running) -> Callable[[], Awaitable[bool]]:
    async def looked() -> bool:
        return running.delivery.is_circuit_open

    return looked


async def test_requests_are_signed_with_both_secrets_and_a_repetition_has_the_same_id(
    receiver: WebhookReceiver, run: Run
) -> None:
    receiver.faults = ["cut"]
    secrets: dict[str, Any] = {"secret": Secret(SECRETS[0]), "secret_previous": Secret(SECRETS[1])}
    event = vm_event()
    await run(output_of(receiver.url, token=Secret("t0k"), **secrets)).deliver([event])
    (request,) = receiver.requests
    keys = [signing_key(Secret(each)) for each in SECRETS]
    told = signed_headers(keys, event.id, int(request.headers["webhook-timestamp"]), request.body)
    assert told.items() <= request.headers.items()
    assert request.headers["Authorization"] == "Bearer t0k"


# -- the handshake


async def test_a_receiver_is_asked_once_before_the_first_event(run: Run) -> None:
    async with WebhookReceiver(
        WebHook_Allowed_Origin="vims.example.com", WebHook_Allowed_Rate="60000"
    ) as receiver:
        asks: dict[str, Any] = {
            "handshake": True,
            "origin": "vims.example.com",
            "request_rate": 70000,
        }
        running = run(output_of(receiver.url, **asks))
        await asyncio.gather(running.deliver(events(5)), running.deliver(events(5)))
        (asked,) = receiver.asked
        assert asked["WebHook-Request-Origin"] == "vims.example.com"
        assert asked["WebHook-Request-Rate"] == "70000"
        assert len(receiver.events) == 10
        for request in receiver.requests:
            assert request.headers["WebHook-Request-Origin"] == "vims.example.com"


async def test_a_receiver_that_does_not_agree_gets_nothing_and_the_error_says_what_to_set(
    receiver: WebhookReceiver, run: Run
) -> None:
    output = output_of(receiver.url, handshake=True)
    with pytest.raises(DeliveryError, match=r"set webhook.handshake = false"):
        await run(output).place.deliver([message(vm_event())])
    assert receiver.requests == []
    (finding,) = await probe(Settings(), output)
    assert "no WebHook-Allowed-Origin" in finding.text
    assert await probe(Settings(), output_of(receiver.url)) == []


async def test_no_more_requests_are_made_in_a_minute_than_a_receiver_allows(run: Run) -> None:
    async with WebhookReceiver(WebHook_Allowed_Origin="*", WebHook_Allowed_Rate="600") as receiver:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await run(output_of(receiver.url, handshake=True)).deliver(events(6))
        assert loop.time() - begun >= 5 * 0.1  # a lower bound: no machine is too slow for it
        assert len(receiver.events) == 6


async def test_an_attempt_ends_in_its_time_however_few_requests_a_receiver_allows(
    run: Run,
) -> None:
    async with WebhookReceiver(WebHook_Allowed_Origin="*", WebHook_Allowed_Rate="1") as receiver:
        place = run(output_of(receiver.url, handshake=True, timeout=1)).place
        sent = [message(each) for each in events(5, instances=5)]
        async with asyncio.timeout(50):  # turns would take four minutes
            with pytest.raises(PartlyTakenError) as caught:
                await place.deliver(sent)
        assert caught.value.taken == sent[:1]
        assert receiver.ids() == [json.loads(sent[0].value)["vim_event"]["id"]]


# -- whom it reaches


async def test_a_receiver_at_an_address_that_is_not_public_gets_nothing(
    receiver: WebhookReceiver, run: Run
) -> None:
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f000001"):
        url = receiver.url.replace("127.0.0.1", host)
        place = run(output_of(url, allowed_networks=())).place
        with pytest.raises(DeliveryError) as caught:
            await place.deliver([message(vm_event())])
        assert "name its network in allowed_networks" in str(caught.value), host
    assert receiver.requests == []


async def test_a_name_that_leads_elsewhere_later_is_looked_at_again(
    receiver: WebhookReceiver, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first look-up the name has an address that is allowed, at the second another one."""
    loop = asyncio.get_running_loop()
    found = iter(["127.0.0.1", "127.0.0.2"])

    async def getaddrinfo(_host: str, port: int, **kwargs: Any) -> Any:
        return [(socket.AF_INET, kwargs["type"], 6, "", (next(found), port))]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    url = receiver.url.replace("127.0.0.1", "receiver.example")
    output = output_of(url, allowed_networks=("127.0.0.1",))
    first, second = run(output).place, run(output).place
    await first.deliver([message(vm_event())])
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.2 is no public address"):
        await second.deliver([message(vm_event())])
    assert len(receiver.events) == 1


async def test_a_redirect_leads_nowhere(receiver: WebhookReceiver, run: Run) -> None:
    receiver.faults = ["307"]
    with pytest.raises(DeliveryError, match="redirects are not followed"):
        await run(output_of(receiver.url)).place.deliver([message(vm_event())])
    assert receiver.requests == []


async def test_an_answer_without_an_end_fills_no_memory(run: Run) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65536)
            sent += 65536

    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        place = run(output_of(f"webhook+http://127.0.0.1:{port}/")).place
        await place.deliver([message(vm_event())])  # taken: the status says so
        assert sent < 50_000_000  # what buffers on the way hold
    finally:
        await runner.cleanup()


async def test_certificates_are_checked(tmp_path: Path, run: Run) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    taken = []

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.read())
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        known = output_of(f"webhook+https://localhost:{port}/")
        with pytest.raises(DeliveryError, match="certificate verify failed"):
            await run(known).place.deliver([message(vm_event())])
        assert taken == []
        path = tmp_path / "vimfed.toml"
        path.write_text(
            f'[[dmaap.outputs]]\nurl = "{known.url}"\nca_file = "{tmp_path}/ca.pem"\n'
            '[dmaap.outputs.webhook]\nhandshake = false\nallowed_networks = ["127.0.0.1", "::1"]\n'
        )
        (trusting,) = load_settings(path, {}).outputs()
        await run(trusting).place.deliver([message(vm_event())])
        assert len(taken) == 1
    finally:
        await runner.cleanup()


# -- the whole publisher


async def test_a_publisher_says_that_its_circuit_is_open_and_loses_nothing(
    tmp_path: Path, kafka: LocalKafka, receiver: WebhookReceiver
) -> None:
    (monitoring,) = free_ports(1)
    sections = (
        f'[[dmaap.outputs]]\nname = "hook"\nurl = "{receiver.url}"\n'
        '[dmaap.outputs.webhook]\nhandshake = false\nallowed_networks = ["127.0.0.1"]\n'
    )
    bad = vm_event("vm-bad")
    receiver.refuse = lambda event: 400 * (event["id"] == bad.id)
    await receiver.stop()
    async with Stack(tmp_path, kafka.bootstrap, [], sections) as stack:
        await create_topics(kafka.bootstrap, stack.prefix)
        stack.start("hook", "publisher", "--output", "hook", "--port", str(monitoring))
        sent = events(50)
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, [*sent, bad])

        async def told(path: str) -> str:
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"http://127.0.0.1:{monitoring}{path}") as response:
                        return await response.text()
                except aiohttp.ClientConnectionError:
                    return ""

        async def is_open() -> bool:
            metrics = await told("/metrics")
            return 'vimfed_publisher_circuit_open{output="hook"} 1.0' in metrics

        await eventually(is_open, within=40)

        async def says_so() -> bool:
            return "the circuit is open" in await told("/readyz")

        await eventually(says_so, within=20)
        assert '"status": "ok"' in await told("/healthz")
        await receiver.start()

        async def all_there() -> bool:
            return set(receiver.ids()) == {event.id for event in sent}

        await eventually(all_there, within=60)

        async def is_closed() -> bool:
            metrics = await told("/metrics")
            return 'vimfed_publisher_circuit_open{output="hook"} 0.0' in metrics

        await eventually(is_closed, within=20)
        assert_all_in_order(receiver, sent)

        async def is_dead_lettered() -> bool:
            metrics = await told("/metrics")
            return 'vimfed_publisher_dead_letters_total{output="hook"} 1.0' in metrics

        await eventually(is_dead_lettered, within=20)
        (letter,) = read_topic(kafka.bootstrap, f"{stack.prefix}.dead-letter")
        assert bad.id.encode() in (letter.value() or b"")
