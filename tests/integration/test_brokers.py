"""The brokers that the tests run on, and the local Kafka of the demo."""

import os
from pathlib import Path

import amqp
import psutil
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.kafka_classes import kafka_classes
from vimfed.local import kafka as local_kafka
from vimfed.local.kafka import (
    BrokerDiedError,
    FetchError,
    JavaMissingError,
    LocalKafka,
    LocalKafkaError,
    answers,
)
from vimfed.process.ports import PortInUseError, free_ports


def topics_of(bootstrap: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


def test_kafka_keeps_its_topics_through_a_kill_and_leaves_no_process(tmp_path: Path) -> None:
    with new_kafka(tmp_path) as kafka:
        client = AdminClient({"bootstrap.servers": kafka.bootstrap})
        topic = NewTopic("kept-through-a-kill", num_partitions=1, replication_factor=1)
        client.create_topics([topic])[topic.topic].result(timeout=10)
        kafka.kill()
        assert not answers(kafka.bootstrap)
        kafka.start()
        assert topic.topic in topics_of(kafka.bootstrap)
        pid = kafka.child.pid
    assert not psutil.pid_exists(pid)


def test_kafka_starts_with_the_classes_of_the_archive(tmp_path: Path) -> None:
    archive = kafka_classes()
    with new_kafka(tmp_path) as kafka:
        assert str(archive) in Path(f"/proc/{kafka.child.pid}/maps").read_text()


def test_an_archive_of_something_else_is_passed_over_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "classes.jsa"
    archive.write_bytes(b"of no Java")
    monkeypatch.setattr(local_kafka, "archive_of", lambda *_: archive)
    with new_kafka(tmp_path / "kafka") as kafka:
        assert "classes.jsa" not in Path(f"/proc/{kafka.child.pid}/maps").read_text()
        log = kafka.log.read_text()
        assert "[warning]" not in log
        assert "[cds" not in log


def test_kafka_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalKafkaError, match=r"Kafka cannot write .*file/kafka \(Not a directory"):
        new_kafka(tmp_path / "file" / "kafka").spawn()


def test_a_frozen_kafka_is_silent_until_it_is_thawed(tmp_path: Path) -> None:
    with new_kafka(tmp_path) as kafka:
        kafka.freeze()
        assert not answers(kafka.bootstrap)
        kafka.thaw()
        assert answers(kafka.bootstrap, timeout=10)


def test_kafka_takes_scram_users_and_another_listener(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    kafka = new_kafka(
        tmp_path,
        listeners={"SASL_PLAINTEXT": port},
        properties={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        },
        scram_users={"vimfed": "a secret"},
    )
    with kafka:
        client = AdminClient(
            {
                "bootstrap.servers": f"127.0.0.1:{port}",
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "vimfed",
                "sasl.password": "a secret",
            }
        )
        assert len(client.list_topics(timeout=10).brokers) == 1


def test_a_port_in_use_is_named_with_what_to_do(kafka: LocalKafka, tmp_path: Path) -> None:
    (controller_port,) = free_ports(1)
    second = LocalKafka(tmp_path, kafka.port, controller_port)
    with pytest.raises(PortInUseError, match=f"{kafka.port}.*end what listens there"):
        second.start()


def test_a_broker_that_dies_shows_the_last_line_of_its_log(tmp_path: Path) -> None:
    with new_kafka(tmp_path) as kafka:
        pass
    (kafka.data_dir / "data" / "meta.properties").write_text("version=1\nnode.id=77\n")
    with pytest.raises(BrokerDiedError, match=r"exit code 1: .*RuntimeException: No readable meta"):
        kafka.start()


def test_without_java_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaMissingError, match=r"Java 17.*apt-get install"):
        new_kafka(tmp_path / "kafka").start()


def test_an_old_java_is_refused_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(JavaMissingError, match=r"java is 11: .*apt-get install"):
        new_kafka(tmp_path / "kafka").start()


def test_without_maven_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="apt-get install maven"):
        local_kafka.fetch_jars(cache=tmp_path / "cache")


def test_what_maven_cannot_fetch_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pom = tmp_path / "pom.xml"
    pom.write_text(local_kafka.POM.read_text().replace("</kafka.version>", ".x</kafka.version>"))
    monkeypatch.setattr(local_kafka, "POM", pom)
    with pytest.raises(FetchError, match=r"could not fetch Kafka: .*kafka_2\.13:jar:4\.1\.2\.x"):
        local_kafka.fetch_jars(cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_rabbitmq_comes_back_after_a_kill_and_leaves_no_process(tmp_path: Path) -> None:
    def node_and_epmd() -> set[str]:
        return {child.name() for child in psutil.Process().children()} & {"beam.smp", "epmd"}

    shared = node_and_epmd()  # of the fixture, if a test before used it
    with RabbitMQ(tmp_path) as rabbitmq:
        rabbitmq.kill()
        rabbitmq.start()
        with amqp.Connection(host=f"127.0.0.1:{rabbitmq.port}") as connection:
            assert connection.server_properties["product"] == "RabbitMQ"
        assert node_and_epmd() == {"beam.smp", "epmd"}
    assert node_and_epmd() == shared
