"""Clouds that are polled: against real nova's compute API, real Kafka and the bridge's process."""

import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.core.kinds import STATE
from tests.real_nova.cloud import RealNova
from tests.real_nova.environment import nova_python
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ
from tests.support.core_truth import CoreTruth, core_truth
from tests.support.playing import play
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import instance_key
from vimfed.model.records import VmEvent, decode_row
from vimfed.settings import KafkaSettings

CLOUD = {"cloud_owner": "openstack", "cloud_region_id": "polled"}
VIM = "openstack_polled"
NOT_NOTIFIED = ("LOCK", "UNLOCK", STATE)
"""Kinds that one of the two ways cannot tell: nova's legacy format, or the API."""


@pytest.fixture(scope="module")
def nova(
    tmp_path_factory: pytest.TempPathFactory,
    rabbitmq: RabbitMQ,
    request: pytest.FixtureRequest,
) -> Iterator[RealNova]:
    """A nova that all tests of the module share: use servers of your own."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    python = nova_python(say)
    with RealNova(python, tmp_path_factory.mktemp("nova"), rabbitmq.url) as cloud:
        yield cloud


class Polled:
    """A bridge with the clouds that it polls, and what it wrote."""

    def __init__(self, folder: Path, kafka: LocalKafka, *clouds: dict[str, Any]) -> None:
        self.names = TopicNames(f"p{uuid.uuid4().hex[:8]}")
        self.bootstrap = kafka.bootstrap
        self.bridge = BridgeProcess(
            folder,
            kafka={"bootstrap": kafka.bootstrap, "topic_prefix": self.names.prefix},
            vims=clouds,
        )

    def __enter__(self) -> "Polled":
        self.bridge.start()
        eventually(lambda: self.bridge.health("/readyz")[0] == 200, "ready", 60)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.bridge.child.stop()

    def truth(self) -> CoreTruth:
        return core_truth(self.bootstrap, self.names)

    def events(self) -> list[VmEvent]:
        return list(self.truth().events.values())

    def states(self, vim_id: str, servers: Sequence[str]) -> dict[str, tuple[str, str]]:
        rows = self.truth().rows
        states = {}
        for server in servers:
            encoded = rows.get(instance_key(vim_id, server))
            if encoded is not None:
                row = decode_row(encoded)
                states[server] = (row.vm_state, row.task_state)
        return states

    def metric(self, name: str, vim_id: str = VIM) -> float:
        metrics = self.bridge.get("/metrics")[1]
        found = re.findall(rf"^vimfed_poller_{name}{{(.*)}} (\S+)$", metrics, re.MULTILINE)
        return sum(float(value) for labels, value in found if f'vim_id="{vim_id}"' in labels)

    def is_quiet(self) -> bool:
        """Return whether a cycle is one request, and finds nothing, once all is settled."""
        self.wait_for_cycles(3)
        findings, requests = self.metric("findings_total"), self.metric("requests_total")
        cycles = self.metric("cycle_seconds_count")
        self.wait_for_cycles(3)
        asked = self.metric("requests_total") - requests
        done = self.metric("cycle_seconds_count") - cycles
        # One may be under way when the figures are read.
        return abs(asked - done) <= 1 and self.metric("findings_total") == findings

    def write_rows(self) -> None:
        """Write the table's rows to its changelog, as workers do."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for key, row in self.truth().rows.items():
            partition = partition_of(key, KafkaSettings().partitions)
            producer.produce(self.names.changelog, row, key, partition=partition)
        assert producer.flush(30) == 0

    def wait_for_cycles(self, count: int, vim_id: str = VIM) -> None:
        wanted = self.metric("cycle_seconds_count", vim_id) + count
        eventually(
            lambda: self.metric("cycle_seconds_count", vim_id) >= wanted, f"{count} cycles", 60
        )


def polled_cloud(nova_or_url: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**CLOUD, "poll": {**nova_or_url, "interval": 1.0}, **more}


def told(events: Sequence[VmEvent]) -> Counter[tuple[str, str, str]]:
    return Counter(
        (event.instance_id, event.kind, event.phase)
        for event in events
        if event.kind not in NOT_NOTIFIED
    )


