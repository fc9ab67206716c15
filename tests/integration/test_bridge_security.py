"""The bridge over TLS and SASL, between real brokers with certificates that the test makes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support import sections
from tests.support.bridge_process import BridgeProcess, eventually
from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.notifications import body, rabbit_sender, send_to_kafka
from tests.support.topics import wait_for_records
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

CLOUD = "Owner_Region"
PASSWORD = "scram-secret"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Secured(NamedTuple):
    """Brokers that want TLS, and the files with which they are to be reached."""

    kafka: LocalKafka
    ssl_port: int
    sasl_port: int
    rabbitmq: RabbitMQ
    rabbit_port: int
    files: dict[str, str]
    """ca_file, cert_file and key_file of a client."""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("client@example.org")
    for name, certificate in (("server", server), ("client", client)):
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        (folder / f"{name}.pem").write_bytes(chain)
        # Kafka reads PKCS #8 alone.
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(encoded)
        (folder / f"{name}-with-key.pem").write_bytes(encoded + chain)
    ssl_port, sasl_port, rabbit_port = free_ports(3)
    kafka = new_kafka(
        tmp_path_factory.mktemp("kafka"),
        listeners={"SSL": ssl_port, "SASL_SSL": sasl_port},
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "server-with-key.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": SCRAM,
        },
        scram_users={"bridge": PASSWORD},
    )
    rabbitmq = RabbitMQ(
        tmp_path_factory.mktemp("rabbitmq"),
        config={
            "listeners.ssl.1": f"127.0.0.1:{rabbit_port}",
            "ssl_options.cacertfile": str(folder / "ca.pem"),
            "ssl_options.certfile": str(folder / "server.pem"),
            "ssl_options.keyfile": str(folder / "server.key"),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
        },
    )
    files = {
        "ca_file": str(folder / "ca.pem"),
        "cert_file": str(folder / "client.pem"),
        "key_file": str(folder / "client.key"),
    }
    with kafka, rabbitmq:
        yield Secured(kafka, ssl_port, sasl_port, rabbitmq, rabbit_port, files)


@pytest.fixture
def bridges(tmp_path: Path) -> Iterator[list[BridgeProcess]]:
    made: list[BridgeProcess] = []
    yield made
    for bridge in made:
        bridge.child.kill()


def rabbit_cloud(secured: Secured, name: str, **settings: Any) -> dict[str, object]:
    url = f"rabbit://guest:guest@localhost:{secured.rabbit_port}/"
    wanted = {"exchange": name, "pool": name, "tls": True, **secured.files, **settings}
    return sections.rabbit_cloud(url, **wanted)


def arrived(secured: Secured, name: str) -> list[Any]:
    records = wait_for_records(secured.kafka.bootstrap, f"{name}.notifications", 1)
    return [json.loads(record.value() or b"")["message_id"] for record in records]


def test_rabbitmq_and_kafka_with_certificates_on_both_sides(
    secured: Secured, tmp_path: Path, bridges: list[BridgeProcess]
) -> None:
    kafka = {
        "bootstrap": f"localhost:{secured.ssl_port}",
        "security_protocol": "SSL",
        "topic_prefix": "mutual",
        **secured.files,
    }
    bridge = BridgeProcess(tmp_path, kafka=kafka, vims=[rabbit_cloud(secured, "mutual")])
    bridges.append(bridge)
    bridge.start([CLOUD])
    with rabbit_sender(secured.rabbitmq.url, exchange="mutual") as sender:
        sender.send(body(message_id="m"))
    assert arrived(secured, "mutual") == ["m"]
    assert bridge.stop() < 10


def test_kafka_with_scram_over_tls_as_the_cloud_and_as_our_own(
    secured: Secured, tmp_path: Path, bridges: list[BridgeProcess]
) -> None:
    kafka = {
        "bootstrap": f"localhost:{secured.sasl_port}",
        "security_protocol": "SASL_SSL",
        "username": "bridge",
        "password": PASSWORD,
        "ca_file": secured.files["ca_file"],
        "topic_prefix": "scram",
    }
    cloud = sections.kafka_cloud(
        f"localhost:{secured.sasl_port}",
        security_protocol="SASL_SSL",
        username="bridge",
        password=PASSWORD,
        ca_file=secured.files["ca_file"],
        topics=["scram-cloud"],
        group="scram",
    )
    send_to_kafka(secured.kafka.bootstrap, "scram-cloud.info", [body(message_id="m")])
    bridge = BridgeProcess(tmp_path, kafka=kafka, vims=[cloud])
    bridges.append(bridge)
    bridge.start([CLOUD])
    assert arrived(secured, "scram") == ["m"]
    assert bridge.stop() < 10
    assert PASSWORD not in bridge.log_text()


def test_a_server_whose_authority_is_unknown_is_refused(
    secured: Secured, tmp_path: Path, bridges: list[BridgeProcess]
) -> None:
    stranger = trustme.CA()
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    cloud = rabbit_cloud(secured, "stranger", ca_file=str(tmp_path / "stranger.pem"))
    kafka = {
        "bootstrap": f"localhost:{secured.ssl_port}",
        "security_protocol": "SSL",
        **secured.files,
        "ca_file": str(tmp_path / "stranger.pem"),
    }
    bridge = BridgeProcess(tmp_path, kafka=kafka, vims=[cloud])
    bridges.append(bridge)
    bridge.start()
    eventually(
        lambda: bridge.log_text().lower().count("certificate verify failed") > 1, "both refused"
    )
    assert bridge.metric("connected", CLOUD) == 0
    assert bridge.health("/readyz")[0] == 503
