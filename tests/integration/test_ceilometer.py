"""What a real ceilometer polls and publishes comes through the bridge as samples, all of it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.integration.test_bridge import Setup
from tests.real_ceilometer.environment import AGENT, ceilometer_python
from tests.support.bridge_process import eventually
from tests.support.brokers import RabbitMQ
from tests.support.topics import read_topic
from vimfed.local.kafka import LocalKafka
from vimfed.model.samples import decode_samples
from vimfed.telemetry.signature import is_signed

SECRET = "change this for valid signing"
CLOUDS = ("Owner_Rabbit", "Owner_Kafka", "Owner_Polling")


def cloud(region: str, **broker: object) -> dict[str, object]:
    samples = {"telemetry_secret": SECRET, **broker}
    return {"cloud_owner": "Owner", "cloud_region_id": region, "samples": samples}


def test_what_a_real_ceilometer_publishes_is_on_the_topic_of_samples(
    tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ, request: pytest.FixtureRequest
) -> None:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    python = ceilometer_python(say)
    setup = Setup(tmp_path, kafka, rabbitmq)
    name = setup.name
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # its futures end with it
    topic = NewTopic(f"{name}.metering.sample", 1, 1)
    admin.create_topics([topic])[topic.topic].result(30)
    queue = {"transport_urls": [rabbitmq.url], "exchange": name}
    setup.start(
        cloud("Rabbit", rabbit=queue | {"pool": name}),
        cloud("Kafka", kafka=setup.kafka_cloud(topics=[f"{name}.metering"])["kafka"]),
        cloud("Polling", rabbit=queue | {"pool": f"{name}.p", "topics": ["notifications"]}),
        connected=CLOUDS,
    )
    try:
        subprocess.run(
            [
                *(str(python), "-W", "ignore", str(AGENT)),
                *(str(tmp_path), rabbitmq.url, name, SECRET),
                "notifier://?per_meter_topic=1",
                f"notifier://{kafka.bootstrap}?driver=kafka&topic={name}.metering",
            ],
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            check=True,
            timeout=120,
        )
        told = json.loads((tmp_path / "sent.json").read_text())
        sent = told["sent"]
        assert {sample["counter_name"] for sample in sent} == set(told["pollsters"])
        assert all(is_signed(sample, SECRET.encode()) for sample in sent)
        assert not any(is_signed(sample, b"another") for sample in sent)
        wanted = {each: {expected(sample) for sample in sent} for each in CLOUDS}
        assert [len(each) for each in wanted.values()] == [len(sent)] * 3
        eventually(lambda: taken(kafka.bootstrap, name) == wanted, "every sample")
    finally:
        setup.bridge.stop()
    assert not read_topic(kafka.bootstrap, f"{name}.dead-letter")


def expected(sample: dict[str, Any]) -> tuple[object, ...]:
    """Return what must be taken of a sample that was sent."""
    metadata = sample["resource_metadata"]
    return (
        metadata["instance_id"],
        sample["counter_name"],
        sample["counter_type"],
        sample["counter_unit"],
        metadata.get("disk_name") or metadata.get("vnic_name") or "",
        float(sample["counter_volume"]),
        f"{sample['timestamp']}Z",
        metadata["cpu_number"] if sample["counter_name"] == "cpu" else 0,
    )


def taken(bootstrap: str, prefix: str) -> dict[str, set[tuple[object, ...]]]:
    """Return by cloud what lies on the topic of samples."""
    found: dict[str, set[tuple[object, ...]]] = {}
    for record in read_topic(bootstrap, f"{prefix}.samples"):
        said = decode_samples(record.value() or b"")
        found.setdefault(said.vim_id, set()).update(
            (
                said.instance_id,
                each.meter,
                each.kind,
                each.unit,
                each.device,
                each.volume,
                each.at,
                each.vcpus,
            )
            for each in said.samples
        )
    return found
