"""Computes of a real nova die by ``kill -9`` and come back, under a bridge that dies, too.

What is told of each VM must be what nova itself says of its host, after each step; each episode is
told once.
"""

import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import LONG
from tests.real_nova.cloud import NovaHost, RealNova
from tests.real_nova.environment import nova_python
from tests.support.bridge_process import BridgeProcess
from tests.support.brokers import RabbitMQ
from tests.support.core_truth import CoreTruth, core_truth
from tests.support.notifications import RabbitSender
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import host_key, instance_key
from vimfed.model.records import HostState, InstanceState
from vimfed.model.rows import decode_row_of

pytestmark = pytest.mark.timeout(2400 if LONG else 600)

VIM = "openstack_hosts"
HOSTS = ("host1", "host2")
"""Each is a nova-compute in a process of its own."""
STEPS = 150
"""Of the long form."""


@pytest.fixture
def nova(tmp_path: Path, rabbitmq: RabbitMQ, request: pytest.FixtureRequest) -> Iterator[RealNova]:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    with RealNova(nova_python(say), tmp_path / "nova", rabbitmq.url, HOSTS) as cloud:
        cloud.control(format="both")
        yield cloud


class Scene:
    """A nova, its bridge, and what has been so far."""

    def __init__(self, folder: Path, nova: RealNova, kafka: LocalKafka, rabbit_url: str) -> None:
        self.nova = nova
        self.names = TopicNames(f"h{uuid.uuid4().hex[:8]}")
        self._folder = folder
        self._bootstrap = kafka.bootstrap
        self._rabbit_url = rabbit_url
        cloud = {
            "cloud_owner": "openstack",
            "cloud_region_id": "hosts",
            "rabbit": {"transport_urls": [rabbit_url], "pool": self.names.prefix},
            "poll": {**nova.login, "interval": 2.0, "hosts_interval": 0.5},
        }
        self.bridge = BridgeProcess(
            folder / "bridge",
            kafka={"bootstrap": kafka.bootstrap, "topic_prefix": self.names.prefix},
            vims=[cloud],
        )
        self.servers: list[str] = []
        self.dead: set[str] = set()
        """Hosts whose compute does not run."""
        self.episodes: Counter[tuple[str, str, str]] = Counter()
        """By what it is about, kind and phase: how many events there must be."""
        self._before: set[tuple[str, str]] = set()
        """What is not as it is to be: about what, and which kind of event tells so."""

    def settled(self) -> None:
        """Wait until all that is told is what nova says; count what has begun and ended since."""
        deadline = time.monotonic() + 60
        while True:
            hosts, on = self.nova.hosts(), self.nova.hosts_of_servers()
            if not (wrong := self._wrong(hosts, on)):
                break
            assert time.monotonic() < deadline, wrong
            time.sleep(0.2)
        now = self._not_well(hosts, on)
        for what, kind in now - self._before:
            self.episodes[what, kind, "start"] += 1
        for what, kind in self._before - now:
            self.episodes[what, kind, "end"] += 1
        self._before = now
        kinds = ("UNAVAILABLE", "HOST_DOWN", "HOST_DISABLED")
        told = Counter(
            (event.instance_id or str(event.host), event.kind, event.phase)
            for event in self.truth().events.values()
            if event.kind in kinds
        )
        assert told == self.episodes

    def truth(self) -> CoreTruth:
        return core_truth(self._bootstrap, self.names)

    def _not_well(self, hosts: dict[str, NovaHost], on: dict[str, str]) -> set[tuple[str, str]]:
        down = {host for host, said in hosts.items() if not said.is_up}
        return {
            *((server, "UNAVAILABLE") for server in self.servers if on[server] in down),
            *((host, "HOST_DOWN") for host in down),
            *((host, "HOST_DISABLED") for host, said in hosts.items() if said.disabled),
        }  # fmt: skip

    def _wrong(self, hosts: dict[str, NovaHost], on: dict[str, str]) -> str:
        """Return the first thing that is told otherwise than nova says; empty: there is none.

        nova says how hosts are, and which host each server is on.
        """
        rows = self.truth().rows
        for host, said in hosts.items():
            if said.is_up == (host in self.dead) and not said.forced_down:
                return f"{host}: nova has not noticed yet: {said}"
            row = _row(rows, host_key(VIM, host))
            if not isinstance(row, HostState):
                return f"{host} is not known"
            is_down = row.forced_down or not row.is_up
            told = NovaHost(not is_down, row.forced_down, row.disabled)
            if told != said:
                return f"{host}: nova says {said}, told is {row}"
        for server in self.servers:
            row = _row(rows, instance_key(VIM, server))
            if not isinstance(row, InstanceState):
                return f"{server} is not known"
            host = on[server]
            if (row.outage and row.outage.host) != (None if hosts[host].is_up else host):
                return f"{server} on {host}: nova says {hosts[host]}, told is {row.outage}"
        return ""

    # What can happen.

    def create(self) -> None:
        server = self.nova.create(f"vm-{len(self.servers)}")
        assert self.nova.truth(server) == ("active", "")
        self.servers.append(server)

    def kill(self, host: str) -> None:
        self.nova.kill_host(host)
        self.dead.add(host)

    def revive(self, host: str) -> None:
        self.nova.start_host(host)
        self.dead.remove(host)

    def force(self, host: str) -> None:
        self.nova.order_host(host, forced_down=True)

    def unforce(self, host: str) -> None:
        self.nova.order_host(host, forced_down=False)

    def disable(self, host: str) -> None:
        self.nova.order_host(host, status="disabled", disabled_reason="new kernel")

    def enable(self, host: str) -> None:
        self.nova.order_host(host, status="enabled")

    def evacuate(self, host: str) -> None:
        """Evacuate one of a host's servers."""
        self.nova.evacuate(self.on(host)[0])

    def delete(self, host: str) -> None:
        """Delete one of a host's servers."""
        server = self.on(host)[0]
        self.nova.delete(server)
        self.servers.remove(server)
        if (server, "UNAVAILABLE") in self._before:
            self._before.remove((server, "UNAVAILABLE"))
            self.episodes[server, "UNAVAILABLE", "end"] += 1

    def kill_bridge(self) -> None:
        self.bridge.child.kill()

    def start_bridge(self) -> None:
        self.bridge.start([VIM])

    def send_again(self) -> None:
        """Send what nova has said of its services once more, as a sender does that is not sure."""
        lines = (self._folder / "nova" / "notifications.jsonl").read_bytes().splitlines()
        sender = RabbitSender(self._rabbit_url)
        for message in (json.loads(line)["message"] for line in lines):
            if message["event_type"].startswith("service."):
                body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})
                sender.send(body.encode(), "versioned_notifications.info")
        sender.close()

    def on(self, host: str) -> list[str]:
        """Return the servers that are on a host."""
        on = self.nova.hosts_of_servers()
        return [server for server in self.servers if on[server] == host]

    def possible(self) -> list[tuple[str, str]]:
        """Return what can happen next, and to which host."""
        found = [("send_again", ""), ("kill_bridge", "")]
        hosts = self.nova.hosts()
        for host, said in hosts.items():
            found.append(("revive" if host in self.dead else "kill", host))
            found.append(("unforce" if said.forced_down else "force", host))
            found.append(("enable" if said.disabled else "disable", host))
            others = [other for name, other in hosts.items() if name != host]
            can_move = any(other.is_up and not other.disabled for other in others)
            if self.on(host) and not said.is_up and can_move:
                found.append(("evacuate", host))
            if len(self.servers) > 3 and self.on(host):
                found.append(("delete", host))
        if all(said.is_up and not said.disabled for said in hosts.values()):
            found.append(("create", ""))
        return found

    def step(self, what: str, host: str) -> None:
        """Do one thing, and let the bridge be away meanwhile where that is what is to be done."""
        if what == "kill_bridge":
            self.kill_bridge()
            others = [each for each in self.possible() if each[0] != what]
            self.step(*random.Random(len(self.episodes)).choice(others))
            self.start_bridge()
            return
        getattr(self, what)(*filter(None, [host]))


