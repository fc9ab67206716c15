"""Records that are compressed, by whatever a broker or nova's Kafka driver chooses, are read."""

import asyncio
import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.progress import Counters, Progress
from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.listening import kafka_listener
from tests.support.notifications import body
from tests.support.sections import kafka_cloud, vim_of
from tests.support.topics import read_topic
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import NotificationWriter
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topics import topic_specs
from vimfed.local.kafka import LocalKafka
from vimfed.process.metrics import new_registry
from vimfed.settings import KafkaSettings

CODECS = ("gzip", "snappy", "lz4", "zstd")
CLOUD = {"cloud_owner": "Owner", "cloud_region_id": "Region"}


def send(bootstrap: str, topic: str, codec: str, values: Iterable[bytes]) -> None:
    """Send values in one compressed batch; alike enough that librdkafka keeps it compressed."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 100}
    )
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


async def test_a_cloud_whose_driver_compresses_is_read(kafka: LocalKafka) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    vim = vim_of(kafka_cloud(kafka.bootstrap, group=name, topics=[name]))
    for codec in CODECS:
        messages = [body(message_id=f"{codec}-{number}") for number in range(20)]
        await asyncio.to_thread(send, kafka.bootstrap, f"{name}.info", codec, messages)
    written: list[OutgoingRecord] = []

    async def write(records: Sequence[OutgoingRecord], _progress: Progress) -> None:
        written.extend(records)

    async def all_there() -> bool:
        return len(written) >= 20 * len(CODECS)

    listener = kafka_listener(
        vim, KafkaSettings(), write, Progress(vim.vim_id, Counters(new_registry()))
    )
    listener.start()
    try:
        await eventually(all_there, within=30)
    finally:
        await listener.stop()
    told = [json.loads(record.value or b"")["message_id"] for record in written]
    assert told == [f"{codec}-{number}" for codec in CODECS for number in range(20)]


def make_compressed(kafka: KafkaSettings, codecs: dict[str, str]) -> None:
    """Make topics that the broker compresses anew, however they are written."""
    specs = {spec.name: spec for spec in topic_specs(kafka)}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    topics = [
        NewTopic(
            name,
            num_partitions=kafka.partitions,
            replication_factor=1,
            config={**(specs[name].configs if name in specs else {}), "compression.type": codec},
        )
        for name, codec in codecs.items()
    ]
    for made in admin.create_topics(topics).values():
        made.result(20)


async def test_a_broker_that_compresses_is_read_by_worker_and_publisher_and_after_a_restart(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
        settings = KafkaSettings(
            bootstrap=kafka.bootstrap, topic_prefix=stack.prefix, partitions=PARTITIONS
        )
        codecs = {
            stack.names.notifications: "lz4",
            stack.names.changelog: "snappy",
            stack.names.events: "gzip",
            stack.dmaap_topic: "zstd",
        }
        make_compressed(settings, codecs)
        await ensure_topics(settings)
        stack.start_worker()
        stack.start("publisher")
        await stack.ready()
        topic = NotificationsTopic(stack, "Owner_Region")
        for number in range(5):
            topic.tell(f"vm-{number}")

        async def published() -> bool:
            return len(read_topic(kafka.bootstrap, stack.dmaap_topic)) >= 5

        await eventually(published, within=40)
        stack.children["worker"].stop()
        stack.start_worker("another")  # which has to read the changelog
        await stack.ready("another")
        status, answer = await stack.get("/api/multicloud/v1/Owner/Region/instances", "another")
        assert (status, len(answer["instances"])) == (200, 5)


@pytest.mark.parametrize("codec", ["none", *CODECS])
async def test_what_we_write_is_compressed_as_the_settings_say(
    kafka: LocalKafka, codec: str
) -> None:
    """The topic's size on the broker's disk tells."""
    settings = KafkaSettings(
        bootstrap=kafka.bootstrap,
        topic_prefix=f"t{uuid.uuid4().hex[:8]}",
        partitions=1,
        compression=codec,  # type: ignore[arg-type]
    )
    await ensure_topics(settings)
    name = f"{settings.topic_prefix}.notifications"
    value = json.dumps({"field": "value " * 300}).encode()
    writer = NotificationWriter(settings)
    await writer.write([OutgoingRecord(name, 0, b"key", value) for _each in range(100)])
    await writer.close()
    assert [record.value() for record in read_topic(kafka.bootstrap, name)] == [value] * 100
    (log,) = (kafka.data_dir / "data" / f"{name}-0").glob("*.log")
    assert (log.stat().st_size < 100 * len(value) / 4) == (codec != "none")
