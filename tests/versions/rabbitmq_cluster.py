"""A cluster of RabbitMQ loses a node under the bridge: `make versions`, docs/nova-and-rabbitmq.md.

The sender is kinder than nova: it sends again what no node has confirmed, and asks to be told what
RabbitMQ puts into no queue. pytest does not look for a file of this name: a cluster takes minutes.
"""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest

from tests.chaos.notification_load import Outcome, compare, load, numbered_body
from tests.support import sections
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ
from tests.support.notifications import QUEUE
from tests.support.topics import read_topic
from vimfed.local.kafka import LocalKafka

CLOUD = "Owner_Region"
RATE = 100.0
"""Notifications that are sent in a second."""
BACKLOG = 500
"""How many of them a bridge has not taken from the queue at most, on a machine that is busy."""
RETURN = 120.0
"""Seconds in which a node is back, and the bridge with it."""

pytestmark = pytest.mark.timeout(600)


class Cluster:
    """Nodes of one RabbitMQ."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: list[RabbitMQ] = []

    def grow(self) -> None:
        """Start one more node."""
        joins = self.nodes[0] if self.nodes else None
        node = RabbitMQ(self._folder / f"node-{len(self.nodes)}", joins=joins)
        self.nodes.append(node)
        node.start(RETURN)

    def restore(self) -> None:
        """Start the nodes that were lost."""
        for node in self.nodes:
            if not node.child.running:
                node.start(RETURN)

    def close(self) -> None:
        """End all nodes, the first one, whose epmd they all ask, last."""
        for node in reversed(self.nodes):
            node.kill()
        for node in reversed(self.nodes):
            node.stop()

    @property
    def url(self) -> str:
        """All nodes as one transport URL."""
        hosts = (f"guest:guest@127.0.0.1:{node.port}" for node in self.nodes)
        return f"rabbit://{','.join(hosts)}/"

    def node_of(self, pid: str) -> RabbitMQ:
        """Return the node on which an Erlang process lives, as rabbitmqctl prints it."""
        return next(node for node in self.nodes if node.node in pid)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.grow()
        made.grow()
        yield made
    finally:
        made.close()


class ClusterSender:
    """Publishes as nova does, at whichever node there is, until RabbitMQ has confirmed."""

    def __init__(self, nodes: list[RabbitMQ], exchange: str) -> None:
        self._nodes = list(nodes)
        self._exchange = exchange
        self._connection: amqp.Connection | None = None
        self._channel: Any = None
        self._returned = False
        self.unrouted: list[int] = []
        """Numbers of the notifications that RabbitMQ confirmed and put into no queue."""

    def send(self, content: bytes) -> None:
        """Return when a node has confirmed the body."""
        message = amqp.Message(content, delivery_mode=2, content_type="application/json")
        while True:
            self._returned = False
            try:
                self._opened().basic_publish_confirm(
                    message, self._exchange, QUEUE, mandatory=True, timeout=10
                )
            except (OSError, amqp.AMQPError, amqp.exceptions.MessageNacked):
                self.close()
                self._nodes.append(self._nodes.pop(0))
                time.sleep(0.1)
            else:
                break
        if self._returned:
            notification = json.loads(json.loads(content)["oslo.message"])
            self.unrouted.append(notification["payload"]["number"])

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.collect()
            self._connection = self._channel = None

    def _opened(self) -> Any:
        if self._connection is None:
            self._connection = amqp.Connection(
                host=f"127.0.0.1:{self._nodes[0].port}",
                confirm_publish=True,
                connect_timeout=5,
                read_timeout=20,
            )
            self._connection.connect()
            self._channel = self._connection.channel()
            self._channel.events["basic_return"].add(self._note_return)
            self._channel.exchange_declare(self._exchange, "topic", durable=True, auto_delete=False)
        return self._channel

    def _note_return(self, *_returned: object) -> None:
        self._returned = True


class Scene:
    """A bridge that knows every node, and a queue and an exchange of its own."""

    def __init__(self, folder: Path, kafka: LocalKafka, cluster: Cluster) -> None:
        self.name = f"c{uuid.uuid4().hex[:10]}"
        self.cluster = cluster
        self.kafka = kafka
        self.sender = ClusterSender(cluster.nodes, self.name)
        self.bridge = BridgeProcess(
            folder,
            kafka={"bootstrap": kafka.bootstrap, "topic_prefix": self.name, "partitions": 4},
            vims=[],
        )

    def start(self, **settings: Any) -> None:
        """Start the bridge with the queue that the settings say."""
        names: dict[str, Any] = {"exchange": self.name, "pool": self.name}
        cloud = sections.rabbit_cloud(self.cluster.url, **names, durable_exchange=True, **settings)
        self.bridge.write_settings([cloud])
        self.bridge.start([CLOUD], RETURN)

    def connected_to(self) -> RabbitMQ:
        """Return the node at which the bridge consumes."""
        listed = self._of_the_queue("list_consumers", "queue_name", "channel_pid")
        return self.cluster.node_of(listed)

    def home(self) -> RabbitMQ:
        """Return the node at which the classic queue lies, or the quorum queue's leader."""
        return self.cluster.node_of(self._of_the_queue("list_queues", "name", "pid"))

    def _of_the_queue(self, *question: str) -> str:
        node = next(node for node in self.cluster.nodes if node.child.running)
        listed = node.ctl(*question, "--quiet").splitlines()
        return next(line for line in listed if line.startswith(f"{self.name}\t"))

    def move_from(self, node: RabbitMQ) -> None:
        """Let the bridge connect anew until it consumes at another node: it chooses by chance."""
        while self.connected_to() is node:
            node.ctl("close_all_connections", "by a test")
            self.bridge.wait_until_connected(CLOUD, RETURN)

    def wait_for_more(self) -> None:
        """Wait until the bridge has forwarded more."""

        def forwarded() -> float:
            return self.bridge.metric("forwarded_total", CLOUD) or 0

        before = forwarded()
        eventually(lambda: forwarded() > before + 50, "notifications arrive", RETURN)

    def lose_until_missed(self, home: RabbitMQ) -> None:
        """Kill the home node of the durable queue; start it again once the bridge misses it."""
        home.kill()
        self.wait_until_unready(f"home node '{home.node}' of durable queue")
        home.start(RETURN)
        self.bridge.wait_until_connected(CLOUD, RETURN)
        self.wait_for_more()

    def wait_until_unready(self, why: str) -> None:
        """Wait until /readyz says why the bridge does not listen; it asks for no restart."""
        eventually(lambda: why in str(self.bridge.health("/readyz")), f"/readyz: {why}", RETURN)
        assert self.bridge.health("/readyz")[0] == 503
        assert self.bridge.metric("connected", CLOUD) == 0
        assert self.bridge.health() == (200, {"status": "ok"})

    def outcome(self, sent: int) -> Outcome:
        """Send one notification more, wait for it, and compare: the queue keeps their order."""
        self.sender.send(numbered_body(sent))
        topic = f"{self.name}.notifications"

        def numbers() -> set[int]:
            records = read_topic(self.kafka.bootstrap, topic)
            return {json.loads(record.value() or b"")["payload"]["number"] for record in records}

        eventually(lambda: sent in numbers(), "the last one", RETURN)
        found = compare(read_topic(self.kafka.bootstrap, topic), sent + 1)
        print(
            f"{sent + 1} sent, {len(self.sender.unrouted)} of them into no queue, "
            f"{len(found.missing)} missing, {found.repeated} repeated"
        )
        return found


