"""The bridge process between real brokers."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support import sections
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ
from tests.support.notifications import (
    TOPICS,
    RabbitSender,
    body,
    numbered,
    rabbit_sender,
    send_to_kafka,
    service,
)
from tests.support.topics import headers_of, read_topic, values, wait_for_records
from vimfed.kafka.notification_writer import arrival_time
from vimfed.local.kafka import LocalKafka
from vimfed.model.keys import cloud_key
from vimfed.model.records import decode_notification
from vimfed.nova.host_report import Heartbeat, read_heartbeat, read_host_report
from vimfed.nova.oslo import PRIORITIES
from vimfed.process.ports import free_ports

SECRET = "gAAAAABtoken"
CLOUD = "Owner_Region"


class Setup:
    """One bridge with names of its own on the shared brokers."""

    def __init__(self, folder: Path, kafka: LocalKafka, rabbitmq: RabbitMQ) -> None:
        self.name = f"t{uuid.uuid4().hex[:10]}"
        self.kafka = kafka
        self.rabbitmq = rabbitmq
        self.folder = folder
        self.bridge = BridgeProcess(folder / "bridge", kafka=self.kafka_settings, vims=[])

    @property
    def kafka_settings(self) -> dict[str, object]:
        return {"bootstrap": self.kafka.bootstrap, "topic_prefix": self.name, "partitions": 4}

    def rabbit_cloud(self, *urls: str, **settings: Any) -> dict[str, object]:
        wanted = {"exchange": self.name, "pool": self.name, **settings}
        return sections.rabbit_cloud(*(urls or [self.rabbitmq.url]), **wanted)

    def kafka_cloud(self, bootstrap: str = "", **settings: Any) -> dict[str, object]:
        topics = [f"{self.name}.{topic}" for topic in TOPICS]
        wanted = {"topics": topics, "group": self.name, **settings}
        return sections.kafka_cloud(bootstrap or self.kafka.bootstrap, **wanted)

    def start(self, *vims: dict[str, object], connected: tuple[str, ...] = (CLOUD,)) -> None:
        self.bridge.write_settings(vims)
        self.bridge.start(connected)

    def notifications(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many records, and return them by the order of their session's sequence."""
        records = wait_for_records(self.kafka.bootstrap, f"{self.name}.notifications", count)
        found = [json.loads(record.value() or b"") for record in records]
        return sorted(found, key=lambda record: (record["session"], record["sequence"]))

    def dead_letters(self, count: int) -> list[tuple[bytes, dict[str, str]]]:
        """Wait for so many dead letters, and return value and headers of each."""
        records = wait_for_records(self.kafka.bootstrap, f"{self.name}.dead-letter", count)
        return [
            (
                record.value() or b"",
                {name: value.decode() for name, value in headers_of(record)},
            )
            for record in records
        ]

    def sender(self) -> RabbitSender:
        return RabbitSender(self.rabbitmq.url, exchange=self.name)

    def make_topics(self, partitions: int = 1) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        config = {"max.message.bytes": "3000000"}
        topics = [
            NewTopic(f"{self.name}.{topic}.{priority}", partitions, 1, config=config)
            for topic in TOPICS
            for priority in PRIORITIES
        ]
        for made in admin.create_topics(topics).values():
            made.result(30)

    def send_to_kafka(
        self, contents: list[bytes | None], queue: str = "notifications.info"
    ) -> None:
        send_to_kafka(self.kafka.bootstrap, f"{self.name}.{queue}", contents)


@pytest.fixture
def setup(tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ) -> Iterator[Setup]:
    made = Setup(tmp_path, kafka, rabbitmq)
    yield made
    made.bridge.child.kill()


