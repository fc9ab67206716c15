"""A Kafka with ACLs: what a process may not do, it says in one line, and does not hang."""

import asyncio
import json
import os
import subprocess
import sys
import tomllib
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import aiohttp
import msgspec
import pytest
from confluent_kafka import Producer

from bridge.poller.known_instances import KnownInstances, KnownInstancesError
from bridge.progress import Counters, Progress
from tests.e2e.stack import eventually
from tests.support import notifications
from tests.support.bridge_process import BridgeProcess
from tests.support.bridge_process import eventually as wait_until
from tests.support.brokers import GuardedKafka, RabbitMQ
from tests.support.ceilometer_messages import counter, metering
from tests.support.listening import kafka_listener
from tests.support.nova_messages import spec_example
from tests.support.sections import kafka_cloud, vim_of
from tests.support.topics import wait_for_records
from tests.support.vm_events import vm_event, write_events
from vimfed.kafka.clients import AccessDeniedError, OutgoingRecord
from vimfed.kafka.notification_writer import NotificationWriter, notification_record
from vimfed.kafka.rights import Need, Operation, bridge_needs, needs_by_process, publisher_needs
from vimfed.kafka.topic_checks import ensure_topic, ensure_topics
from vimfed.kafka.topics import TopicSpec
from vimfed.local.child import Child
from vimfed.model.records import Notification
from vimfed.process.metrics import new_registry
from vimfed.process.ports import free_ports
from vimfed.settings import (
    DmaapOutput,
    DmaapSettings,
    KafkaSettings,
    SamplesSettings,
    Settings,
    VimSettings,
)

