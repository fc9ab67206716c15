"""VES collectors with every fault, and ONAP's topics where there is no collector."""

import asyncio
import json
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from aiokafka.structs import ConsumerRecord

from streams.publisher.delivery import Delivery, DeliveryError, Message, RefusedError
from streams.publisher.formats import FORMATS
from streams.publisher.outputs import kafka as kafka_output
from streams.publisher.outputs.ves_collector import CollectorOutput, probe
from tests.e2e.stack import Stack, eventually
from tests.support.onap_sdk import onap_sdk
from tests.support.topics import read_topic
from tests.support.ves_collector import VesCollector
from tests.support.vm_events import (
    alarm_step,
    create_topics,
    heartbeat_event,
    host_event,
    vm_event,
    write_events,
)
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import home_key
from vimfed.model.records import VmEvent
from vimfed.settings import DmaapOutput, Secret, Settings, load_settings


def events(count: int) -> list[VmEvent]:
    """Return steps of alarms, changes, news of hosts, and heartbeats, all of which VES tells."""
    told: list[VmEvent] = []
    for number in range(count):
        vm = f"vm-{number % 7}"
        step = alarm_step("vm_error", sequence=number)
        told.append(
            (
                vm_event(vm, kind="PAUSE"),
                vm_event(vm, kind="REBOOT", phase="error", new_state="error", alarm=step),
                vm_event(vm, kind="UNPAUSE"),
                host_event(f"compute-{number % 3}"),
                heartbeat_event(),
            )[number % 5]
        )
    return told


def marks(event: VmEvent) -> tuple[str, ...]:
    """Return what tells an event's message from others."""
    if event.alarm:
        return (event.alarm.id, str(event.alarm.sequence), event.instance_id or str(event.host))
    return (event.id, "0", event.instance_id or event.vim_id)


def marks_of(message: Any) -> tuple[str, ...]:
    header = message["commonEventHeader"]
    source = header["sourceId"].partition("/")[2] or header["sourceId"]
    return (header["eventId"], str(header["sequence"]), source)


def assert_all_in_order(taken: list[Any], sent: list[VmEvent]) -> None:
    """Each event is there, and what is of one source has first come in order."""
    first = list(dict.fromkeys(marks_of(message) for message in taken))
    wanted = list(dict.fromkeys(map(marks, sent)))
    assert set(first) == set(wanted)
    for source in {mark[2] for mark in wanted}:
        told = [mark for mark in first if mark[2] == source]
        assert told == [mark for mark in wanted if mark[2] == source]


def message(event: VmEvent, output: DmaapOutput) -> Message:
    content = FORMATS["ves"](event, output)
    assert content is not None
    key = home_key(event.vim_id, event.instance_id, event.host or "")
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "events", 0, 0, 2**60, 1, key, b"", None, 0, 0, ()
    )
    return Message(key, content.value, content.headers, record, content.domain)


def output_of(url: str, **more: Any) -> DmaapOutput:
    return DmaapOutput(name="ves", url=url, timeout=2, **more)


@pytest.fixture
async def collector() -> AsyncIterator[VesCollector]:
    async with VesCollector(user="onap", password="secret", most_bytes=20_000) as collector:
        yield collector


Deliver = Callable[..., Any]


@pytest.fixture
async def deliver() -> AsyncIterator[Deliver]:
    """Deliver events to an output as a publisher does; return what was given up, and why."""
    places = []

    async def deliver(output: DmaapOutput, sent: list[VmEvent]) -> list[tuple[Message, str]]:
        given_up: list[tuple[Message, str]] = []
        place = CollectorOutput(Settings(), output)
        places.append(place)

        class Figures:
            def delivered(self, count: int) -> None:
                pass

            def retried(self) -> None:
                pass

        async def give_up(messages: Any, reason: str) -> None:
            given_up.extend((each, reason) for each in messages)

        async def go_on() -> bool:
            return True

        delivery = Delivery(
            "ves",
            place,
            give_up=give_up,
            give_up_after=3600,
            figures=Figures(),
            gate=SimpleNamespace(paused_at="", opened_at=0),
        )
        await delivery.deliver([message(each, output) for each in sent], go_on)
        return given_up

    yield deliver
    for place in places:
        await place.close()


LOGIN: dict[str, Any] = {"username": "onap", "password": Secret("secret")}


async def test_a_collector_gets_every_event_through_all_of_its_faults_and_traps(
    collector: VesCollector, deliver: Deliver
) -> None:
    sent = events(120)
    output = output_of(collector.url, **LOGIN)
    for number, faults in enumerate(
        (
            ["500", "503", "404", "hanging"],
            ["cut before", "cut in the answer", "302", "endless"],
            ["200", "commands"],
        )
    ):
        collector.faults = faults
        assert await deliver(output, sent[40 * number : 40 * (number + 1)]) == []
        assert not collector.faults
    assert_all_in_order(collector.events, sent)
    paths = {path for _at, path, _count in collector.requests}
    assert "/eventListener/v7/eventBatch" in paths
    assert len({each["commonEventHeader"]["domain"] for each in collector.events}) == 3


