"""Everything around the bridge breaks under load; every message that was sent arrives."""

import gzip
import json
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.chaos import LONG
from tests.chaos.notification_load import Sender, load, numbered_body, wait_for_all
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.core_truth import core_truth
from tests.support.notifications import RabbitSender
from tests.support.paths import DATA
from tests.support.sections import kafka_cloud, rabbit_cloud
from tests.support.slow_link import SlowLink
from tests.support.topics import count_records, read_topic
from tests.support.traces import PLAIN, truth
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import InstanceState
from vimfed.nova.event_types import is_used
from vimfed.nova.host_report import OWN_PREFIX
from vimfed.process.ports import free_ports

KILLS = 20 if LONG else 3
OUTAGE = 30.0 if LONG else 5.0
CLOUD = "Owner_Region"
WAITING = 50_000
RESIDENT_LIMIT = 250_000_000

pytestmark = pytest.mark.timeout(900 if LONG else 300)


class Brokers(NamedTuple):
    """Brokers that these tests stop and freeze."""

    kafka: LocalKafka
    rabbitmq: RabbitMQ


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    kafka = new_kafka(tmp_path_factory.mktemp("kafka"))
    rabbitmq = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    with kafka, rabbitmq:
        yield Brokers(kafka, rabbitmq)


class Scene:
    """One pool with names of its own, its sender, and bridges that empty it."""

    def __init__(self, folder: Path, brokers: Brokers) -> None:
        self.name = f"c{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.kafka, self.rabbitmq = brokers
        self.sender = RabbitSender(self.rabbitmq.url, exchange=self.name, durable=True)
        self.bridges: list[BridgeProcess] = []
        self.topic = f"{self.name}.notifications"

    def cloud(self, url: str = "", **settings: Any) -> dict[str, object]:
        wanted = {
            "exchange": self.name,
            "pool": self.name,
            "durable_exchange": True,
            "heartbeat": 4,
            **settings,
        }
        return rabbit_cloud(url or self.rabbitmq.url, **wanted)

    def bridge(self, *vims: dict[str, object]) -> BridgeProcess:
        made = BridgeProcess(
            self.folder / f"bridge-{len(self.bridges)}",
            kafka={
                "bootstrap": self.kafka.bootstrap,
                "topic_prefix": self.name,
                "partitions": 4,
            },
            vims=vims or [self.cloud()],
        )
        self.bridges.append(made)
        return made

    def close(self) -> None:
        for bridge in self.bridges:
            bridge.child.kill()
        self.sender.close()

    def assert_all_arrived(self, sent: int, *, repeated: int = 0) -> None:
        outcome = wait_for_all(self.kafka.bootstrap, self.topic, sent)
        assert outcome.missing == []
        assert outcome.disordered == []
        assert outcome.repeated <= repeated
        print(f"{sent} sent, none missing, {outcome.repeated} repeated")


@pytest.fixture
def scene(tmp_path: Path, brokers: Brokers) -> Iterator[Scene]:
    made = Scene(tmp_path, brokers)
    yield made
    made.close()