@pytest.fixture
def scene(tmp_path: Path, kafka: LocalKafka, cluster: Cluster) -> Iterator[Scene]:
    made = Scene(tmp_path, kafka, cluster)
    try:
        yield made
    finally:
        made.bridge.child.kill()
        made.sender.close()
        cluster.restore()


def test_a_durable_queue_whose_node_is_lost_is_away_until_that_is_back_and_keeps_what_it_had(
    scene: Scene,
) -> None:
    scene.start()
    with load(scene.sender, RATE) as running:
        scene.wait_for_more()
        home = scene.home()
        assert scene.connected_to() is home
        scene.lose_until_missed(home)
    outcome = scene.outcome(running.sent)
    # What is published meanwhile is RabbitMQ's to put nowhere; nova does not ask to be told.
    assert set(outcome.missing) <= set(scene.sender.unrouted)
    assert outcome.disordered == []


def test_a_durable_queue_at_another_node_is_read_through_the_one_that_is_left(
    scene: Scene,
) -> None:
    scene.start()
    home = scene.home()
    scene.move_from(home)
    with load(scene.sender, RATE) as running:
        scene.wait_for_more()
        lost = scene.connected_to()
        lost.kill()
        eventually(lambda: scene.bridge.metric("connected", CLOUD) == 0, "it notices", RETURN)
        scene.bridge.wait_until_connected(CLOUD, RETURN)
        scene.wait_for_more()
        assert scene.connected_to() is home
    outcome = scene.outcome(running.sent)
    assert (outcome.missing, scene.sender.unrouted, outcome.disordered) == ([], [], [])


