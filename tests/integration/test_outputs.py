"""The publisher's outputs: a Kafka with TLS and SCRAM, and a Message Router with every fault."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import trustme
from confluent_kafka import Producer
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.connect_headers import connect_context
from tests.support.message_router import MessageRouter
from tests.support.slow_link import SlowLink
from tests.support.topics import headers_of, read_topic
from tests.support.vm_events import create_topics, vm_event, write_events
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import VmEvent
from vimfed.process.ports import free_ports

INSTANCES = 20
SINCE = ("--since", "2020-01-01")


def event_with(payload: bytes) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(vm_event(), payload=msgspec.Raw(payload)))


def events(count: int, **fields: Any) -> list[VmEvent]:
    return [vm_event(f"vm-{number % INSTANCES}", **fields) for number in range(count)]


def ids_of(messages: list[tuple[str, bytes]]) -> list[str]:
    return [json.loads(value)["vim_event"]["id"] for _key, value in messages]


@pytest.fixture
async def router() -> AsyncIterator[MessageRouter]:
    async with MessageRouter(user="onap", password="secret") as router:
        yield router


def router_output(router: MessageRouter, *lines: str) -> str:
    return "\n".join(
        [
            "[[dmaap.outputs]]",
            'name = "mr"',
            f'url = "{router.url}"',
            'username = "onap"',
            'password = "secret"',
            "timeout = 2",
            *lines,
        ]
    )


async def assert_delivered(stack: Stack, router: MessageRouter, sent: list[VmEvent]) -> None:
    """Wait until the router has every event; first occurrences must be in each instance's order."""
    wanted = {event.id for event in sent}

    async def all_there() -> bool:
        assert stack.children["mr"].running, stack.children["mr"].last_log_line()
        return wanted <= set(ids_of(router.messages))

    await eventually(all_there, within=40)
    first = list(dict.fromkeys(ids_of(router.messages)))
    assert set(first) == wanted
    place = {event_id: number for number, event_id in enumerate(first)}
    by_instance: dict[str, list[int]] = {}
    for event in sent:
        by_instance.setdefault(event.instance_id, []).append(place[event.id])
    for places in by_instance.values():
        assert places == sorted(places)
    for key, value in router.messages:
        assert key == f"CloudOwner_RegionOne/{json.loads(value)['instance_id']}"


@pytest.mark.parametrize(
    ("option", "content_type"),
    [
        ("gzip = false", "application/cambria"),
        ("gzip = true", "application/cambria-zip"),
    ],
)
async def test_a_message_router_gets_every_event_through_all_of_its_faults(
    tmp_path: Path, kafka: LocalKafka, router: MessageRouter, option: str, content_type: str
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [], router_output(router, option)) as stack:
        await create_topics(kafka.bootstrap, stack.prefix)
        router.faults = ["500", "503", "429", "hanging", "cut before", "cut in the answer", "short"]
        stack.start("mr", "publisher", "--output", "mr", "--port", "0")
        sent = events(200)
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)
        await assert_delivered(stack, router, sent)
        assert not router.faults
        assert {kind for _at, kind in router.requests} == {content_type}
        await router.stop()  # refused
        more = events(50)
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, more)
        await eventually(lambda: log_says(stack, "mr", "does not take messages"), within=20)
        await router.start()
        await assert_delivered(stack, router, sent + more)


async def log_says(stack: Stack, name: str, text: str) -> bool:
    return text in (stack.folder / f"{name}.log").read_text()