async def test_one_event_goes_alone_and_several_in_one_request(
    collector: VesCollector, deliver: Deliver
) -> None:
    output = output_of(collector.url, **LOGIN)
    await deliver(output, [vm_event()])
    await deliver(output, [vm_event(), vm_event()])
    assert [request[1:] for request in collector.requests] == [
        ("/eventListener/v7", 1),
        ("/eventListener/v7/eventBatch", 2),
    ]


async def test_what_a_collector_refuses_is_sought_out_and_given_up_with_its_text(
    collector: VesCollector, deliver: Deliver
) -> None:
    sent = [vm_event(f"vm-{number}") for number in range(8)]
    bad = {sent[2].id, sent[5].id}
    collector.refuse = lambda each: each["commonEventHeader"]["eventId"] in bad
    given_up = await deliver(output_of(collector.url, **LOGIN), sent)
    ids = [json.loads(each.value)["event"]["commonEventHeader"]["eventId"] for each, _ in given_up]
    assert set(ids) == bad
    for _message, reason in given_up:
        assert reason.endswith(
            "400 SVC0002 The following service error occurred: Bad Parameter. Error code is 400"
        )
    assert_all_in_order(collector.events, [each for each in sent if each.id not in bad])


SDK_SCRIPT = """
import json, sys
from onapsdk.ves.ves import Ves
from onapsdk.exceptions import SDKException
told = []
for post, body in zip((Ves.send_event, Ves.send_batch_event, Ves.send_event), sys.argv[1:]):
    try:
        told.append(post("v7", body, {"username": "onap", "password": "secret"}).status_code)
    except SDKException as error:
        told.append(type(error).__name__)
print(json.dumps(told))
"""


async def test_onaps_own_client_and_we_are_the_same_to_a_collector(
    collector: VesCollector, deliver: Deliver, tmp_path: Path
) -> None:
    one, *several = (vm_event(f"vm-{number}", kind="PAUSE") for number in range(4))
    output = output_of(collector.url, **LOGIN)
    assert await deliver(output, [one]) == []
    assert await deliver(output, several) == []
    bodies = [message(each, output).value.decode() for each in (one, *several)]
    batch = json.dumps({"eventList": [json.loads(body)["event"] for body in bodies[1:]]})
    ours, theirs = slice(0, 4), slice(4, None)
    told = await asyncio.to_thread(
        onap_sdk,
        tmp_path,
        {"VES_URL": f"http://{collector.address}"},
        SDK_SCRIPT,
        bodies[0],
        batch,
        '{"event": {}}',
    )
    assert json.loads(told) == [202, 202, "APIError"]
    assert collector.events[theirs] == collector.events[ours]
    assert [each[1:] for each in collector.requests[2:4]] == [
        each[1:] for each in collector.requests[:2]
    ]


async def test_a_request_that_is_too_large_is_halved(
    collector: VesCollector, deliver: Deliver
) -> None:
    sent = [vm_event(f"vm-{number % 5}") for number in range(100)]
    assert await deliver(output_of(collector.url, **LOGIN), sent) == []
    assert_all_in_order(collector.events, sent)
    assert len(collector.events) == len(sent), "what was taken is sent once"
    assert [count for _at, _path, count in collector.requests] == [100, 50, 25, 25, 50, 25, 25]


async def test_a_collector_that_is_busy_is_left_alone_for_as_long_as_it_asks(
    collector: VesCollector, deliver: Deliver
) -> None:
    collector.faults = ["429", "503"]
    await deliver(output_of(collector.url, **LOGIN), [vm_event()])
    first, second, third = (at for at, _path, _count in collector.requests)
    assert second - first >= 1
    assert third - second >= 1


async def test_a_wrong_login_is_said_and_tried_again(collector: VesCollector) -> None:
    output = output_of(collector.url, username="onap", password=Secret("wrong"))
    place = CollectorOutput(Settings(), output)
    with pytest.raises(DeliveryError) as caught:
        await place.deliver([message(vm_event(), output)])
    await place.close()
    assert "401 POL2000 The following service error occurred: Unauthorized user" in str(
        caught.value
    )
    assert "the collector does not know username and password" in str(caught.value)
    assert "wrong" not in str(caught.value)


async def test_a_version_that_a_collector_does_not_know_is_its_refusal(
    collector: VesCollector,
) -> None:
    output = output_of(collector.url.replace("v7", "v9"), **LOGIN)
    place = CollectorOutput(Settings(), output)
    with pytest.raises(RefusedError, match="400 API version v9 is not supported"):
        await place.deliver([message(vm_event(), output)])
    await place.close()


async def test_the_older_interface_gets_messages_of_its_own_form(
    collector: VesCollector, deliver: Deliver
) -> None:
    output = output_of(collector.url.replace("v7", "v5"), ves_version="5.4", **LOGIN)
    sent = [host_event(f"compute-{number}") for number in range(3)]
    assert await deliver(output, sent) == []
    assert_all_in_order(collector.events, sent)