def test_a_durable_queue_whose_node_is_lost_behind_a_connection_is_missed(scene: Scene) -> None:
    scene.start()
    home = scene.home()
    scene.move_from(home)
    with load(scene.sender, RATE) as running:
        scene.wait_for_more()
        scene.lose_until_missed(home)
    outcome = scene.outcome(running.sent)
    assert set(outcome.missing) <= set(scene.sender.unrouted)
    assert outcome.disordered == []


def test_a_transient_queue_is_made_anew_at_the_node_that_is_left(scene: Scene) -> None:
    scene.start(durable_queues=False)
    with load(scene.sender, RATE) as running:
        scene.wait_for_more()
        lost = scene.connected_to()
        first_lost = running.sent - BACKLOG
        lost.kill()
        eventually(lambda: scene.bridge.metric("connected", CLOUD) == 0, "it notices", RETURN)
        scene.bridge.wait_until_connected(CLOUD, RETURN)
        last_lost = running.sent
        scene.wait_for_more()
    outcome = scene.outcome(running.sent)
    assert [each for each in outcome.missing if not first_lost <= each <= last_lost] == []
    assert outcome.disordered == []


def test_a_quorum_queue_of_two_nodes_waits_for_the_one_that_is_lost(scene: Scene) -> None:
    scene.start(quorum_queues=True)
    with load(scene.sender, RATE) as running:
        scene.wait_for_more()
        lost = scene.connected_to()
        lost.kill()
        scene.wait_until_unready("a quorum queue needs a majority of its nodes")
        lost.start(RETURN)
        scene.bridge.wait_until_connected(CLOUD, RETURN)
        scene.wait_for_more()
    outcome = scene.outcome(running.sent)
    assert (outcome.missing, scene.sender.unrouted, outcome.disordered) == ([], [], [])


def test_a_quorum_queue_of_three_nodes_goes_on_without_the_one_that_is_lost(scene: Scene) -> None:
    scene.cluster.grow()
    scene.start(quorum_queues=True)
    with load(scene.sender, RATE) as running:
        scene.wait_for_more()
        lost = scene.home()
        while scene.connected_to() is not lost:
            scene.move_from(scene.connected_to())
        lost.kill()
        eventually(lambda: scene.bridge.metric("connected", CLOUD) == 0, "it notices", RETURN)
        scene.bridge.wait_until_connected(CLOUD, RETURN)
        scene.wait_for_more()
    outcome = scene.outcome(running.sent)
    assert (outcome.missing, scene.sender.unrouted, outcome.disordered) == ([], [], [])