def vimfed(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vimfed", "--config", str(stack.folder / "vimfed.toml"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


async def test_what_is_refused_or_too_old_is_dead_lettered_and_can_be_replayed_or_dropped(
    tmp_path: Path, kafka: LocalKafka, router: MessageRouter
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [], router_output(router)) as stack:
        await create_topics(kafka.bootstrap, stack.prefix)
        sent = events(40)
        bad = {sent[7].id, sent[23].id}
        router.refuse = lambda message: json.loads(message)["vim_event"]["id"] in bad
        stack.start("mr", "publisher", "--output", "mr", "--port", "0")
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)
        good = [event for event in sent if event.id not in bad]
        await assert_delivered(stack, router, good)

        async def listed() -> list[list[str]]:
            done = await asyncio.to_thread(vimfed, stack, "dead-letter", "list", "--error", "413")
            assert done.returncode == 0, done.stderr
            return [line.split("\t") for line in done.stdout.splitlines()]

        await eventually(lambda: has_two(listed), within=20)
        letters = await listed()
        assert {letter[2] for letter in letters} == {"CloudOwner_RegionOne"}
        assert {letter[3] for letter in letters} == {f"{stack.prefix}.events"}
        shown = await asyncio.to_thread(vimfed, stack, "dead-letter", "show", letters[0][0])
        assert "output: mr" in shown.stdout
        assert any(event_id in shown.stdout for event_id in bad)
        assert vimfed(stack, "dead-letter", "drop").returncode == 1
        router.refuse = lambda _message: False
        done = await asyncio.to_thread(vimfed, stack, "dead-letter", "replay", letters[0][0])
        assert done.returncode == 0, done.stderr
        replayed = [event for event in sent if event.id in bad and event.id in shown.stdout]
        await assert_delivered_set(router, {event.id for event in good + replayed})
        old = await asyncio.to_thread(vimfed, stack, "dead-letter", "list", "--until", SINCE[1])
        assert (old.returncode, old.stdout) == (0, "")
        dropped = await asyncio.to_thread(
            vimfed, stack, *("dead-letter", "drop", "--vim", "CloudOwner_RegionOne"), *SINCE
        )
        assert dropped.stdout == f"{letters[1][0]}: dropped\n"
        assert await listed() == []
        # It waits for as long as the server asks: 2 s with its 429, 1 s with its 503.
        router.faults = ["429", "503"]
        (last,) = events(1)
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, [last])
        await assert_delivered_set(router, {event.id for event in [*good, *replayed, last]})
        first, second, third = (at for at, _kind in router.requests[-3:])
        assert second - first >= 2
        assert third - second >= 1


async def has_two(listed: Any) -> bool:
    return len(await listed()) == 2


async def assert_delivered_set(router: MessageRouter, wanted: set[str]) -> None:
    async def all_there() -> bool:
        return set(ids_of(router.messages)) >= wanted

    await eventually(all_there, within=20)
    assert set(ids_of(router.messages)) == wanted


async def test_events_are_given_up_when_they_have_waited_too_long(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    (port, monitoring) = free_ports(2)
    sections = f'[[dmaap.outputs]]\nname = "mr"\nurl = "http://127.0.0.1:{port}/events/t"\n'
    async with Stack(tmp_path, kafka.bootstrap, [], sections) as stack:
        config = stack.folder / "vimfed.toml"
        config.write_text(config.read_text().replace("[dmaap]", "[dmaap]\ngive_up_after = 3"))
        await create_topics(kafka.bootstrap, stack.prefix)
        stack.start("mr", "publisher", "--output", "mr", "--port", str(monitoring))
        sent = events(20)
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)

        async def metrics() -> str:
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"http://127.0.0.1:{monitoring}/metrics") as response:
                        return await response.text()
                except aiohttp.ClientConnectionError:
                    return ""

        async def given_up() -> bool:
            return 'vimfed_publisher_dead_letters_total{output="mr"} 20.0' in await metrics()

        await eventually(given_up, within=40)
        told = await metrics()
        for name in ("lag", "failing_seconds", "oldest_undelivered_seconds", "retries_total"):
            assert f"vimfed_publisher_{name}{{" in told
        letters = read_topic(kafka.bootstrap, f"{stack.prefix}.dead-letter")
        assert len(letters) == 20


async def test_a_kafka_with_tls_and_scram_gets_every_event_once(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "password").write_text("s3cret\n")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    chain = "".join(blob.bytes().decode() for blob in certificate.cert_chain_pems)
    (port,) = free_ports(1)
    with new_kafka(
        tmp_path / "dmaap",
        listeners={"SASL_SSL": port},
        scram_users={"vimfed": "s3cret"},
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.key": pkcs8,
            "ssl.keystore.certificate.chain": chain,
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        },
    ) as dmaap:
        sections = "\n".join(
            [
                "[[dmaap.outputs]]",
                'name = "onap"',
                f'url = "kafka://127.0.0.1:{port}/unauthenticated.VM"',
                'security_protocol = "SASL_SSL"',
                f'ca_file = "{tmp_path}/ca.pem"',
                'username = "vimfed"',
                f'password_file = "{tmp_path}/password"',
                'format = "cloudevents"',
            ]
        )
        async with Stack(tmp_path, kafka.bootstrap, [], sections) as stack:
            await create_topics(kafka.bootstrap, stack.prefix)
            stack.start("onap", "publisher", "--output", "onap", "--port", "0")
            sent = events(100)
            await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)

            async def all_there() -> bool:
                return len(read_topic(dmaap.bootstrap, "unauthenticated.VM")) >= 100

            await eventually(all_there, within=40)
            values = [
                json.loads(record.value() or b"")
                for record in read_topic(dmaap.bootstrap, "unauthenticated.VM")
            ]
            assert sorted(value["id"] for value in values) == sorted(event.id for event in sent)


