"""Topics that somebody else has made: what would lose data is refused, of the rest is warned."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.bridge_process import eventually
from tests.support.brokers import new_kafka
from vimfed.kafka.clients import TopicMismatchError
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topics import TopicNames, topic_specs
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings

PARTITIONS = 2


@pytest.fixture
def settings(kafka: LocalKafka) -> KafkaSettings:
    return settings_on(kafka)


def settings_on(kafka: LocalKafka) -> KafkaSettings:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    return KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix, partitions=PARTITIONS)


def make(settings: KafkaSettings, name: str, **configs: str) -> None:
    """Make a topic as an operator does by hand; the options' ``_`` is a ``.``."""
    dotted = {key.replace("_", "."): value for key, value in configs.items()}
    topic = NewTopic(name, num_partitions=PARTITIONS, replication_factor=1, config=dotted)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})  # its futures end with it
    admin.create_topics([topic])[name].result(20)


@pytest.mark.parametrize(
    ("topic", "configs", "told"),
    [
        ("changelog", {"cleanup_policy": "delete"}, "cleanup.policy = delete instead of compact"),
        ("changelog", {"cleanup_policy": "compact,delete"}, "cleanup.policy = compact,delete"),
        ("events", {"cleanup_policy": "compact"}, "cleanup.policy = compact instead of delete"),
        ("notifications", {"min_insync_replicas": "2"}, "of which min.insync.replicas asks 2"),
    ],
)
async def test_a_topic_that_would_lose_or_take_nothing_is_refused_with_the_command_that_mends_it(
    settings: KafkaSettings, topic: str, configs: dict[str, str], told: str
) -> None:
    name = getattr(TopicNames(settings.topic_prefix), topic)
    make(settings, name, **configs)
    with pytest.raises(TopicMismatchError) as refused:
        await ensure_topics(settings)
    assert told in str(refused.value)
    assert name in str(refused.value)
    assert ".sh" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_each_setting_of_which_something_depends_is_warned_of(
    settings: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    names = TopicNames(settings.topic_prefix)
    short = {"retention_ms": "7200000", "retention_bytes": "1000000", "max_message_bytes": "1000"}
    make(
        settings,
        names.notifications,
        **short,
        message_timestamp_type="CreateTime",
        unclean_leader_election_enable="true",
    )
    make(settings, names.changelog, cleanup_policy="compact", segment_bytes="1073741824")
    make(settings, names.subscriptions, cleanup_policy="compact", delete_retention_ms="1000")
    with pytest.raises(TopicMismatchError, match=r"subscriptions has 2 partitions"):
        await ensure_topics(settings)
    warnings = [record.getMessage() for record in caplog.records]
    wrong = {
        names.notifications: (
            *("retention.ms = 7200000", "retention.bytes = 1000000", "max.message.bytes = 1000"),
            *("message.timestamp.type = CreateTime", "unclean.leader.election.enable = true"),
        ),
        names.changelog: (
            *("segment.bytes = 1073741824", "segment.ms = 604800000"),
            "min.cleanable.dirty.ratio = 0.5",
        ),
    }
    for name, settings_of in wrong.items():
        for each in settings_of:
            (line,) = [line for line in warnings if f"topic {name} has {each} " in line]
            key = each.partition(" ")[0]
            assert f"kafka-configs.sh --bootstrap-server {settings.bootstrap} --alter" in line
            assert f"--entity-name {name} --add-config {key}=" in line


async def test_our_own_topics_are_as_we_need_them_and_what_stays_for_longer_is_warned_of(
    settings: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    names = TopicNames(settings.topic_prefix)
    # All that we make it with, but that it is kept for ever, and takes larger records.
    (spec,) = [spec for spec in topic_specs(settings) if spec.name == names.events]
    make(
        settings,
        names.events,
        **{**spec.configs, "retention.ms": "-1", "max.message.bytes": "2000000"},
    )
    assert len(await ensure_topics(settings)) == 7
    assert await ensure_topics(settings) == []
    warnings = {record.getMessage() for record in caplog.records}
    assert len(warnings) == 1
    assert "has retention.ms = -1 instead of 604800000: records are removed unread, or" in str(
        warnings
    )


@pytest.fixture
def compacting(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker that looks for something to compact all the time."""
    properties = {"log.cleaner.backoff.ms": "200", "log.retention.check.interval.ms": "200"}
    with new_kafka(tmp_path, properties=properties) as broker:
        yield broker


async def test_the_changelog_is_as_large_as_the_instances_are_many(compacting: LocalKafka) -> None:
    """40 MB of rows of 100 instances."""
    settings = settings_on(compacting)
    await ensure_topics(settings)
    changelog = TopicNames(settings.topic_prefix).changelog
    producer = Producer({"bootstrap.servers": settings.bootstrap, "linger.ms": 20})
    row = json.dumps({"padding": "x" * 2000}).encode()
    for number in range(20_000):
        producer.produce(changelog, row, f"instance-{number % 100}".encode())
        producer.poll(0)
    assert producer.flush(60) == 0

    def size() -> int:
        files = (compacting.data_dir / "data").glob(f"{changelog}-*/*.log")
        return sum(file.stat().st_size for file in files)

    assert size() > 0
    # For each partition the segment that is written to, and what has been compacted before.
    most = PARTITIONS * 6 * 1024 * 1024
    eventually(lambda: size() < most, f"less than {most} bytes of changelog", timeout=60)
