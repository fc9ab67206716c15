"""The output with a topic for each project, on a real Kafka: what is of one topic is no other's."""

import uuid
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka.structs import ConsumerRecord
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.publisher.delivery import DeliveryError, Message, RefusedError
from streams.publisher.outputs import tenants
from streams.publisher.outputs.tenants import TenantsOutput
from tests.support.topics import read_topic
from vimfed.local.kafka import LocalKafka
from vimfed.settings import DmaapOutput, DmaapSettings, KafkaSettings, Settings

GOOD, NEW, BAD = (uuid.uuid4().hex for _ in range(3))


def message(project: str) -> Message:
    record = ConsumerRecord("events", 0, 0, 0, 1, b"k", b"{}", None, 0, 0, ())
    return Message(b"k", project.encode(), (), record, project_id=project)


@pytest.fixture
async def output(kafka: LocalKafka) -> AsyncIterator[TenantsOutput]:
    """An output of which Kafka refuses to make the topic of BAD: another's name is too alike."""
    url = f"kafka://{kafka.bootstrap}/t{uuid.uuid4().hex[:8]}.{{project_id}}.events"
    made = DmaapOutput(name="own", url=url, timeout=2)
    alike = NewTopic(made.topic_of_project(BAD).replace(".", "_"), 1, 1)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for future in admin.create_topics([alike]).values():
        future.result()
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka.bootstrap), dmaap=DmaapSettings(outputs=[made])
    )
    output = TenantsOutput(settings, made)
    yield output
    await output.close()


def taken(kafka: LocalKafka, output: TenantsOutput, project: str) -> list[bytes | None]:
    topic = output._output.topic_of_project(project)
    return [each.value() for each in read_topic(kafka.bootstrap, topic)]


def projects(messages: Sequence[Message]) -> set[str]:
    return {each.project_id for each in messages}


async def test_a_topic_that_takes_nothing_keeps_no_other_from_its_messages(
    kafka: LocalKafka, output: TenantsOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them = [message(each) for each in (GOOD, BAD, NEW)]
    with pytest.raises(DeliveryError) as failed:  # it may pass
        await output.deliver(all_of_them)
    assert projects(failed.value.taken) == {GOOD, NEW}
    monkeypatch.setattr(tenants, "PATIENCE", 0.0)
    with pytest.raises(RefusedError, match=output._output.topic_of_project(BAD)) as refused:
        await output.deliver(all_of_them)
    assert projects(refused.value.taken) == {GOOD, NEW}
    for project in (GOOD, NEW):
        assert set(taken(kafka, output, project)) == {project.encode()}

    async def asked(*_arguments: object) -> None:
        raise AssertionError("Kafka is asked about a topic that is passed over")

    monkeypatch.setattr(output, "_ensure", asked)
    with pytest.raises(RefusedError, match=output._output.topic_of_project(BAD)):
        await output.deliver([message(BAD)])
    assert taken(kafka, output, BAD) == []


async def test_a_cluster_that_does_not_answer_is_no_topics_own_fault(
    output: TenantsOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "PATIENCE", 0.0)

    async def silent(*_arguments: object) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(tenants, "output_findings", silent)
    for _ in range(2):
        with pytest.raises(DeliveryError):
            await output.deliver([message(BAD)])
