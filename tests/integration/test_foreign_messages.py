"""What a hostile sender can do to the bridge by the form of its AMQP messages: one dead letter."""

import asyncio
import bz2
import json
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

import bridge.rabbit.listener
from bridge.progress import Counters, Progress
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ
from tests.support.listening import Listening, kafka_listener
from tests.support.notifications import body, rabbit_sender
from tests.support.sections import kafka_cloud, rabbit_cloud, vim_of
from tests.support.topics import headers_of, wait_for_records
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import MAX_VALUE_BYTES
from vimfed.local.kafka import LocalKafka
from vimfed.nova.oslo import MAX_BODY_BYTES
from vimfed.settings import KafkaSettings

MEGABYTE = 1_000_000


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def running(
    tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ, name: str
) -> Iterator[BridgeProcess]:
    process = BridgeProcess(
        tmp_path,
        kafka={"bootstrap": kafka.bootstrap, "topic_prefix": name, "partitions": 1},
        vims=[
            rabbit_cloud(rabbitmq.url, exchange=name, pool=name),
        ],
    )
    process.start(["Owner_Region"])
    yield process
    process.stop()


def resident(process: BridgeProcess) -> float:
    """Return the megabytes that a bridge has in memory."""
    _status, text = process.get("/metrics")
    [line] = [one for one in text.splitlines() if one.startswith("process_resident_memory_bytes")]
    return float(line.split()[1]) / MEGABYTE


@contextmanager
def deep_stack() -> Iterator[None]:
    """Let the sender's library write what ours must not be led to read."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(usual)


def nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"a": table}
    return table


def test_no_form_of_a_message_costs_more_than_a_dead_letter(
    running: BridgeProcess, kafka: LocalKafka, rabbitmq: RabbitMQ, name: str
) -> None:
    before = resident(running)
    bomb = bz2.compress(b"0" * 300 * MEGABYTE)
    assert len(bomb) < 1000
    large = body(size=MAX_BODY_BYTES)
    with rabbit_sender(rabbitmq.url, exchange=name) as sender:
        sender.send(bomb, application_headers={"compression": "application/x-bz2"})
        sender.send(large)
        sender.send(b"a" * 300_000, content_encoding="punycode", content_type="text/plain")
        with deep_stack():
            sender.send(body(message_id="unreadable"), application_headers=nested(2000))
        sender.send(body(message_id="good"), content_encoding="no-such-encoding")
    [good] = wait_for_records(kafka.bootstrap, f"{name}.notifications", 1)
    assert json.loads(good.value() or b"")["message_id"] == "good"
    letters = wait_for_records(kafka.bootstrap, f"{name}.dead-letter", 4)
    reasons = [dict(headers_of(letter))["error"].partition(b":")[0].decode() for letter in letters]
    assert reasons == [
        "compressed",
        "too large",
        "malformed JSON",
        "its properties cannot be read",
    ]
    assert letters[0].value() == bomb
    assert letters[1].value() == large[:MAX_VALUE_BYTES]
    assert resident(running) - before < 100
    assert running.health() == (200, {"status": "ok"})


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_batch_is_unpacked_to_a_bounded_size(
    kafka: LocalKafka, name: str, codec: str
) -> None:
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "compression.type": codec,
            "message.max.bytes": 100 * MEGABYTE,
            "linger.ms": 0,
        }
    )
    topic = f"{name}.info"
    for content in (body(message_id="before"), b"0" * 18 * MEGABYTE, body(message_id="after")):
        producer.produce(topic, content, partition=0)
        assert producer.flush(30) == 0
    records: list[OutgoingRecord] = []
    over = asyncio.Event()

    async def write(written: Sequence[OutgoingRecord], _progress: Progress) -> None:
        records.extend(written)
        if len(records) == 3:
            over.set()

    vim = vim_of(kafka_cloud(kafka.bootstrap, group=name, topics=[name]))
    progress = Progress("Owner_Region", Counters(CollectorRegistry()))
    listener = kafka_listener(vim, KafkaSettings(), write, progress)
    listener.start()
    await asyncio.wait_for(over.wait(), 30)
    assert await listener.stop()
    headers = dict(records[1].headers)
    assert headers["error"] == b"too large: a batch of more than 16777216 bytes, offsets 1 to 1"
    assert [json.loads(records[n].value or b"")["message_id"] for n in (0, 2)] == [
        "before",
        "after",
    ]


async def test_bytes_in_memory_are_bounded_as_messages_are(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.rabbit.listener, "MAX_BYTES_IN_FLIGHT", 2 * MEGABYTE)
    listening = Listening(rabbitmq.url)
    listening.start()
    listening.kafka_is_away()
    listening.send("first")
    eventually(lambda: listening.batches == [1], "a batch is on its way")
    wanted = [str(number) for number in range(12)]
    with rabbit_sender(rabbitmq.url, exchange=listening.name) as sender:
        for message_id in wanted:
            sender.send(body(message_id=message_id, size=700_000))
    eventually(lambda: len(listening.poller.incoming) == 3, "as many as there is room for")
    listening.kafka_takes_records()
    eventually(lambda: len(listening.records) == 13, "all of them")
    assert listening.ids() == ["first", *wanted]
    assert max(listening.batches) <= 3
    await listening.stop()


def test_one_cloud_ends_no_other(
    tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ, name: str
) -> None:
    """The figures of docs/decisions/0016-one-process.md are those of this test."""
    bad, good = f"{name}-bad", f"{name}-good"
    process = BridgeProcess(
        tmp_path,
        kafka={"bootstrap": kafka.bootstrap, "topic_prefix": name, "partitions": 1},
        vims=[
            rabbit_cloud(rabbitmq.url, cloud_region_id=each, exchange=each, pool=each)
            for each in (bad, good)
        ],
    )
    process.start([f"Owner_{bad}", f"Owner_{good}"])
    before = resident(process)
    room = MAX_BODY_BYTES - 1000
    objects = b'{"message_id":"m","event_type":"compute.instance.update","payload":{"ctxt":1,"a":['
    objects += b"{}," * (room // 3) + b"{}]}}"
    contexts = b'{"a":NaN,"b":"' + b"_context" * (room // 8) + b'"}'
    with rabbit_sender(rabbitmq.url, exchange=bad) as sender:
        for _ in range(15):
            sender.send(objects)
            sender.send(contexts)
    peak = before
    sent = {}
    with rabbit_sender(rabbitmq.url, exchange=good) as sender:
        for number in range(20):
            sender.send(body(message_id=str(number)))
            sent[str(number)] = time.time()
            peak = max(peak, resident(process))
    arrived = {
        json.loads(record.value() or b"")["message_id"]: record.timestamp()[1] / 1000
        for record in wait_for_records(kafka.bootstrap, f"{name}.notifications", 20)
    }
    slowest = max(arrived[each] - at for each, at in sent.items())
    letters = wait_for_records(kafka.bootstrap, f"{name}.dead-letter", 30, timeout=60.0)
    peak = max(peak, resident(process))
    process.stop()
    print(f"{before:.0f} MB, at most {peak:.0f} MB; the other cloud's slowest: {slowest:.2f} s")
    assert len(letters) == 30
    assert slowest < 10
    assert peak - before < 500
