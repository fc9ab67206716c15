"""``vimfed check`` against brokers with ACLs: it finds what a start would stumble over."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.brokers import GuardedKafka
from vimfed.kafka.rights import Need, merged, needs_by_process
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.settings import KafkaSettings, Settings

USERS = [f"user-{number}" for number in range(10)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with GuardedKafka(tmp_path_factory.mktemp("guarded"), USERS) as broker:
        yield broker


@pytest.fixture(scope="module")
def users() -> Iterator[str]:
    return iter(USERS)


@pytest.fixture
def kafka(guarded: GuardedKafka, users: Iterator[str]) -> KafkaSettings:
    return guarded.login(next(users), topic_prefix=f"t{uuid.uuid4().hex[:8]}", partitions=2)


def check(folder: Path, kafka: KafkaSettings, *options: str, more: str = "") -> tuple[int, str]:
    """Run it; return its exit code and what it prints."""
    file = folder / "vimfed.toml"
    file.write_text(
        f"""
state_dir = "{folder / "state"}"
[kafka]
bootstrap = "{kafka.bootstrap}"
security_protocol = "{kafka.security_protocol}"
username = "{kafka.username}"
password = "{kafka.password.reveal()}"
topic_prefix = "{kafka.topic_prefix}"
partitions = {kafka.partitions}
replication = {kafka.replication}
[[dmaap.outputs]]
url = "kafka://{kafka.bootstrap}/{kafka.topic_prefix}.dmaap"
{more}
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "vimfed", "--config", str(file), "check", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={k: v for k, v in os.environ.items() if not k.startswith("VIMFED_")},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def superuser(guarded: GuardedKafka, kafka: KafkaSettings) -> KafkaSettings:
    return KafkaSettings(
        bootstrap=guarded.kafka.bootstrap,
        topic_prefix=kafka.topic_prefix,
        partitions=kafka.partitions,
    )


def all_needs(kafka: KafkaSettings) -> list[Need]:
    by_process = needs_by_process(Settings(kafka=kafka))
    return merged(need for process in by_process for need in by_process[process])


async def test_it_names_each_right_that_is_missing_and_none_that_is_not(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path
) -> None:
    await ensure_topics(superuser(guarded, kafka))
    prefix, user = kafka.topic_prefix, kafka.username
    guarded.grant(user, all_needs(kafka))
    guarded.grant(user, [Need("topic", f"{prefix}.dmaap", ("Write",), "")])
    guarded.revoke(user, Need("group", f"{prefix}-worker", ("Read",), ""))
    guarded.revoke(user, Need("topic", f"{prefix}.events", ("Write",), ""))
    code, printed = check(tmp_path, kafka)
    assert code == 1
    lines = printed.splitlines()
    lacks = f"user {user} lacks the right"
    grant = "grant it; vimfed topics prints the commands"
    assert f"kafka: {lacks} Read on group {prefix}-worker: {grant}" in lines
    assert f"kafka: {lacks} Write on topic {prefix}.events: {grant}" in lines
    assert (
        f"output dmaap: there is no topic {prefix}.dmaap, and {lacks} Create on it: create it, or "
        "grant that; vimfed topics prints the commands"
    ) in lines
    unlooked = [line for line in lines if line.startswith("kafka: warning: the settings of topic")]
    assert len(unlooked) == 5
    assert all("lacks the right DescribeConfigs" in line for line in unlooked)
    assert len(lines) == 3 + 5 + 1
    assert lines[-2:] == ["state_dir: ok", lines[-1]]
    code, printed = check(tmp_path, kafka, "--process", "bridge")
    assert code == 0
    assert "lacks the right Read" not in printed


async def test_it_finds_topics_that_lose_data_and_says_so_as_json(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path
) -> None:
    administrator = superuser(guarded, kafka)
    name = f"{kafka.topic_prefix}-instances-changelog"
    topic = NewTopic(
        name, num_partitions=2, replication_factor=1, config={"cleanup.policy": "delete"}
    )
    admin = AdminClient({"bootstrap.servers": administrator.bootstrap})
    admin.create_topics([topic])[name].result(20)
    code, printed = check(tmp_path, administrator, "--json", "--process", "worker")
    assert code == 1
    checked: list[dict[str, Any]] = json.loads(printed)
    (own,) = [each for each in checked if each["name"] == "kafka"]
    assert own["ok"] is False
    refused = [each for each in own["findings"] if each["refused"]]
    assert [each["subject"] for each in refused] == [f"topic {name}"]
    assert "has cleanup.policy = delete instead of compact" in refused[0]["text"]
    assert "--add-config cleanup.policy=compact" in refused[0]["text"]
    assert [each["name"] for each in checked] == ["kafka", "state_dir"]


async def test_it_finds_more_replicas_than_brokers_and_makes_nothing(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path
) -> None:
    administrator = superuser(guarded, kafka)
    three = KafkaSettings(
        bootstrap=administrator.bootstrap,
        topic_prefix=kafka.topic_prefix,
        partitions=2,
        replication=3,
    )
    code, printed = check(tmp_path, three)
    assert code == 1
    assert "kafka: warning: kafka.replication = 3, and 1 brokers answer: " in printed
    cannot = f"kafka: cannot create topic {kafka.topic_prefix}.notifications: "
    assert cannot in printed
    assert "output dmaap: cannot create topic" in printed
    topics = AdminClient({"bootstrap.servers": administrator.bootstrap}).list_topics(timeout=20)
    assert not [name for name in topics.topics if name.startswith(kafka.topic_prefix)]
    assert check(tmp_path, administrator) == (0, "kafka: ok\nstate_dir: ok\noutput dmaap: ok\n")
    topics = AdminClient({"bootstrap.servers": administrator.bootstrap}).list_topics(timeout=20)
    assert not [name for name in topics.topics if name.startswith(kafka.topic_prefix)]


async def test_it_says_which_right_a_bridge_lacks_on_a_clouds_kafka(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path
) -> None:
    pool = f"{kafka.topic_prefix}-pool"
    cloud = f"""
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Region"
[vims.kafka]
bootstrap = "{kafka.bootstrap}"
security_protocol = "{kafka.security_protocol}"
username = "{kafka.username}"
password = "{kafka.password.reveal()}"
group = "{pool}"
topics = ["{kafka.topic_prefix}"]
"""
    _code, printed = check(tmp_path, kafka, "--process", "bridge", more=cloud)
    lines = [line for line in printed.splitlines() if line.startswith("cloud ")]
    assert lines[0].startswith(
        f"cloud Owner_Region: user {kafka.username} lacks the right Read on group {pool}: "
    )
    assert lines[1].startswith("cloud Owner_Region: warning: there is none of the topics ")