def test_a_cloud_without_notifications_is_told_like_one_that_notifies(
    nova: RealNova, kafka: LocalKafka, tmp_path: Path
) -> None:
    with Polled(tmp_path, kafka, polled_cloud(nova.login)) as polled:
        servers = [nova.create(f"polled-{number}") for number in range(6)]
        nova.do(servers[0], "stop", "start", "pause", "unpause", "rebuild", "stop")
        nova.do(servers[1], "resize", "confirm", "rescue", "unrescue", "pause")
        nova.do(servers[2], "shelve", "unshelve", "reboot", "resize")
        nova.do(servers[3], "shelve")
        nova.delete(servers[4], soft=True)
        nova.do(servers[5], "rescue")
        servers.append(nova.create("polled-gone"))
        nova.delete(servers[-1])
        truth = {server: nova.truth(server) for server in servers}

        eventually(lambda: polled.states(VIM, servers) == truth, f"{truth}", 60)
        notified = play(nova.notifications(VIM, servers))
        assert told(polled.events()) == told(notified.events)
        ids = {event.id for event in notified.events if event.kind not in NOT_NOTIFIED}
        assert ids == {event.id for event in polled.events() if event.kind not in NOT_NOTIFIED}
        assert {event.source for event in polled.events()} == {"poller"}
        assert not any(event.inferred or event.late for event in polled.events())
        assert polled.is_quiet()


def test_what_senders_lose_is_repaired_and_nothing_is_told_twice(
    nova: RealNova, kafka: LocalKafka, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    cloud = {
        **polled_cloud(nova.login),
        "rabbit": {"transport_urls": [rabbitmq.url], "pool": "reconciled"},
    }
    with Polled(tmp_path, kafka, cloud) as polled:
        polled.bridge.wait_until_connected(VIM)
        nova.control(drop_every=10)
        servers = [nova.create(f"reconciled-{number}") for number in range(5)]
        nova.do(servers[0], "stop", "start", "pause", "unpause", "stop")
        nova.do(servers[1], "pause", "unpause", "rebuild", "rescue")
        nova.do(servers[2], "shelve", "unshelve", "pause")
        nova.do(servers[3], "resize", "confirm", "stop")
        nova.delete(servers[4])
        nova.control(drop_every=0)
        truth = {server: nova.truth(server) for server in servers}
        lost = nova.dropped(servers)
        assert lost > 10

        def whole() -> bool:
            states = polled.states(VIM, servers)
            mine = [event for event in polled.events() if event.instance_id in servers]
            notified = play(nova.notifications(VIM, servers))
            return states == truth and told(mine) == told(notified.events)

        eventually(whole, f"{truth}", 60)
        mine = [event for event in polled.events() if event.instance_id in servers]
        assert {event.source for event in mine} == {"oslo", "poller"}
        assert not any(event.inferred for event in mine)


def test_what_nova_has_purged_while_the_bridge_was_away_is_deleted(
    nova: RealNova, kafka: LocalKafka, tmp_path: Path
) -> None:
    cloud = polled_cloud(nova.login, cloud_region_id="purged")
    vim = "openstack_purged"
    servers = [nova.create(f"purged-{number}") for number in range(4)]
    there, soft_deleted, deleted, purged = servers
    with Polled(tmp_path, kafka, cloud) as polled:
        eventually(lambda: len(polled.states(vim, servers)) == 4, "four rows", 60)
        polled.bridge.child.stop()
        polled.write_rows()
        nova.delete(purged)
        nova.control(archive_deleted_rows=True)
        nova.delete(soft_deleted, soft=True)
        nova.delete(deleted)
        told_before = {event.id for event in polled.events()}
        truth = {server: nova.truth(server) for server in servers}

        polled.bridge.start()
        eventually(lambda: polled.metric("last_comparison_timestamp_seconds", vim), "compared", 60)
        assert polled.states(vim, servers) == truth
        told = [event for event in polled.events() if event.id not in told_before]
        assert [event.kind for event in told if event.instance_id == there] == []
        inferred = [
            (event.instance_id, event.kind, event.phase) for event in told if event.inferred
        ]
        assert inferred == [(purged, "DELETE", "end")]