async def test_commands_are_logged_once_and_not_heeded(
    collector: VesCollector, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    collector.faults = ["commands"] * 3
    output = output_of(collector.url, **LOGIN)
    place = CollectorOutput(Settings(), output)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await place.deliver([message(vm_event(), output)])
    await place.close()
    told = [record.getMessage() for record in caplog.records if "commands" in record.getMessage()]
    assert len(told) == 1
    assert "not heeded" in told[0]
    assert "heartbeatIntervalChange" in told[0]


async def test_where_one_collector_fails_the_next_one_is_asked_and_kept(deliver: Deliver) -> None:
    async with VesCollector() as first, VesCollector() as second:
        output = output_of(f"ves+http://{first.address},{second.address}/eventListener/v7")
        place = CollectorOutput(Settings(), output)

        async def send() -> None:
            await place.deliver([message(vm_event(), output)])

        await send()
        first.faults = ["503"]
        await send()
        await send()
        assert (len(first.events), len(second.events)) == (1, 2)
        await second.stop()
        await send()
        assert len(first.events) == 2
        await first.stop()
        with pytest.raises(DeliveryError) as caught:
            await send()
        assert first.address in str(caught.value)
        assert second.address in str(caught.value)
        await place.close()


async def test_certificates_are_checked_and_shown(tmp_path: Path, deliver: Deliver) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    for name, each in (("ca", authority), ("other", stranger)):
        each.cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    client = authority.issue_cert("vimfed@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    async with VesCollector(tls=server) as collector:
        files = {"ca_file": f"{tmp_path}/ca.pem", "cert_file": f"{tmp_path}/client.pem"}
        await deliver(output_of(collector.url, **files), [vm_event()])
        assert len(collector.events) == 1
        for wrong in (
            {"ca_file": f"{tmp_path}/other.pem", "cert_file": f"{tmp_path}/client.pem"},
            {"ca_file": f"{tmp_path}/ca.pem"},
        ):
            output = output_of(collector.url, **wrong)
            place = CollectorOutput(Settings(), output)
            with pytest.raises(DeliveryError):
                await place.deliver([message(vm_event(), output)])
            await place.close()
        assert len(collector.events) == 1


async def test_a_check_tells_which_collectors_do_not_answer() -> None:
    async with VesCollector() as first, VesCollector() as second:
        output = output_of(f"ves+http://{first.address},{second.address}/eventListener/v7")
        assert await probe(Settings(), output) == []
        await second.stop()
        (finding,) = await probe(Settings(), output)
        assert second.address in finding.text
        assert not finding.refused
        await first.stop()
        with pytest.raises(OSError, match=first.address):
            await probe(Settings(), output)


TOPICS = {
    "fault": "unauthenticated.SEC_FAULT_OUTPUT",
    "notification": "unauthenticated.VES_NOTIFICATION_OUTPUT",
}


async def test_without_a_collector_each_domain_goes_to_a_topic_of_its_own(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    sections = "\n".join(
        [
            "[[dmaap.outputs]]",
            'name = "ves"',
            f'url = "ves+kafka://{kafka.bootstrap}"',
            "[dmaap.outputs.ves_topics]",
            'heartbeat = "PREFIX.beats"',
        ]
    )
    async with Stack(tmp_path, kafka.bootstrap, [], sections) as stack:
        topics = {"heartbeat": f"{stack.prefix}.beats", **TOPICS}
        config = stack.folder / "vimfed.toml"
        text = config.read_text().replace("PREFIX", stack.prefix)
        # The brokers are shared with other tests: topics of one's own.
        for domain in TOPICS:
            topics[domain] = f"{stack.prefix}.{domain}"
            text = text.replace("ves_topics]", f'ves_topics]\n{domain} = "{topics[domain]}"')
        config.write_text(text)
        await create_topics(kafka.bootstrap, stack.prefix)
        command = [sys.executable, "-m", "vimfed", "--config", str(config), "topics"]
        planned = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True
        )
        assert all(topic in planned.stdout for topic in topics.values())
        settings = load_settings(config, {})
        (output,) = [each for each in settings.outputs() if each.name == "ves"]
        assert set(output.topics) == set(topics.values())
        assert await kafka_output.probe(settings, output) == [], "the topics may be made"
        sent = events(60)
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)
        stack.start("ves", "publisher", "--output", "ves", "--port", "0")

        def there() -> dict[str, list[Any]]:
            return {
                domain: [
                    json.loads(record.value() or b"")["event"]
                    for record in read_topic(kafka.bootstrap, topic)
                ]
                for domain, topic in topics.items()
            }

        async def all_there() -> bool:
            assert stack.children["ves"].running, stack.children["ves"].last_log_line()
            return sum(map(len, (await asyncio.to_thread(there)).values())) >= len(sent)

        await eventually(all_there, within=40)
        for domain, messages in there().items():
            assert {each["commonEventHeader"]["domain"] for each in messages} == {domain}
            wanted = {marks_of(each) for each in messages}
            assert_all_in_order(messages, [each for each in sent if marks(each) in wanted])
