"""What the bridge reads of the table: its changelog on real Kafka."""

import asyncio
import concurrent.futures
import uuid

import msgspec
import pytest
from confluent_kafka import Producer

from bridge.hosts.known_hosts import HOSTS
from bridge.poller.known_instances import KnownInstances, KnownInstancesError
from tests.support.topics import count_records
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import alerts_key, cloud_key, host_key, instance_key
from vimfed.model.records import SCHEMA_VERSION, InstanceState, Source, encode_row
from vimfed.settings import KafkaSettings


class Changelog:
    """A changelog with rows that the test puts there, and who reads it."""

    def __init__(self, kafka: LocalKafka, *vim_ids: str) -> None:
        self.settings = KafkaSettings(
            bootstrap=kafka.bootstrap, topic_prefix=f"k{uuid.uuid4().hex[:8]}", partitions=2
        )
        self.topic = TopicNames(self.settings.topic_prefix).changelog
        asyncio.run(ensure_topics(self.settings))
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap})
        self.known = KnownInstances(self.settings, lambda: vim_ids, lambda: True)

    def put(
        self, vim_id: str, instance_id: str = "", vm_state: str = "active", source: Source = "oslo"
    ) -> str:
        """Write a row; return the instance's id, a new one by default."""
        instance_id = instance_id or str(uuid.uuid4())
        row = InstanceState(
            vim_id=vim_id,
            instance_id=instance_id,
            vm_state=vm_state,
            task_state="",
            kind="CREATE",
            phase="end",
            changed_at="2026-01-01T00:00:00.000000Z",
            source=source,
            payload=msgspec.Raw(b'{"tenant_id":"project of %s"}' % vim_id.encode()),
        )
        self.put_bytes(instance_key(vim_id, instance_id), encode_row(row))
        return instance_id

    def put_bytes(self, key: bytes, value: bytes | None, partition: int = -1) -> None:
        self._producer.produce(self.topic, value, key, partition)
        assert self._producer.flush(30) == 0

    def take(self, vim_id: str) -> dict[str, str]:
        return self.known.take(vim_id, lambda: False)


def test_known_is_what_the_newest_rows_say_is_there(kafka: LocalKafka) -> None:
    changelog = Changelog(kafka, "a_b", "c_d")
    there, deleted, swept = (changelog.put("a_b") for _ in range(3))
    other = changelog.put("c_d", vm_state="error")
    changelog.put("a_b", deleted, "deleted")
    changelog.put_bytes(instance_key("a_b", swept), None)
    changelog.put("a_b", source="ingest")
    changelog.put("a_b", "made-up-by-a-plug-in")
    changelog.put("not_polled")
    changelog.put_bytes(b"no key", b"{}")
    changelog.put_bytes(instance_key("a_b", str(uuid.uuid4())), b"no row")
    assert changelog.take("a_b") == {there: "project of a_b"}
    assert changelog.take("c_d") == {other: "project of c_d"}


def test_one_scan_serves_each_cloud_once(kafka: LocalKafka) -> None:
    changelog = Changelog(kafka, "a_b", "c_d")
    first = changelog.put("a_b")
    with concurrent.futures.ThreadPoolExecutor() as threads:
        taken = list(threads.map(changelog.take, ("a_b", "c_d")))
    assert taken == [{first: "project of a_b"}, {}]
    second = changelog.put("a_b")
    assert changelog.take("a_b").keys() == {first, second}, "read again"


def test_hosts_are_known_from_one_partition_which_has_all_of_them(kafka: LocalKafka) -> None:
    changelog = Changelog(kafka, "a_b", "c_d")
    changelog.put("a_b")
    keys = [host_key(vim, host) for vim in ("a_b", "c_d", "e_f") for host in ("one", "two")]
    for key in [*keys, cloud_key("a_b"), alerts_key("a_b", host="three"), b"\xff/host/x", b"none"]:
        changelog.put_bytes(key, b"{}", partition=0)
    changelog.put_bytes(host_key("a_b", "elsewhere"), b"{}", partition=1)
    changelog.put_bytes(host_key("a_b", "one"), None, partition=0)
    hosts = KnownInstances(changelog.settings, lambda: ["a_b", "c_d"], lambda: True, HOSTS)
    assert hosts.take("a_b", lambda: False).keys() == {"two"}
    assert hosts.take("c_d", lambda: False).keys() == {"one", "two"}


def test_a_changelog_that_cannot_be_used_is_said_so(kafka: LocalKafka) -> None:
    changelog = Changelog(kafka, "a_b")
    newer = changelog.put("a_b")
    row = b'{"schema_version":%d,"vm_state":"active","payload":{}}' % (SCHEMA_VERSION + 1)
    changelog.put_bytes(instance_key("a_b", newer), row)
    with pytest.raises(KnownInstancesError, match="a newer version wrote it"):
        changelog.take("a_b")
    assert count_records(kafka.bootstrap, changelog.topic) == 2

    nowhere = KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=f"k{uuid.uuid4().hex[:8]}")
    with pytest.raises(KnownInstancesError, match="there is no topic"):
        KnownInstances(nowhere, list, lambda: True).take("a_b", lambda: False)
    away = KafkaSettings(bootstrap="127.0.0.1:9")
    with pytest.raises(KnownInstancesError, match="no broker answers"):
        KnownInstances(away, list, lambda: True).take("a_b", lambda: False)


def test_a_poller_that_is_to_stop_waits_for_no_topic(kafka: LocalKafka) -> None:
    waiting = KnownInstances(KafkaSettings(bootstrap=kafka.bootstrap), list, lambda: False)
    with pytest.raises(KnownInstancesError, match="to stop"):
        waiting.take("a_b", lambda: True)
