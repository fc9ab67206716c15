"""A RabbitMQ that refuses transient queues (AMQP 541), as later releases do by default."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ
from tests.support.no_transient_queues import without_transient_queues
from tests.support.paths import DATA
from tests.support.sections import rabbit_cloud
from vimfed.cli.replay import ReplayError, read_trace, replay
from vimfed.local.kafka import LocalKafka

REASON = "RabbitMQ refuses transient queues (541, transient_nonexcl_queues)"
CURE = "leave durable_queues at its default, true, or set quorum_queues = true"


@pytest.fixture(scope="module")
def refusing(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    with without_transient_queues(rabbitmq, tmp_path_factory.mktemp("refusing")) as url:
        yield url


@pytest.fixture
def name() -> str:
    """Of topics, an exchange and a queue of the test's own."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def bridge(tmp_path: Path, kafka: LocalKafka, name: str) -> Iterator[BridgeProcess]:
    """A bridge that has not started, and has no clouds yet."""
    made = BridgeProcess(
        tmp_path,
        kafka={"bootstrap": kafka.bootstrap, "topic_prefix": name, "partitions": 4},
        vims=[],
    )
    yield made
    made.child.kill()


def cloud(url: str, name: str, **rabbit: Any) -> dict[str, Any]:
    return rabbit_cloud(url, exchange=name, pool=name, **rabbit)


def checked(bridge: BridgeProcess) -> tuple[int, Any]:
    """Return the exit code of ``vimfed check --process bridge``, and what it found of the cloud."""
    command = [sys.executable, "-m", "vimfed", "--config", str(bridge.settings_file)]
    done = subprocess.run(
        [*command, "check", "--json", "--process", "bridge"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("VIMFED_")},
    )
    found = {each["name"]: each for each in json.loads(done.stdout)}
    return done.returncode, found["cloud Owner_Region"]


def test_the_bridge_and_the_check_say_why_and_what_to_set(
    bridge: BridgeProcess, refusing: str, name: str
) -> None:
    bridge.write_settings([cloud(refusing, name, durable_queues=False)])
    code, found = checked(bridge)
    assert (code, found["ok"]) == (1, False)
    told = [each["text"] for each in found["findings"] if each["refused"]]
    assert told == [f"{REASON}, and queue {name} is to be one: {CURE}"]
    bridge.start()
    eventually(lambda: REASON in bridge.get("/readyz")[1], "the reason on /readyz")
    status, answer = bridge.get("/readyz")
    assert (status, CURE in answer) == (503, True)
    assert "cannot listen, trying again" in bridge.log_text()
    assert bridge.health()[0] == 200, "only the settings help, no restart"


def test_with_the_cure_the_bridge_listens_and_the_check_is_content(
    bridge: BridgeProcess, refusing: str, name: str
) -> None:
    bridge.write_settings([cloud(refusing, name)])
    assert checked(bridge)[1]["ok"]
    bridge.start(["Owner_Region"])


def test_a_replay_says_what_its_url_needs(
    refusing: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vimfed.cli.replay.RETRIES", 0)
    recorded = next(read_trace(DATA / "nova-34-trace.jsonl.gz"))
    # Other tests may have made nova's own queues at this RabbitMQ, transient ones.
    message = msgspec.structs.replace(recorded, routing_key=f"{name}.info")
    with pytest.raises(ReplayError, match="refuses transient queues: add amqp_durable_queues=true"):
        replay([message], refusing, exchange=name)
    # The first one has left a transient exchange.
    assert replay([message], f"{refusing}?amqp_durable_queues=true", exchange=f"{name}-2") == 1
