"""How much waits in a cloud's own queue is known, also while Kafka takes nothing."""

import asyncio
import concurrent.futures
import uuid
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

import bridge.kafka.listener
import bridge.rabbit.listener
from bridge.forwarding import notifications_of
from bridge.progress import Counters, Progress, ProgressCollector
from bridge.rabbit.bus import buses_of
from bridge.rabbit.listener import RabbitListener
from tests.e2e.stack import eventually
from tests.support.brokers import RabbitMQ
from tests.support.listening import kafka_listener
from tests.support.notifications import body, rabbit_sender, send_to_kafka
from tests.support.sections import kafka_cloud, rabbit_cloud, vim_of
from vimfed.kafka.clients import OutgoingRecord
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings, VimSettings


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Progress:
    monkeypatch.setattr(bridge.rabbit.listener, "DEPTH_EVERY", 0.2)
    monkeypatch.setattr(bridge.kafka.listener, "DEPTH_EVERY", 0.2)
    return Progress("Owner_Region", Counters(CollectorRegistry()))


def kafka_vim(kafka: LocalKafka, name: str) -> VimSettings:
    return vim_of(kafka_cloud(kafka.bootstrap, topics=[name], group=name, poll_records=2))


async def is_waiting(progress: Progress, count: int) -> None:
    async def waits() -> bool:
        return progress.queue_depth == count

    await eventually(waits, within=20)


async def test_of_a_rabbitmq_queue(rabbitmq: RabbitMQ, progress: Progress) -> None:
    name = f"t{uuid.uuid4().hex[:10]}"
    written = concurrent.futures.Future[None]()
    vim = vim_of(rabbit_cloud(rabbitmq.url, topics=[name], exchange=name, pool=name, prefetch=2))
    (bus,) = buses_of(vim).values()
    converter = notifications_of(KafkaSettings(), vim)
    listener = RabbitListener(bus, KafkaSettings(), converter, lambda *_: written, progress)
    listener.start()
    await is_waiting(progress, 0)
    with rabbit_sender(rabbitmq.url, exchange=name) as sender:
        for _ in range(7):
            sender.send(body(), f"{name}.info")
    await is_waiting(progress, 5)  # two are handed to us
    written.set_result(None)
    await is_waiting(progress, 0)
    assert await listener.stop()


async def test_of_a_clouds_kafka_topics(kafka: LocalKafka, progress: Progress) -> None:
    name = f"t{uuid.uuid4().hex[:10]}"
    vim = kafka_vim(kafka, name)
    goes_on = asyncio.Event()

    async def write(_records: Sequence[OutgoingRecord], _progress: Progress) -> None:
        await goes_on.wait()

    send_to_kafka(kafka.bootstrap, f"{name}.info", [body()] * 7)
    listener = kafka_listener(vim, KafkaSettings(), write, progress)
    listener.start()
    await is_waiting(progress, 7)  # nothing is committed
    registry = CollectorRegistry()
    registry.register(ProgressCollector(lambda: [progress]))
    assert (
        registry.get_sample_value(
            "vimfed_bridge_queue_depth", {"vim_id": "Owner_Region", "bus": ""}
        )
        == 7
    )
    goes_on.set()
    await is_waiting(progress, 0)
    await listener.stop()


async def test_a_transactions_marker_does_not_wait(kafka: LocalKafka, progress: Progress) -> None:
    name = f"t{uuid.uuid4().hex[:10]}"
    sender = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": name, "log_level": 0}
    )
    sender.init_transactions(30)
    sender.begin_transaction()
    sender.produce(f"{name}.info", body())
    sender.commit_transaction(30)
    written = asyncio.Event()

    async def write(_records: Sequence[OutgoingRecord], _progress: Progress) -> None:
        written.set()

    listener = kafka_listener(kafka_vim(kafka, name), KafkaSettings(), write, progress)
    listener.start()
    await asyncio.wait_for(written.wait(), 20)
    await is_waiting(progress, 0)
    await listener.stop()


async def test_brokers_that_are_gone_show(
    kafka: LocalKafka, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.kafka.listener, "DEPTH_TIMEOUT", 0.5)
    name = f"t{uuid.uuid4().hex[:10]}"

    async def write(*_: object) -> None:
        return None

    async def connected() -> bool:
        return progress.connected

    async def gone() -> bool:
        return not progress.connected and progress.queue_depth is None

    listener = kafka_listener(kafka_vim(kafka, name), KafkaSettings(), write, progress)
    listener.start()
    await eventually(connected, within=20)
    kafka.freeze()
    try:
        await eventually(gone, within=10)
    finally:
        kafka.thaw()
    await eventually(connected, within=20)
    assert await listener.stop()
