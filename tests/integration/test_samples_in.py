"""Samples of a cloud's ceilometer through the bridge, between real brokers."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.integration.test_bridge import CLOUD, Setup
from tests.support import notifications, sections
from tests.support.bridge_process import eventually
from tests.support.brokers import RabbitMQ
from tests.support.ceilometer_messages import VM, bare, counter, metering, sample_of
from tests.support.notifications import rabbit_sender, send_to_kafka
from tests.support.topics import read_topic, wait_for_records
from vimfed.kafka.partitions import partition_of
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import host_key, instance_key
from vimfed.model.samples import SampleRecord, decode_samples

QUEUE = "metering.sample"
IDS = [f"{number:08x}{VM[8:]}" for number in range(50)]


class Metered(Setup):
    """A bridge to one cloud that has samples, under names of its own on the shared brokers."""

    def cloud(self, **sections: Any) -> dict[str, object]:
        return {"cloud_owner": "Owner", "cloud_region_id": "Region", **sections}

    def rabbit_samples(self, **options: Any) -> dict[str, object]:
        named = {"exchange": f"{self.name}.c", "pool": f"{self.name}.samples"}
        return {"rabbit": {"transport_urls": [self.rabbitmq.url], **named}, **options}

    def kafka_samples(self) -> dict[str, object]:
        named = {"topics": [f"{self.name}.metering"], "group": f"{self.name}.samples"}
        return {"kafka": {"bootstrap": self.kafka.bootstrap, **named}}

    def send(self, *bodies: bytes) -> None:
        with rabbit_sender(self.rabbitmq.url, exchange=f"{self.name}.c") as sender:
            for body in bodies:
                sender.send(body, QUEUE)

    def samples(self, count: int) -> list[SampleRecord]:
        """Wait for so many records, and return what they say."""
        records = wait_for_records(self.kafka.bootstrap, f"{self.name}.samples", count)
        for record in records:
            assert record.partition() == partition_of(record.key() or b"", 4)
        return [decode_samples(record.value() or b"") for record in records]


@pytest.fixture
def metered(tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ) -> Iterator[Metered]:
    made = Metered(tmp_path, kafka, rabbitmq)
    yield made
    made.bridge.child.kill()


def command(metered: Metered, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vimfed", "--config", str(metered.bridge.settings_file), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def volumes(records: list[SampleRecord]) -> list[float]:
    return sorted(sample.volume for record in records for sample in record.samples)


def test_samples_over_rabbitmq_and_what_is_wrong_with_some(metered: Metered) -> None:
    metered.start(metered.cloud(samples=metered.rabbit_samples()))
    metered.send(
        metering(counter(volume=1), counter(volume=None), counter(volume=2)),
        metering(counter("image.size", resource_metadata={})),
        b"none",
        metering(*(sample_of(each, 3) for each in IDS[:2])),
    )
    records = metered.samples(3)
    assert volumes(records) == [1, 2, 3, 3]
    assert {(each.vim_id, each.source) for each in records} == {(CLOUD, "oslo")}
    assert {each.instance_id for each in records} == {VM, *IDS[:2]}
    letters = metered.dead_letters(2)
    assert {headers["origin"] for _value, headers in letters} == {"telemetry"}
    assert {headers["source"] for _value, headers in letters} == {QUEUE}
    assert {value for value, _headers in letters} == {
        f"[{json.dumps(counter(volume=None))}]".encode(),
        b"none",
    }
    bus = f"samples {metered.rabbitmq.url.rpartition('@')[2]}"
    shown = [
        metered.bridge.metric(name, CLOUD, bus)
        for name in ("received_total", "forwarded_total", "dead_letters_total", "passed_over_total")
    ]
    assert shown == [4, 3, 2, 1]
    assert metered.bridge.stop() < 10


def test_samples_over_kafka_with_a_priority_and_without(metered: Metered) -> None:
    topics = [f"{metered.name}.{QUEUE}", f"{metered.name}.metering"]
    admin = AdminClient({"bootstrap.servers": metered.kafka.bootstrap})
    for made in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        made.result(30)
    metered.start(metered.cloud(samples=metered.kafka_samples()))
    send_to_kafka(metered.kafka.bootstrap, topics[0], [metering(counter(volume=1)), b"{}"])
    send_to_kafka(metered.kafka.bootstrap, topics[1], [bare(counter(volume=2))])
    assert volumes(metered.samples(2)) == [1, 2]
    ((value, headers),) = metered.dead_letters(1)
    assert (value, headers["origin"], headers["offset"]) == (b"{}", "telemetry", "1")
    assert metered.bridge.metric("received_total", CLOUD, "samples") == 3
    metered.bridge.stop()
    send_to_kafka(metered.kafka.bootstrap, topics[1], [bare(counter(volume=3))])
    metered.bridge.start([CLOUD])
    assert volumes(metered.samples(3)) == [1, 2, 3]


@pytest.mark.parametrize("broker", ["rabbit", "kafka"])
def test_a_bridge_that_is_killed_loses_no_sample(metered: Metered, broker: str) -> None:
    topic = f"{metered.name}.{QUEUE}"
    if broker == "kafka":
        admin = AdminClient({"bootstrap.servers": metered.kafka.bootstrap})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    samples = metered.rabbit_samples() if broker == "rabbit" else metered.kafka_samples()
    metered.start(metered.cloud(samples=samples))
    count, done = 3000, threading.Event()
    messages = [
        metering(sample_of(IDS[number % 50], number), sample_of(VM, number))
        for number in range(count)
    ]

    def send() -> None:
        for start in range(0, count, 100):
            some = messages[start : start + 100]
            if broker == "rabbit":
                metered.send(*some)
            else:
                send_to_kafka(metered.kafka.bootstrap, topic, some)
        done.set()

    sending = threading.Thread(target=send)
    sending.start()
    for kill in range(3):
        eventually(
            lambda: (metered.bridge.metric("forwarded_total", CLOUD) or 0) > 200 or done.is_set(),
            f"on its way, kill {kill}",
        )
        metered.bridge.child.kill()
        metered.bridge.start([CLOUD])
    sending.join(120)
    assert done.is_set()
    wanted = set(range(count))

    def told() -> dict[str, set[float]]:
        found: dict[str, set[float]] = {"shared": set(), "own": set()}
        for record in read_topic(metered.kafka.bootstrap, f"{metered.name}.samples"):
            said = decode_samples(record.value() or b"")
            volumes = (sample.volume for sample in said.samples)
            found["shared" if said.instance_id == VM else "own"].update(volumes)
        return found

    eventually(lambda: told() == {"shared": wanted, "own": wanted}, "every sample", 60)
    assert not read_topic(metered.kafka.bootstrap, f"{metered.name}.dead-letter")


def test_usage_comes_with_the_notifications_and_samples_beside_them(metered: Metered) -> None:
    rabbit = {"transport_urls": [metered.rabbitmq.url], "exchange": metered.name}
    metered.start(
        metered.cloud(
            rabbit=rabbit | {"pool": metered.name}, samples=metered.rabbit_samples(usage=True)
        )
    )
    flavor = {"memory_mb": 512, "vcpus": 2, "root_gb": 1, "ephemeral_gb": 0, "deleted_at": ""}
    measured = {"name": "cpu.percent", "timestamp": "2026-01-01T12:00:00.500000", "value": 0.5}
    sender = metered.sender()
    sender.send(notifications.body(message_id="event", instance_id="i-1"))
    sender.send(
        notifications.body(event_type="compute.instance.exists", instance_id="i-1", payload=flavor)
    )
    sender.send(
        notifications.body(
            event_type="compute.metrics.update",
            payload={"host": "h1", "nodename": "h1", "metrics": [measured]},
        )
    )
    sender.close()
    metered.send(metering(counter()))
    (told,) = metered.notifications(1)
    assert told["message_id"] == "event"
    metered.samples(3)
    records = read_topic(metered.kafka.bootstrap, f"{metered.name}.samples")
    found = {
        record.key(): [sample.meter for sample in decode_samples(record.value() or b"").samples]
        for record in records
    }
    assert found == {
        instance_key(CLOUD, "i-1"): ["vcpus", "memory", "disk.root.size", "disk.ephemeral.size"],
        host_key(CLOUD, "h1"): ["compute.node.cpu.percent"],
        instance_key(CLOUD, VM): ["memory.usage"],
    }


OF_EACH = 100
"""Samples of a message."""
MOST_AHEAD = 1000
"""Messages of a flood that wait, at most: they are forwarded soon, however slow the bridge is."""


@pytest.mark.parametrize("broker", ["rabbit", "kafka"])
def test_a_flood_of_samples_holds_up_neither_its_own_clouds_notifications_nor_another_ones(
    metered: Metered, broker: str
) -> None:
    is_rabbit = broker == "rabbit"
    own = sections.rabbit_cloud(metered.rabbitmq.url, exchange=metered.name, pool=metered.name)
    samples = metered.rabbit_samples() if is_rabbit else metered.kafka_samples()
    other = metered.kafka_cloud(cloud_region_id="Other")
    metered.make_topics()
    if not is_rabbit:
        admin = AdminClient({"bootstrap.servers": metered.kafka.bootstrap})
        for made in admin.create_topics([NewTopic(f"{metered.name}.{QUEUE}", 1, 1)]).values():
            made.result(30)
    metered.start(own | {"samples": samples}, other, connected=(CLOUD, "Owner_Other"))
    bus = f"samples {metered.rabbitmq.url.rpartition('@')[2]}" if is_rabbit else "samples"
    forwarded = partial(metered.bridge.metric, "forwarded_total", CLOUD, bus)
    bodies = [
        metering(*(sample_of(each, number, resource_metadata={}) for number in range(OF_EACH)))
        for each in IDS
    ]
    over = threading.Event()

    def flood() -> int:
        """Send samples until all notifications are told; return how many messages."""
        sent = 0
        while not over.is_set():
            if is_rabbit:
                metered.send(*bodies)
            else:
                send_to_kafka(metered.kafka.bootstrap, f"{metered.name}.{QUEUE}", bodies)
            sent += len(bodies)
            while sent - (forwarded() or 0) > MOST_AHEAD and not over.wait(0.05):
                pass
        return sent

    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood)
        try:
            with rabbit_sender(metered.rabbitmq.url, exchange=metered.name) as sender:
                for count in range(2, 12, 2):
                    before = forwarded() or 0
                    sender.send(notifications.body())
                    metered.send_to_kafka([notifications.body()])
                    told = metered.notifications(count)
                    eventually(lambda: (forwarded() or 0) > before, "samples come")  # noqa: B023
        finally:
            over.set()
        sent = flooding.result()
    # What waited for the samples would have waited until they ended.
    assert Counter(each["vim_id"] for each in told) == {CLOUD: 5, "Owner_Other": 5}
    eventually(lambda: forwarded() == sent, "all samples", 120)


def test_a_ceilometer_that_is_away_is_told_and_holds_up_no_event(metered: Metered) -> None:
    away = {"rabbit": {"transport_urls": ["rabbit://u:p@127.0.0.1:1/"]}}
    rabbit = {"transport_urls": [metered.rabbitmq.url], "exchange": metered.name}
    metered.start(metered.cloud(rabbit=rabbit | {"pool": metered.name}, samples=away), connected=())
    bus = "samples 127.0.0.1:1/"
    eventually(lambda: metered.bridge.metric("connected", CLOUD, bus) == 0, "shown as away")
    sender = metered.sender()
    sender.declare_exchange()
    eventually(lambda: metered.bridge.health("/readyz")[0] == 200, "ready")
    sender.send(notifications.body(message_id="event"))
    sender.close()
    assert [each["message_id"] for each in metered.notifications(1)] == ["event"]
    _status, readiness = metered.bridge.health("/readyz")
    assert "127.0.0.1:1" in readiness["degraded"][f"listening {CLOUD}, bus {bus}"]


def test_a_cloud_is_given_samples_by_sighup_once_another_has_some(metered: Metered) -> None:
    plain = metered.rabbit_cloud()
    other = metered.cloud(samples={"pushed": True}) | {"cloud_region_id": "Other"}
    metered.start(plain)
    sampled = plain | {"samples": metered.rabbit_samples()}
    metered.bridge.write_settings([sampled])
    metered.bridge.hang_up()
    first = "SIGHUP: the first cloud with [vims.samples] needs a restart"
    eventually(lambda: first in metered.bridge.log_text(), "told")
    assert metered.bridge.metric("connected", CLOUD) == 1
    metered.bridge.stop()
    metered.start(plain, other)
    metered.bridge.write_settings([sampled, other])
    metered.bridge.hang_up()
    bus = f"samples {metered.rabbitmq.url.rpartition('@')[2]}"
    eventually(lambda: metered.bridge.metric("connected", CLOUD, bus) == 1, "listens")
    metered.send(metering(counter()))
    assert volumes(metered.samples(1)) == [1.5]


def test_what_was_signed_with_another_secret_is_replayed_once_that_is_mended(
    metered: Metered,
) -> None:
    sampled = metered.rabbit_samples(telemetry_secret="another")
    metered.start(metered.cloud(samples=sampled))
    metered.send(metering(counter()))
    ((_value, headers),) = metered.dead_letters(1)
    assert headers["error"].endswith("the first: it is not signed with telemetry_secret")
    metered.bridge.stop()

    refused = command(metered, "dead-letter", "replay", "--vim", CLOUD)
    assert refused.returncode == 1
    assert "still unusable: 1 of 1 samples cannot be used" in refused.stderr
    metered.bridge.write_settings([metered.cloud(samples=metered.rabbit_samples())])
    done = command(metered, "dead-letter", "replay", "--vim", CLOUD)
    assert done.stdout.endswith(f": replayed to {metered.name}.samples\n"), done.stderr
    assert volumes(metered.samples(1)) == [1.5]


def test_check_looks_at_the_brokers_of_samples(metered: Metered) -> None:
    samples = metered.rabbit_samples() | metered.kafka_samples()
    metered.bridge.write_settings([metered.cloud(samples=samples)])
    told = command(metered, "check", "--process", "bridge").stdout
    bus = metered.rabbitmq.url.rpartition("@")[2]
    assert (
        f"cloud {CLOUD}: samples: bus {bus}: warning: exchange {metered.name}.c does not exist "
        "(yet): is `exchange` ceilometer's control_exchange?"
    ) in told
    assert f"cloud {CLOUD}: samples: Kafka: warning: there is none of the topics" in told
    assert "ceilometer has written to none yet" in told