USERS = [f"user-{number}" for number in range(20)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with GuardedKafka(tmp_path_factory.mktemp("guarded"), USERS) as broker:
        yield broker


@pytest.fixture(scope="module")
def users() -> Iterator[str]:
    return iter(USERS)


@pytest.fixture
def kafka(guarded: GuardedKafka, users: Iterator[str]) -> KafkaSettings:
    """How a user connects who has no right yet; a prefix of its own."""
    return guarded.login(next(users), topic_prefix=f"t{uuid.uuid4().hex[:8]}", partitions=2)


async def make_topics(guarded: GuardedKafka, kafka: KafkaSettings) -> None:
    """Make the job's topics as an administrator does."""
    await ensure_topics(
        KafkaSettings(
            bootstrap=guarded.kafka.bootstrap,
            topic_prefix=kafka.topic_prefix,
            partitions=kafka.partitions,
        )
    )


def metered(kafka: KafkaSettings) -> Settings:
    """Return settings with which every process needs all that it can need."""
    cloud = VimSettings(
        cloud_owner="Owner", cloud_region_id="Region", samples=SamplesSettings(pushed=True)
    )
    measurements = DmaapOutput(name="metrics", url="kafka://a:1/t", carries="measurements")
    outputs = [*Settings(kafka=kafka).outputs(), measurements]
    return Settings(kafka=kafka, vims=[cloud], dmaap=DmaapSettings(outputs=outputs))


def all_but(needs: Sequence[Need], missing: Need) -> list[Need]:
    """Return the needs without the operations of one."""
    left = []
    for need in needs:
        operations = need.operations
        if need.name == missing.name:
            operations = tuple(each for each in operations if each not in missing.operations)
        left.append(need._replace(operations=operations))
    return left


def settings_file(folder: Path, kafka: KafkaSettings) -> Path:
    """Write the settings of every process, for one cloud that pushes."""
    bridge, web, dmaap = free_ports(3)
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
[bridge]
port = {bridge}
[web]
port = {web}
[dmaap]
port = {dmaap}
[[dmaap.outputs]]
url = "kafka://{kafka.bootstrap}/{kafka.topic_prefix}.dmaap"
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Region"
"""
    )
    return file


def run(config: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a process or command that has to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "vimfed", "--config", str(config), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("VIMFED_")},
    )


class Case(NamedTuple):
    """A process, and the right that it has not."""

    command: str
    kind: Literal["topic", "group"]
    name: str
    operation: Operation

    def needs(self, kafka: KafkaSettings) -> Sequence[Need]:
        """Return all that the process needs."""
        return needs_by_process(Settings(kafka=kafka))[
            "publisher dmaap" if self.command == "publisher" else self.command
        ]

    def missing(self, kafka: KafkaSettings) -> Need:
        """Return the right that is missing."""
        return Need(self.kind, self.name.format(kafka.topic_prefix), (self.operation,), "")

    def line(self, kafka: KafkaSettings) -> str:
        """Return the line that the process has to say."""
        return (
            f"user {kafka.username} lacks the right {self.operation} on {self.kind} "
            f"{self.missing(kafka).name}: grant it; vimfed topics prints the commands"
        )


@pytest.mark.parametrize(
    "case",
    [
        Case("worker", "group", "{}-worker", "Read"),
        Case("worker", "topic", "{}.events", "Write"),
        Case("publisher", "group", "{}-publisher-dmaap", "Read"),
        Case("bridge", "topic", "{}.notifications", "Write"),
    ],
    ids=lambda case: f"{case.command}-{case.kind}",
)
async def test_a_process_without_a_right_ends_with_a_line_that_names_it(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path, case: Case
) -> None:
    await make_topics(guarded, kafka)
    guarded.grant(kafka.username, all_but(case.needs(kafka), case.missing(kafka)))
    ended = await asyncio.to_thread(run, settings_file(tmp_path, kafka), case.command)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == f"vimfed: {case.line(kafka)}"


async def test_each_right_that_a_process_needs_is_missed_by_its_name(
    guarded: GuardedKafka, kafka: KafkaSettings
) -> None:
    await make_topics(guarded, kafka)
    for needs in needs_by_process(metered(kafka)).values():
        guarded.grant(kafka.username, needs)
        assert await ensure_topics(kafka, needs) == []
        for need in needs:
            guarded.revoke(kafka.username, need)
            with pytest.raises(AccessDeniedError) as refused:
                await ensure_topics(kafka, needs)
            assert f"on {need.kind} {need.name}: grant it" in str(refused.value)
            assert need.operations[0] in str(refused.value)
            guarded.grant(kafka.username, [need])


async def test_a_missing_topic_is_named_to_who_may_not_create_it(
    guarded: GuardedKafka, kafka: KafkaSettings
) -> None:
    needs = bridge_needs(kafka)
    guarded.grant(kafka.username, needs)
    with pytest.raises(AccessDeniedError) as refused:
        await ensure_topics(kafka, needs)
    assert str(refused.value) == (
        f"there is no topic {kafka.topic_prefix}.notifications, and user {kafka.username} lacks "
        "the right Create on it: create it, or grant that; vimfed topics prints the commands"
    )


@asynccontextmanager
async def running(
    folder: Path, kafka: KafkaSettings, command: str
) -> AsyncIterator[tuple[Child, Path]]:
    """Run a process of the job; yield it, and its log, when it is ready."""
    config = settings_file(folder, kafka)
    log = folder / "log"
    child = Child(
        [sys.executable, "-m", "vimfed", "--config", str(config), command],
        env={k: v for k, v in os.environ.items() if not k.startswith("VIMFED_")},
        log=log,
    )
    child.spawn()
    try:
        await eventually(lambda: readiness(config, command, child), within=60)
        yield child, log
    finally:
        child.stop()


async def readiness(config: Path, command: str, child: Child | None = None) -> str:
    """Return the body of /readyz; with ``child``, which has to run, only where it is ready."""
    section = {"bridge": "bridge", "worker": "web", "publisher": "dmaap"}[command]
    port = tomllib.loads(config.read_text())[section]["port"]  # noqa: ASYNC240 - a local file
    assert child is None or child.running, child.last_log_line()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as answer,
        ):
            return await answer.text() if child is None or answer.status == 200 else ""
    except aiohttp.ClientError:
        return ""


def notify(guarded: GuardedKafka, kafka: KafkaSettings) -> None:
    """Write a notification, from which an event follows."""
    payload = json.dumps({**spec_example(), "instance_id": "vm-1"}).encode()
    notification = Notification(
        message_id="m",
        event_type="compute.instance.pause.end",
        payload=msgspec.Raw(payload),
        vim_id="Owner_Region",
        received_at="2026-01-01T00:00:00.000000Z",
    )
    record = notification_record(kafka, notification, "vm-1")
    producer = Producer({"bootstrap.servers": guarded.kafka.bootstrap})
    producer.produce(record.topic, record.value, record.key, record.partition)
    assert producer.flush(20) == 0


@pytest.mark.parametrize(
    "case",
    [
        Case("worker", "group", "{}-worker", "Read"),
        Case("worker", "topic", "{}.events", "Write"),
        Case("publisher", "topic", "{}.events", "Read"),
    ],
    ids=lambda case: f"{case.command}-{case.kind}",
)
async def test_a_right_that_is_taken_away_ends_the_process_with_a_line_that_names_it(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path, case: Case
) -> None:
    """It has started without the right to create a topic, as all of them exist."""
    await make_topics(guarded, kafka)
    guarded.grant(kafka.username, case.needs(kafka))
    async with running(tmp_path, kafka, case.command) as (child, log):
        guarded.revoke(kafka.username, case.missing(kafka))
        await asyncio.to_thread(notify, guarded, kafka)
        assert await asyncio.to_thread(child.wait, 40), log.read_text()[-3000:]
        assert child.returncode == 1
        assert log.read_text().splitlines()[-1] == f"vimfed: {case.line(kafka)}"
        assert "Traceback" not in log.read_text()


async def test_what_an_outputs_cluster_refuses_is_shown_by_readyz(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """The output's topic exists; nothing was granted on it."""
    await make_topics(guarded, kafka)
    dmaap = f"{kafka.topic_prefix}.dmaap"
    superuser = KafkaSettings(bootstrap=guarded.kafka.bootstrap)
    assert await ensure_topic(superuser, TopicSpec(dmaap, 1, 1))
    guarded.grant(kafka.username, publisher_needs(kafka, Settings(kafka=kafka).outputs()[0]))
    async with running(tmp_path, kafka, "publisher"):
        superuser = msgspec.structs.replace(superuser, topic_prefix=kafka.topic_prefix)
        await asyncio.to_thread(
            write_events, superuser.bootstrap, kafka.topic_prefix, [vm_event()], partitions=2
        )
        line = f"lacks the right Write on topic {dmaap}: grant it"

        async def told() -> bool:
            return line in await readiness(tmp_path / "vimfed.toml", "publisher")

        await eventually(told, within=30)


async def test_what_kafka_refuses_a_bridge_is_shown_by_readyz_until_it_is_granted(
    guarded: GuardedKafka, kafka: KafkaSettings
) -> None:
    """Even the producer does not start without Write on any topic."""
    await make_topics(guarded, kafka)
    writer = NotificationWriter(kafka)
    record = OutgoingRecord(f"{kafka.topic_prefix}.notifications", 0, b"key", b"value")
    write = asyncio.create_task(writer.write([record]))
    try:
        await eventually(lambda: says(writer, "lacks the right Write on each topic"), within=30)
        guarded.grant(kafka.username, bridge_needs(kafka)[1:])
        line = f"user {kafka.username} lacks the right Write on topic {record.topic}: grant it; "
        await eventually(lambda: says(writer, line), within=30)
        guarded.grant(kafka.username, bridge_needs(kafka))
        await asyncio.wait_for(write, 30)
        assert writer.available
    finally:
        await writer.close()


async def says(writer: NotificationWriter, line: str) -> bool:
    return line in writer.trouble


async def test_a_bridge_says_which_right_it_lacks_on_a_clouds_kafka(
    guarded: GuardedKafka,
    kafka: KafkaSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The group first; then the topics, which it does not even see."""
    pool = f"{kafka.topic_prefix}-pool"
    cloud = kafka_cloud(
        kafka.bootstrap,
        security_protocol=kafka.security_protocol,
        username=kafka.username,
        password=kafka.password.reveal(),
        group=pool,
        topics=[kafka.topic_prefix],
    )
    vim = vim_of(cloud)

    async def write(_records: Sequence[OutgoingRecord], _progress: Progress) -> None:
        raise AssertionError("nothing comes")

    async def logged(line: str) -> bool:
        return line in caplog.text

    progress = Progress(vim.vim_id, Counters(new_registry()))
    listener = kafka_listener(vim, kafka, write, progress)
    listener.start()
    try:
        line = f"user {kafka.username} lacks the right Read on group {pool}: grant it"
        await eventually(lambda: logged(line), within=30)
        guarded.grant(kafka.username, [Need("group", pool, ("Read",), "")])
        line = f"user {kafka.username} lacks the right Read on them"
        await eventually(lambda: logged(line), within=30)
    finally:
        await listener.stop()


@pytest.mark.parametrize("command", ["bridge", "worker", "publisher"])
async def test_a_process_starts_from_what_vimfed_topics_prints_as_one_who_may_create_nothing(
    guarded: GuardedKafka, kafka: KafkaSettings, tmp_path: Path, command: str
) -> None:
    printed = await asyncio.to_thread(
        run, settings_file(tmp_path, kafka), "topics", "--process", command
    )
    assert printed.returncode == 0, printed.stderr
    assert guarded.execute(printed.stdout) >= 4
    async with running(tmp_path, kafka, command) as (child, log):
        assert child.running
        assert "WARNING" not in log.read_text()


async def test_a_bridge_that_may_not_read_the_changelog_says_why_it_compares_no_cloud(
    guarded: GuardedKafka, kafka: KafkaSettings
) -> None:
    await make_topics(guarded, kafka)
    guarded.grant(kafka.username, bridge_needs(kafka, compares=False))
    known = KnownInstances(kafka, lambda: ["a_b"], lambda: True)
    changelog = f"{kafka.topic_prefix}-instances-changelog"
    with pytest.raises(KnownInstancesError) as refused:
        await asyncio.to_thread(known.take, "a_b", lambda: False)
    assert f"lacks the right Read on topic {changelog}: grant it" in str(refused.value)
    guarded.grant(kafka.username, bridge_needs(kafka))
    assert await asyncio.to_thread(known.take, "a_b", lambda: False) == {}


async def test_who_may_not_look_at_a_topics_settings_is_told_so_and_starts(
    guarded: GuardedKafka, kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await make_topics(guarded, kafka)
    needs = bridge_needs(kafka)
    guarded.grant(kafka.username, needs)
    assert await ensure_topics(kafka, needs) == []
    for need in needs:
        line = (
            f"the settings of topic {need.name} are not checked: user {kafka.username} lacks the "
            f"right DescribeConfigs on topic {need.name}: grant it"
        )
        assert line in caplog.text


def test_samples_that_kafka_refuses_hold_up_no_event_and_are_kept_until_it_takes_them(
    guarded: GuardedKafka, kafka: KafkaSettings, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    asyncio.run(make_topics(guarded, kafka))
    needs, samples = bridge_needs(kafka, samples=True), f"{kafka.topic_prefix}.samples"
    guarded.grant(kafka.username, needs)
    own = {
        "bootstrap": kafka.bootstrap,
        "topic_prefix": kafka.topic_prefix,
        "partitions": kafka.partitions,
        "security_protocol": kafka.security_protocol,
        "sasl_mechanism": kafka.sasl_mechanism,
        "username": kafka.username,
        "password": kafka.password.reveal(),
    }
    prefix = kafka.topic_prefix
    queue = {"transport_urls": [rabbitmq.url], "exchange": prefix}
    cloud = {
        "cloud_owner": "Owner",
        "cloud_region_id": "Region",
        "rabbit": {**queue, "pool": prefix},
        "samples": {"rabbit": {**queue, "pool": f"{prefix}.samples"}},
    }
    bridge = BridgeProcess(tmp_path, kafka=own, vims=[cloud])
    bus = f"samples {rabbitmq.url.rpartition('@')[2]}"
    with notifications.rabbit_sender(rabbitmq.url, exchange=prefix) as sender:
        sender.declare_exchange()
        bridge.start(["Owner_Region"])
        try:
            wait_until(lambda: bridge.metric("connected", "Owner_Region", bus) == 1, "listens")
            # It may still see the topic: one that is gone ends a bridge.
            guarded.grant(kafka.username, [Need("topic", samples, ("Read",), "")])
            guarded.revoke(kafka.username, Need("topic", samples, ("Write",), ""))
            sender.send(metering(counter()), "metering.sample")
            line = f"lacks the right Write on topic {samples}"
            wait_until(lambda: line in bridge.get("/readyz")[1], "told", 60)
            for number in range(3):
                sender.send(notifications.body(message_id=f"m-{number}"))
            cluster = guarded.kafka.bootstrap
            wait_for_records(cluster, f"{prefix}.notifications", 3)
            status, readiness = bridge.health("/readyz")
            assert (status, list(readiness["degraded"])) == (200, ["kafka, samples"])
            guarded.grant(kafka.username, needs)
            wait_for_records(cluster, samples, 1)
            wait_until(lambda: "kafka, samples" not in bridge.get("/readyz")[1], "mended")
        finally:
            bridge.child.kill()