def _row(rows: dict[bytes, bytes | None], key: bytes) -> object:
    value = rows.get(key)
    return None if value is None else decode_row_of(key, value)


@pytest.fixture
def scene(tmp_path: Path, nova: RealNova, kafka: LocalKafka, rabbitmq: RabbitMQ) -> Iterator[Scene]:
    made = Scene(tmp_path, nova, kafka, rabbitmq.url)
    made.start_bridge()
    yield made
    made.bridge.child.kill()


def test_each_episode_of_each_vm_is_told_once_and_as_nova_says_it(
    scene: Scene, nova: RealNova
) -> None:
    while len(set(nova.hosts_of_servers().values())) < 2 or len(scene.servers) < 4:
        scene.create()
    assert sorted(nova.hosts()) == sorted(HOSTS)
    first, second = HOSTS
    scene.settled()
    scene.kill(first)
    scene.settled()
    scene.kill_bridge()
    scene.force(first)
    scene.start_bridge()
    scene.settled()
    scene.evacuate(first)
    scene.settled()
    scene.send_again()
    scene.revive(first)
    scene.unforce(first)
    scene.settled()
    nova.control(drop_services=True)
    scene.disable(second)
    scene.force(second)
    scene.settled()
    scene.kill_bridge()
    scene.unforce(second)
    scene.enable(second)
    scene.start_bridge()
    scene.settled()
    nova.control(drop_services=False)
    scene.kill(second)
    scene.settled()
    scene.delete(second)
    scene.send_again()
    scene.settled()
    scene.revive(second)
    scene.settled()
    assert not scene._before
    if LONG:
        randomly(scene)


def randomly(scene: Scene) -> None:
    """Let many things happen, in an order that a seed names."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(STEPS):
        scene.nova.control(drop_services=chance.random() < 0.3)
        what, host = chance.choice(scene.possible())
        print(f"step {number}: {what} {host}")
        scene.step(what, host)
        scene.settled()