def test_every_priority_of_both_topics_arrives_in_one_path_and_in_order(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    queues = [f"{topic}.{priority}" for topic in TOPICS for priority in PRIORITIES]
    sender = setup.sender()
    for number, queue in enumerate(queues * 3):
        priority = queue.rpartition(".")[2].upper()
        sender.send(body(message_id=f"m-{number}", priority=priority), queue)
    sender.close()
    found = setup.notifications(42)
    assert [record["message_id"] for record in found] == [f"m-{number}" for number in range(42)]
    assert [record["priority"].lower() for record in found] == [*PRIORITIES] * 6
    assert len({record["path"] for record in found}) == 1
    assert {record["vim_id"] for record in found} == {CLOUD}
    assert {record["source"] for record in found} == {"oslo"}
    assert {record["request_id"] for record in found} == {"req-1"}
    assert all(record["received_at"].endswith("Z") for record in found)


def test_a_record_is_keyed_by_its_instance_and_lies_on_the_keys_partition(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    sender = setup.sender()
    sender.send(body(instance_id="one"))
    sender.send(body(payload={"instance_id": None}))
    sender.close()
    setup.notifications(2)
    records = read_topic(setup.kafka.bootstrap, f"{setup.name}.notifications")
    assert {record.key() for record in records} == {b"Owner_Region/one", b"Owner_Region/"}
    again = {"group.id": "other", "partition.assignment.strategy": "range"}
    assert read_topic(setup.kafka.bootstrap, f"{setup.name}.notifications", **again)


def test_kafka_clouds_path_is_the_partition_and_its_sequence_the_offset(setup: Setup) -> None:
    setup.make_topics()
    setup.send_to_kafka([content for _id, content in numbered(10)])
    setup.send_to_kafka([body(message_id="v", priority="ERROR")], "versioned_notifications.error")
    setup.start(setup.kafka_cloud())
    found = setup.notifications(11)
    path = f"{CLOUD}/{setup.name}/{setup.name}.notifications.info/0"
    info = [record for record in found if record["path"] == path]
    assert [(record["sequence"], record["message_id"]) for record in info] == [
        (number, f"m-{number}") for number in range(10)
    ]
    [other] = [record for record in found if record["path"] != path]
    assert other["message_id"] == "v"
    assert other["path"].endswith(".versioned_notifications.error/0")


def test_kafka_clouds_topics_may_come_later_than_the_bridge(setup: Setup) -> None:
    setup.start(setup.kafka_cloud())
    setup.make_topics()
    setup.send_to_kafka([body(message_id="first")])
    assert [record["message_id"] for record in setup.notifications(1)] == ["first"]


def test_after_a_restart_a_kafka_cloud_goes_on_where_it_was(setup: Setup) -> None:
    setup.make_topics()
    setup.start(setup.kafka_cloud())
    setup.send_to_kafka([content for _id, content in numbered(500)])
    setup.notifications(500)
    setup.bridge.stop()
    setup.send_to_kafka([content for _id, content in numbered(500, first=500)])
    setup.bridge.start([CLOUD])
    found = setup.notifications(1000)
    assert sorted(record["sequence"] for record in found) == list(range(1000))
    assert len({record["session"] for record in found}) == 1


@pytest.mark.parametrize("meanwhile", ["listening", "stopped"])
def test_what_a_topic_brings_that_was_made_anew_is_newer_than_all_before(
    setup: Setup, meanwhile: str
) -> None:
    setup.make_topics()
    setup.send_to_kafka([content for _id, content in numbered(10)])
    setup.start(setup.kafka_cloud())
    before = setup.notifications(10)
    if meanwhile == "stopped":
        setup.bridge.stop()
    admin = AdminClient({"bootstrap.servers": setup.kafka.bootstrap})
    topic = f"{setup.name}.notifications.info"
    admin.delete_topics([topic])[topic].result(30)
    eventually(lambda: topic not in admin.list_topics().topics, "deleted")
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    setup.send_to_kafka([content for _id, content in numbered(3, first=10)])
    if meanwhile == "stopped":
        setup.bridge.start([CLOUD])
    found = setup.notifications(13)
    after = [record for record in found if record not in before]
    assert [(record["sequence"], record["message_id"]) for record in after] == [
        (number, f"m-{10 + number}") for number in range(3)
    ]
    [session] = {record["session"] for record in after}
    assert max(record["received_at"] for record in before) < session
    assert all(session < record["received_at"] for record in after)
    assert {record["path"] for record in after} == {record["path"] for record in before}


def test_what_a_kafka_cloud_removed_unread_is_reported_and_counted_once(setup: Setup) -> None:
    setup.make_topics()
    setup.start(setup.kafka_cloud())
    setup.send_to_kafka([content for _id, content in numbered(10)])
    [session] = {record["session"] for record in setup.notifications(10)}
    setup.bridge.stop()
    setup.send_to_kafka([content for _id, content in numbered(50, first=10)])
    end = TopicPartition(f"{setup.name}.notifications.info", 0, OFFSET_END)
    admin = AdminClient({"bootstrap.servers": setup.kafka.bootstrap})
    for removed in admin.delete_records([end]).values():
        removed.result(30)
    setup.bridge.start([CLOUD])
    eventually(lambda: setup.bridge.metric("expired_unread_total", CLOUD) == 50, "counted")
    setup.bridge.stop()
    setup.bridge.start([CLOUD])
    setup.send_to_kafka([body(message_id="last")])
    [last] = [record for record in setup.notifications(11) if record["message_id"] == "last"]
    assert last["session"] == session
    assert setup.bridge.metric("expired_unread_total", CLOUD) == 0
    told = [line for line in setup.bridge.log_text().splitlines() if "ERROR" in line]
    assert len(told) == 1
    reader = re.escape(f"cloud {CLOUD}, group {setup.name}: ")
    assert re.search(rf"{reader}50 records of \S+ \(offsets 10 to 59\) .* before 20\d\d-", told[0])


@pytest.mark.parametrize("transport", ["rabbit", "kafka"])
def test_what_cannot_be_forwarded_is_kept_with_the_reason_and_holds_nothing_up(
    setup: Setup, transport: str
) -> None:
    unusable = {
        "no event_type": body(event_type=None),  # type: ignore[arg-type]
        "no message_id": json.dumps({"event_type": "e", "payload": {}}).encode(),
        "payload is not an object": b'{"message_id": "m", "event_type": "e", "payload": [1]}',
        "too large": body(size=1_200_000),
    }
    contents = [*unusable.values(), body(message_id="good")]
    if transport == "rabbit":
        setup.start(setup.rabbit_cloud())
        sender = setup.sender()
        for content in contents:
            sender.send(content)
        sender.close()
        source = "notifications.info"
    else:
        setup.make_topics()
        setup.start(setup.kafka_cloud())
        unusable |= {"malformed JSON": b'{"oslo.version": ', "not a notification": b"[1, 2]"}
        setup.send_to_kafka([*unusable.values(), None, body(message_id="good")])
        source = f"{setup.name}.notifications.info"
    assert [record["message_id"] for record in setup.notifications(1)] == ["good"]
    letters = setup.dead_letters(len(unusable) + (transport == "kafka"))
    for reason, content in unusable.items():
        [(value, headers)] = [each for each in letters if reason in each[1]["error"]][:1]
        assert headers["source"] == source
        assert headers["vim_id"] == CLOUD
        if reason == "too large":
            assert len(value) < 1_000_000
            assert int(headers["size"]) > 1_200_000
        elif b"_context" not in content:
            assert value == content
        if transport == "kafka":
            assert int(headers["offset"]) in range(len(unusable))
            assert headers["partition"] == "0"
    eventually(lambda: setup.bridge.metric("in_flight", CLOUD) == 0, "nothing in flight")
    assert setup.bridge.metric("dead_letters_total", CLOUD) == len(letters)
    assert setup.bridge.metric("forwarded_total", CLOUD) == 1


@pytest.mark.parametrize("transport", ["rabbit", "kafka"])
def test_what_nova_says_of_a_host_reaches_every_partition_and_what_is_our_own_none(
    setup: Setup, transport: str
) -> None:
    forged = body(event_type="vimfed.host.state", message_id="forged")
    scheduler = service(binary="nova-scheduler")
    contents = [service(forced_down=True), scheduler, forged, service("service.delete")]
    if transport == "rabbit":
        setup.start(setup.rabbit_cloud())
        sender = setup.sender()
        for content in contents:
            sender.send(content, "versioned_notifications.info")
        sender.close()
    else:
        setup.make_topics()
        setup.start(setup.kafka_cloud())
        setup.send_to_kafka(list(contents), "versioned_notifications.info")
    records = wait_for_records(setup.kafka.bootstrap, f"{setup.name}.notifications", 8)
    for partition in range(4):
        told = [decode_notification(one.value() or b"") for one in records
                if one.partition() == partition]  # fmt: skip
        forced, gone = (read_host_report(each.payload) for each in told)
        assert (forced.host, forced.forced_down, forced.is_gone) == ("compute01", True, False)
        assert (gone.host, gone.is_gone) == ("compute01", True)
    ((value, headers),) = setup.dead_letters(1)
    assert b"forged" in value
    assert headers["error"] == "event types vimfed.* are our own: no cloud sends them"
    eventually(lambda: setup.bridge.metric("in_flight", CLOUD) == 0, "nothing in flight")
    assert setup.bridge.metric("passed_over_total", CLOUD) == 1
    assert setup.bridge.metric("forwarded_total", CLOUD) == 8


def test_what_oslo_would_reject_is_kept_with_the_reason(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    sender = setup.sender()
    sender.send(b'{"oslo.version": "2.0", ' + SECRET.encode())
    sender.send(b'{"oslo.version": "9.0", "oslo.message": "{}"}')
    sender.send(body(message_id="good"))
    sender.close()
    assert [record["message_id"] for record in setup.notifications(1)] == ["good"]
    reasons = [headers["error"] for _value, headers in setup.dead_letters(2)]
    assert [reason.partition(":")[0] for reason in reasons] == ["malformed JSON", "no event_type"]
    assert SECRET not in setup.bridge.log_text()


def test_nothing_secret_reaches_a_topic_or_the_log(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    context = {"auth_token": SECRET, "service_catalog": [SECRET], "user_name": SECRET}
    sender = setup.sender()
    sender.send(body(context=context))
    sender.send(body(context=context, event_type=None))  # type: ignore[arg-type]
    sender.send(body(context=context, payload={"args": {"ctxt": context}, "exception": "e"}))
    sender.send(body(context=context, size=1_200_000))
    sender.close()
    setup.notifications(2)
    setup.dead_letters(2)
    for topic in ("notifications", "dead-letter"):
        for record in read_topic(setup.kafka.bootstrap, f"{setup.name}.{topic}"):
            assert SECRET.encode() not in (record.value() or b"")
    assert SECRET not in setup.bridge.log_text()
    assert "guest:guest" not in setup.bridge.log_text()


def test_other_consumers_of_the_notifications_are_not_robbed(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    sender = setup.sender()
    queue = f"{setup.name}.ceilometer"
    sender.declare_pool(queue)
    for _id, content in numbered(20):
        sender.send(content)
    setup.notifications(20)
    assert sender.depth(queue) == 20
    sender.close()


@pytest.mark.parametrize("transport", ["rabbit", "kafka"])
def test_a_stop_under_load_is_quick_and_neither_loses_nor_repeats(
    setup: Setup, transport: str
) -> None:
    contents = [content for _id, content in numbered(20_000)]
    if transport == "rabbit":
        sender = setup.sender()
        sender.declare_pool(setup.name)
        sender.send_all(contents)
        sender.close()
        cloud = setup.rabbit_cloud()
    else:
        setup.make_topics()
        setup.send_to_kafka(list(contents))
        cloud = setup.kafka_cloud(poll_records=500)
    setup.start(cloud)
    eventually(lambda: (setup.bridge.metric("forwarded_total", CLOUD) or 0) > 1000, "it flows")
    assert setup.bridge.stop() < 10
    before = len(read_topic(setup.kafka.bootstrap, f"{setup.name}.notifications"))
    assert before < 20_000
    setup.bridge.start([CLOUD])
    found = setup.notifications(20_000)
    assert sorted(int(record["message_id"][2:]) for record in found) == list(range(20_000))


def test_an_idle_bridge_stops_within_ten_seconds(setup: Setup) -> None:
    setup.make_topics()
    region = {"cloud_region_id": "Kafka"}
    setup.start(setup.rabbit_cloud(), setup.kafka_cloud(**region), connected=(CLOUD, "Owner_Kafka"))
    time.sleep(3)  # oslo's polling thread sleeps longer the longer nothing comes
    assert setup.bridge.stop() < 10


def test_sighup_adds_removes_and_changes_clouds(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    added = setup.rabbit_cloud(cloud_region_id="Added", pool=f"{setup.name}-2")
    setup.bridge.write_settings([added])
    setup.bridge.hang_up()
    setup.bridge.wait_until_connected("Owner_Added")
    eventually(lambda: setup.bridge.metric("connected", CLOUD) is None, "the first cloud is gone")
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as sender:
        sender.send(body(message_id="m"))
        assert [record["vim_id"] for record in setup.notifications(1)] == ["Owner_Added"]
        assert sender.depth(setup.name) == 1, "the removed cloud's queue is left to grow"
    setup.bridge.settings_file.write_text("not TOML")
    setup.bridge.hang_up()
    eventually(lambda: "the settings stay as they were" in setup.bridge.log_text(), "a warning")
    eventually(lambda: setup.bridge.log_text().count("event=settings.reread") == 2, "a trail")
    done, failed = re.findall(
        r"vimfed\.audit: .* event=settings\.reread (.*)", setup.bridge.log_text()
    )
    assert done.startswith("result=done login=SIGHUP role=- address=")
    assert done.endswith(f" added=Owner_Added removed={CLOUD}")
    assert failed.startswith("result=failed login=SIGHUP ")
    assert "is not valid TOML" in failed
    assert setup.bridge.metric("connected", "Owner_Added") == 1


def test_a_cloud_that_is_down_holds_up_neither_the_others_nor_the_stop(setup: Setup) -> None:
    [port] = free_ports(1)
    down = setup.rabbit_cloud(f"rabbit://guest:guest@127.0.0.1:{port}/", cloud_region_id="Down")
    down_too = setup.kafka_cloud(f"127.0.0.1:{port}", cloud_region_id="DownToo")
    setup.start(down, down_too, setup.rabbit_cloud())
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as sender:
        sender.send(body())
    setup.notifications(1)
    assert setup.bridge.metric("connected", "Owner_Down") == 0
    assert setup.bridge.health() == (200, {"status": "ok"})
    assert setup.bridge.stop() < 10


def test_of_several_rabbitmq_hosts_in_one_url_one_that_works_is_found(setup: Setup) -> None:
    [port] = free_ports(1)
    url = f"rabbit://guest:guest@127.0.0.1:{port},guest:guest@127.0.0.1:{setup.rabbitmq.port}/"
    setup.start(setup.rabbit_cloud(url))
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as sender:
        sender.send(body(message_id="m"))
    assert [record["message_id"] for record in setup.notifications(1)] == ["m"]


@pytest.mark.parametrize("durable_exchange", [True, False])
@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, "true\tclassic"),
        ({"durable_queues": False}, "false\tclassic"),
        ({"quorum_queues": True}, "true\tquorum"),
    ],
    ids=["default", "transient", "quorum"],
)
def test_the_queue_is_as_the_settings_say_whatever_the_exchange_is(
    setup: Setup, settings: dict[str, object], shown: str, *, durable_exchange: bool
) -> None:
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name, durable=durable_exchange) as sender:
        sender.declare_exchange()
        setup.start(setup.rabbit_cloud(**settings))
        sender.send(body(message_id="m"))
    assert [record["message_id"] for record in setup.notifications(1)] == ["m"]
    queues = setup.rabbitmq.ctl("list_queues", "name", "durable", "type", "--quiet")
    assert f"{setup.name}\t{shown}" in queues
    assert "although durable_queues" not in setup.bridge.log_text()


@pytest.mark.parametrize("durable", [True, False])
def test_an_exchange_that_nova_has_not_made_yet_is_made_as_nova_will(
    setup: Setup, *, durable: bool
) -> None:
    setup.start(setup.rabbit_cloud(durable_exchange=durable))
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name, durable=durable) as sender:
        sender.send(body(message_id="m"))
    assert [record["message_id"] for record in setup.notifications(1)] == ["m"]


def test_a_queue_that_is_there_and_transient_is_used_and_said(setup: Setup) -> None:
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as sender:
        sender.declare_pool(setup.name)
        setup.start(setup.rabbit_cloud())
        sender.send(body(message_id="m"))
    assert [record["message_id"] for record in setup.notifications(1)] == ["m"]
    told = [line for line in setup.bridge.log_text().splitlines() if "is transient" in line]
    assert len(told) == 1
    assert f"rabbitmqctl delete_queue {setup.name}" in told[0]


def test_a_rabbitmq_that_hangs_is_told_and_is_listened_to_again(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud(heartbeat=2))
    setup.rabbitmq.freeze()
    try:
        eventually(lambda: setup.bridge.health("/readyz")[0] == 503, "not ready", timeout=20)
        assert "Too many heartbeats missed" in setup.bridge.get("/readyz")[1]
    finally:
        setup.rabbitmq.thaw()
    setup.bridge.wait_until_connected(CLOUD)
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as sender:
        sender.send(body(message_id="m"))
    assert [record["message_id"] for record in setup.notifications(1)] == ["m"]


def test_wrong_credentials_are_told_without_the_password(setup: Setup) -> None:
    url = f"rabbit://guest:{SECRET}@127.0.0.1:{setup.rabbitmq.port}/"
    setup.start(setup.rabbit_cloud(url), connected=())
    eventually(lambda: "cannot listen, trying again" in setup.bridge.log_text(), "a warning")
    assert SECRET not in setup.bridge.log_text()
    assert setup.bridge.health("/readyz")[0] == 503


def test_a_topic_with_another_partition_count_ends_the_bridge_with_one_line(setup: Setup) -> None:
    admin = AdminClient({"bootstrap.servers": setup.kafka.bootstrap})
    for made in admin.create_topics([NewTopic(f"{setup.name}.notifications", 2, 1)]).values():
        made.result(30)
    setup.start(connected=())
    assert setup.bridge.child.wait(30)
    assert setup.bridge.child.returncode == 1
    last = setup.bridge.log_text().strip().splitlines()[-1]
    assert "has 2 partitions, the settings say kafka.partitions = 4" in last


def test_a_port_in_use_ends_the_bridge_with_one_line(setup: Setup) -> None:
    bridge = BridgeProcess(
        setup.folder / "second",
        kafka=setup.kafka_settings,
        vims=[],
        bridge={"port": setup.rabbitmq.port},
    )
    bridge.start()
    assert bridge.child.wait(30)
    assert bridge.child.returncode == 1
    assert "choose another bridge.port" in bridge.log_text().strip().splitlines()[-1]


def test_logs_are_json_lines_that_name_the_cloud(setup: Setup) -> None:
    setup.bridge.write_settings([setup.rabbit_cloud()])
    with setup.bridge.settings_file.open("a") as settings:
        settings.write('\n[log]\nformat = "json"\n')
    setup.bridge.start()
    eventually(lambda: "listening" in setup.bridge.log_text(), "listening")
    lines = [json.loads(line) for line in setup.bridge.log_text().splitlines()]
    [listening] = [line for line in lines if "listening as pool" in line["message"]]
    assert listening["vim_id"] == CLOUD
    assert listening["process"] == "bridge"
    assert listening["level"] == "INFO"


def test_the_metrics_tell_how_each_cloud_is_doing(setup: Setup) -> None:
    setup.start(setup.rabbit_cloud())
    with rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as sender:
        for _id, content in numbered(3):
            sender.send(content)
    setup.notifications(3)
    eventually(lambda: setup.bridge.metric("in_flight", CLOUD) == 0, "all acknowledged")
    shown = {
        name: setup.bridge.metric(name, CLOUD)
        for name in (
            "received_total",
            "forwarded_total",
            "dead_letters_total",
            "retries_total",
            "oldest_unacknowledged_seconds",
            "connected",
        )
    }
    assert shown == {
        "received_total": 3,
        "forwarded_total": 3,
        "dead_letters_total": 0,
        "retries_total": 0,
        "oldest_unacknowledged_seconds": 0,
        "connected": 1,
    }
    silence = setup.bridge.metric("last_message_seconds", CLOUD)
    assert silence is not None
    eventually(
        lambda: (setup.bridge.metric("last_message_seconds", CLOUD) or 0) > silence, "it grows"
    )
    assert values(setup.kafka.bootstrap, f"{setup.name}.notifications")


def test_each_cloud_is_told_to_be_listened_to_at_an_interval(tmp_path: Path, setup: Setup) -> None:
    away = {**setup.kafka_cloud("127.0.0.1:9"), "cloud_region_id": "away"}
    bridge = BridgeProcess(
        tmp_path / "beating",
        kafka=setup.kafka_settings,
        vims=[setup.rabbit_cloud(), away],
        bridge={"heartbeat_interval": 1},
    )
    try:
        bridge.start([CLOUD])
        before = arrival_time()
        topic = f"{setup.name}.notifications"

        def beats(cloud: str) -> list[Heartbeat]:
            records = read_topic(setup.kafka.bootstrap, topic)
            told = [decode_notification(one.value() or b"") for one in records
                    if one.key() == cloud_key(cloud)]  # fmt: skip
            return [read_heartbeat(one.payload) for one in told if one.received_at > before]

        eventually(lambda: len(beats(CLOUD)) >= 2 and len(beats("Owner_away")) >= 2, "heartbeats")
        assert beats(CLOUD)[0] == Heartbeat(interval=1.0, lag=0.0, sources={"rabbit": True})
        first, second = beats("Owner_away")[:2]
        assert (first.sources, second.sources) == ({"kafka": False}, {"kafka": False})
        assert 0 < first.lag < second.lag
    finally:
        bridge.child.kill()


def test_of_two_message_buses_of_a_cloud_one_that_is_away_holds_up_nothing_and_loses_nothing(
    setup: Setup,
) -> None:
    cell = setup.name
    ctl = setup.rabbitmq.ctl
    ctl("add_vhost", cell)
    ctl("set_permissions", "-p", cell, "guest", ".*", ".*", ".*")
    ctl("add_user", cell, "secret")
    ctl("set_permissions", "-p", cell, cell, ".*", ".*", ".*")
    host = f"127.0.0.1:{setup.rabbitmq.port}"
    first, second = f"{host}/", f"{host}/{cell}"
    both = setup.rabbit_cloud(setup.rabbitmq.url, f"rabbit://{cell}:secret@{second}")
    of_second = f"rabbit://guest:guest@{second}"
    setup.start(both)
    for bus in (first, second):
        eventually(lambda bus=bus: connected(setup, bus) == 1, f"connected to {bus}")  # type: ignore[misc]
    eventually(lambda: setup.bridge.health("/readyz") == (200, {"status": "ok"}), "both are well")
    with (
        rabbit_sender(setup.rabbitmq.url, exchange=setup.name) as one,
        rabbit_sender(of_second, exchange=setup.name) as two,
    ):
        one.send(body(message_id="one"))
        two.send(body(message_id="two"))
        paths = {record["message_id"]: record["path"] for record in setup.notifications(2)}
        alone = f"{CLOUD}/{setup.name}"
        assert paths == {"one": alone, "two": f"{alone}/{second}"}

        ctl("clear_permissions", "-p", cell, cell)
        ctl("close_all_user_connections", cell, "by a test")
        eventually(lambda: connected(setup, second) == 0, "the second is away")
        name = f"listening {CLOUD}, bus {second}"
        eventually(lambda: name in told_of(setup), "/readyz names it")
        assert list(told_of(setup)) == [name]
        assert connected(setup, first) == 1
        assert setup.bridge.health() == (200, {"status": "ok"})
        one.send(body(message_id="meanwhile"))
        two.send(body(message_id="kept"))
        assert "meanwhile" in {record["message_id"] for record in setup.notifications(3)}

        ctl("set_permissions", "-p", cell, cell, ".*", ".*", ".*")
        arrived = [record["message_id"] for record in setup.notifications(4)]
        assert sorted(arrived) == ["kept", "meanwhile", "one", "two"]
        eventually(lambda: told_of(setup) == {}, "all is well again")

    setup.bridge.write_settings([setup.rabbit_cloud()])
    setup.bridge.hang_up()
    eventually(lambda: connected(setup, second) is None, "the second is gone")
    eventually(lambda: connected(setup, first) == 1, "the first goes on")
    assert "secret" not in setup.bridge.log_text()


def connected(setup: Setup, bus: str) -> float | None:
    return setup.bridge.metric("connected", CLOUD, bus)


def told_of(setup: Setup) -> dict[str, str]:
    """Return what /readyz says of sources that do not keep the bridge from its work."""
    status, answer = setup.bridge.health("/readyz")
    assert status == 200
    found: dict[str, str] = answer.get("degraded", {})
    return found