async def test_a_kafka_that_takes_a_batch_too_slowly_gets_it_bit_by_bit(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    port, controller_port = free_ports(2)
    with SlowLink(port, 100_000, upload=True) as link:
        advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{link.port}"}
        slow = LocalKafka(tmp_path / "slow", port, controller_port, properties=advertised)
        sections = "\n".join(
            [
                "[[dmaap.outputs]]",
                'name = "slow"',
                f'url = "kafka://127.0.0.1:{link.port}/t"',
                "timeout = 2",
            ]
        )
        with slow:
            async with Stack(tmp_path, kafka.bootstrap, [], sections) as stack:
                await create_topics(kafka.bootstrap, stack.prefix)
                sent = [vm_event("vm", payload={"metadata": "x" * 10_000}) for _ in range(60)]
                await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, sent)
                (stack.ports["slow"],) = free_ports(1)
                listen = ("--port", str(stack.ports["slow"]))
                stack.start("slow", "publisher", "--output", "slow", *listen)
                await stack.ready("slow")

                async def all_acknowledged() -> bool:
                    metrics = await stack.text("/metrics", "slow")
                    return f'_published_total{{output="slow"}} {len(sent)}.0\n' in metrics

                await eventually(all_acknowledged, within=40)
                records = await asyncio.to_thread(read_topic, slow.bootstrap, "t")
                told = (json.loads(record.value() or b"") for record in records)
                first = dict.fromkeys(each["vim_event"]["id"] for each in told)
                assert list(first) == [event.id for event in sent]


NOT_EVENTS: list[tuple[bytes | None, bytes | None, dict[str, bytes | None]]] = [
    (None, None, {}),
    (b"CloudOwner_RegionOne/vm-1", b"none", {}),
    (b"CloudOwner_RegionOne/vm-1", b"[" * 100_000, {}),
    (None, msgspec.json.encode(vm_event()), {}),
    (b"CloudOwner_RegionOne/vm-2", msgspec.json.encode(vm_event()), {}),
    (b"CloudOwner_RegionOne/vm-1", msgspec.json.encode(vm_event(changed_at="now")), {}),
    (b"CloudOwner_RegionOne/vm-1", event_with(b"5"), {}),
    (b"CloudOwner_RegionOne/vm-1", event_with(b"{}"), {}),
    (b"CloudOwner_RegionOne/vm-1", msgspec.json.encode(vm_event()), {"output": b"\xff"}),
]


async def test_what_is_no_event_goes_to_the_dead_letters_and_the_others_go_on(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, []) as stack:
        await create_topics(kafka.bootstrap, stack.prefix)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        place = partition_of(b"CloudOwner_RegionOne/vm-1", 8)
        for key, value, headers in NOT_EVENTS:
            producer.produce(stack.names.events, value, key, place, headers=headers)  # type: ignore[arg-type]
        producer.flush(30)
        good = vm_event("vm-1")
        await asyncio.to_thread(write_events, kafka.bootstrap, stack.prefix, [good])
        stack.start("publisher")

        async def is_there() -> bool:
            assert stack.children["publisher"].running
            return bool(read_topic(kafka.bootstrap, stack.dmaap_topic))

        await eventually(is_there, within=30)
        (record,) = read_topic(kafka.bootstrap, stack.dmaap_topic)
        assert json.loads(record.value() or b"")["vim_event"]["id"] == good.id
        letters = read_topic(kafka.bootstrap, stack.names.dead_letter)
        offsets = [dict(headers_of(letter))["offset"] for letter in letters]
        assert sorted(map(int, offsets)) == list(range(len(NOT_EVENTS)))
        told = [connect_context(headers_of(letter)) for letter in letters]
        assert {(each.topic, each.partition) for each in told} == {(stack.names.events, place)}
        assert sorted(each.offset for each in told) == list(range(len(NOT_EVENTS)))
        assert {(each.stage, each.exception) for each in told} == {
            ("VALUE_CONVERTER", "vimfed.Unreadable")
        }