class KafkaSender:
    """Sends as oslo's Kafka driver does, to the one partition of a topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        self._topic = topic

    def send(self, content: bytes) -> None:
        self._producer.produce(self._topic, content, partition=0)
        assert self._producer.flush(60) == 0


@pytest.mark.parametrize("transport", ["rabbit", "kafka"])
def test_nothing_is_lost_when_the_bridge_is_killed_again_and_again(
    scene: Scene, transport: str
) -> None:
    sender: Sender = scene.sender
    # A killed member of a consumer group is given up after ten seconds, and only then replaced.
    kills = KILLS if LONG or transport == "rabbit" else 1
    if transport == "rabbit":
        bridge = scene.bridge()
    else:
        topic = f"{scene.name}.cloud"
        admin = AdminClient({"bootstrap.servers": scene.kafka.bootstrap})
        for made in admin.create_topics([NewTopic(f"{topic}.info", 1, 1)]).values():
            made.result(30)
        cloud = kafka_cloud(scene.kafka.bootstrap, topics=[topic], group=scene.name)
        bridge = scene.bridge(cloud)
        sender = KafkaSender(scene.kafka.bootstrap, f"{topic}.info")
    dice = random.Random(7)
    bridge.start([CLOUD])
    with load(sender, rate=800) as running:
        for _kill in range(kills):
            # Soon after its start it works at full speed on what has come meanwhile.
            time.sleep(dice.uniform(0.0, 1.0))
            bridge.child.kill()
            bridge.start([CLOUD])
    # On a kill repeats what Kafka had taken and RabbitMQ was not told: a batch or two.
    scene.assert_all_arrived(running.sent, repeated=kills * 1000)


def test_nothing_is_lost_when_rabbitmq_stops_and_starts(scene: Scene) -> None:
    scene.bridge().start([CLOUD])
    with load(scene.sender) as running:
        time.sleep(2)
        scene.rabbitmq.stop()
        time.sleep(1)
        scene.rabbitmq.start()
        scene.bridges[0].wait_until_connected(CLOUD)
        time.sleep(2)
    scene.assert_all_arrived(running.sent, repeated=1000)


def test_nothing_is_lost_when_the_broker_closes_all_connections(scene: Scene) -> None:
    scene.bridge().start([CLOUD])
    with load(scene.sender) as running:
        for _time in range(10 if LONG else 2):
            time.sleep(1.5)
            scene.rabbitmq.ctl("close_all_connections", "chaos")
    scene.assert_all_arrived(running.sent, repeated=1000 * (10 if LONG else 2))


def test_nothing_is_lost_or_repeated_when_kafka_stops_and_starts(scene: Scene) -> None:
    scene.bridge().start([CLOUD])
    with load(scene.sender) as running:
        time.sleep(2)
        scene.kafka.stop()
        time.sleep(OUTAGE)
        assert scene.bridges[0].health("/healthz") == (200, {"status": "ok"})
        waiting = scene.bridges[0].metric("oldest_unacknowledged_seconds", CLOUD) or 0
        assert waiting > OUTAGE / 2
        scene.kafka.start()
        time.sleep(2)
    # A batch that was on its way when Kafka went may be written by two producers.
    scene.assert_all_arrived(running.sent, repeated=500)


def test_nothing_is_lost_or_repeated_when_kafka_freezes(scene: Scene) -> None:
    scene.bridge().start([CLOUD])
    with load(scene.sender) as running:
        time.sleep(2)
        scene.kafka.freeze()
        time.sleep(OUTAGE)
        scene.kafka.thaw()
        time.sleep(2)
    scene.assert_all_arrived(running.sent, repeated=500)


@pytest.fixture
def impatient(tmp_path: Path, brokers: Brokers) -> Iterator[Scene]:
    """A scene with a RabbitMQ that closes the channel of a consumer which does not acknowledge."""
    folder = tmp_path / "impatient"
    folder.mkdir()
    (folder / "advanced.config").write_text(
        "[{rabbit, [{consumer_timeout, 9000}, {channel_tick_interval, 1000}]}]."
    )
    with RabbitMQ(folder) as rabbitmq:
        made = Scene(tmp_path, Brokers(brokers.kafka, rabbitmq))
        yield made
        made.close()


@pytest.mark.parametrize("known", [True, False] if LONG else [True])
def test_rabbitmqs_consumer_timeout_costs_nothing(impatient: Scene, known: bool) -> None:
    timeout = 9.0 if known else 1800.0
    bridge = impatient.bridge(impatient.cloud(consumer_timeout=timeout))
    bridge.start([CLOUD])
    with load(impatient.sender, rate=100) as running:
        time.sleep(1)
        impatient.kafka.freeze()
        if known:
            given_back = "its messages are back in the queue"
            eventually(lambda: given_back in bridge.log_text(), "given back")
            time.sleep(5)
        else:
            eventually(lambda: "Timeout value used" in impatient.rabbitmq.log.read_text(), "closed")
        impatient.kafka.thaw()
        time.sleep(2)
    impatient.assert_all_arrived(running.sent, repeated=2000)
    assert ("Timeout value used" in impatient.rabbitmq.log.read_text()) is not known


def test_of_twenty_clouds_a_dead_and_a_slow_one_do_not_touch_the_others(scene: Scene) -> None:
    each = 200
    regions = [f"Region{number}" for number in range(20)]
    [nowhere] = free_ports(1)
    with SlowLink(scene.rabbitmq.port, bytes_per_second=30_000) as link:
        ports = {"Region0": nowhere, "Region1": link.port}
        clouds = [
            scene.cloud(
                f"rabbit://guest:guest@127.0.0.1:{ports.get(region, scene.rabbitmq.port)}/",
                cloud_region_id=region,
                pool=f"{scene.name}-{region}",
                topics=[region],
                heartbeat=60,
            )
            for region in regions
        ]
        for region in regions:
            scene.sender.declare_pool(f"{scene.name}-{region}", topics=[region])
        bridge = scene.bridge(*clouds)
        bridge.start([f"Owner_{region}" for region in regions[1:]])
        begun = time.monotonic()
        for region in regions:
            contents = [numbered_body(number) for number in range(each)]
            scene.sender.send_all(contents, f"{region}.info")

        def forwarded(region: str) -> float:
            return bridge.metric("forwarded_total", f"Owner_{region}") or 0

        eventually(lambda: all(forwarded(region) == each for region in regions[2:]), "18 clouds")
        took = time.monotonic() - begun
        slow = forwarded("Region1")
        print(f"18 clouds took {took:.1f} s; the slow one had {slow:.0f} of {each} by then")
        assert slow < each, "the slow cloud was not slow, the test proves nothing"
        assert forwarded("Region0") == 0
        assert bridge.health() == (200, {"status": "ok"})
        eventually(lambda: forwarded("Region1") == each, "the slow one arrives, too", 60)
        assert bridge.stop() < 10


def test_when_one_of_two_bridges_in_a_pool_is_killed_the_states_are_right(scene: Scene) -> None:
    with gzip.open(DATA / f"{PLAIN}-trace.jsonl.gz", "rt") as lines:
        messages = [json.loads(line) for line in lines]
    first, second = scene.bridge(), scene.bridge()
    first.start([CLOUD])
    second.start([CLOUD])
    for number, message in enumerate(messages):
        if number in (len(messages) // 3, len(messages) // 2):
            first.child.kill()
            first.start()
        scene.sender.send(message["body"].encode(), message["routing_key"])
    bodies = [json.loads(json.loads(message["body"])["oslo.message"]) for message in messages]
    used = [body["message_id"] for body in bodies if is_used(body["event_type"])]
    eventually(lambda: scene.sender.depth(scene.name) == 0, "the queue is empty", 60)
    eventually(
        lambda: all(bridge.metric("in_flight", CLOUD) == 0 for bridge in scene.bridges),
        "nothing in flight",
    )
    eventually(lambda: count_records(scene.kafka.bootstrap, scene.topic) >= len(used), "all there")
    records = [json.loads(r.value() or b"") for r in read_topic(scene.kafka.bootstrap, scene.topic)]
    # What nova says of its hosts travels as reports of our own.
    assert {
        each["message_id"] for each in records if not each["event_type"].startswith(OWN_PREFIX)
    } == set(used)
    outcome = core_truth(scene.kafka.bootstrap, TopicNames(scene.name))
    rows = {
        row.instance_id: (row.vm_state, row.task_state)
        for row in (
            msgspec.json.decode(value, type=InstanceState)
            for value in outcome.rows.values()
            if value is not None
        )
    }
    expected = truth(PLAIN).states
    assert {instance_id: rows[instance_id] for instance_id in expected} == expected


def test_while_kafka_is_away_fifty_thousand_waiting_messages_cost_little_memory(
    scene: Scene,
) -> None:
    scene.sender.declare_pool(scene.name)
    bridge = scene.bridge()
    bridge.start([CLOUD])
    resident = psutil.Process(bridge.child.pid).memory_info
    scene.kafka.freeze()
    scene.sender.send_all(numbered_body(number) for number in range(WAITING))
    eventually(lambda: scene.sender.depth(scene.name) > WAITING * 0.9, "they wait in the queue")
    most = 0
    until = time.monotonic() + (OUTAGE if LONG else 3.0)
    while time.monotonic() < until:
        most = max(most, resident().rss)
        time.sleep(0.1)
    scene.kafka.thaw()
    while count_records(scene.kafka.bootstrap, scene.topic) < WAITING:
        most = max(most, resident().rss)
        time.sleep(0.2)
    scene.assert_all_arrived(WAITING)
    print(f"resident at most {most / 1e6:.0f} MB")
    assert most < RESIDENT_LIMIT
