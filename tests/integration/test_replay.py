"""Recorded traces, sent to real brokers through oslo.messaging."""

import gzip
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import amqp
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.support.brokers import RabbitMQ
from tests.support.paths import DATA
from vimfed.cli import main
from vimfed.cli.replay import (
    RecordedMessage,
    ReplayError,
    _ReportingProducer,
    read_trace,
    replay,
)
from vimfed.errors import OperatorError
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports

TRACE = DATA / "nova-34-trace.jsonl.gz"


def recorded_messages(count: int, topic: str = "") -> list[RecordedMessage]:
    """Return the first messages of the trace, on queues of the test's own if it names a topic."""
    return [
        RecordedMessage(routing_key=topic + message.routing_key, body=message.body)
        for message in islice(read_trace(TRACE), count)
    ]


def inner(body: str | bytes) -> dict[str, Any]:
    """Return the oslo message in an envelope, without the id that each sending gets anew."""
    message: dict[str, Any] = json.loads(json.loads(body)["oslo.message"])
    message.pop("_unique_id", None)
    return message


def queued_bodies(rabbitmq: RabbitMQ, queue: str) -> Iterator[str]:
    with amqp.Connection(host=f"127.0.0.1:{rabbitmq.port}") as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            yield message.body


def topic_values(kafka: LocalKafka, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test-replay"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = [message.value() or b"" for message in consumer.consume(count, timeout=20)]
    consumer.close()
    return values


def test_rabbitmq_receives_every_message_as_it_was_recorded(rabbitmq: RabbitMQ) -> None:
    recorded = recorded_messages(300, "as-recorded.")
    assert replay(recorded, rabbitmq.url) == 300
    for queue in {message.routing_key for message in recorded}:
        expected = [inner(message.body) for message in recorded if message.routing_key == queue]
        assert [inner(body) for body in queued_bodies(rabbitmq, queue)] == expected


def test_kafka_receives_every_message_with_the_same_ids_times_and_request_ids(
    kafka: LocalKafka,
) -> None:
    recorded = recorded_messages(300, "as-recorded.")
    assert replay(recorded, f"kafka://{kafka.bootstrap}") == 300
    for topic in {message.routing_key for message in recorded}:
        expected = [inner(message.body) for message in recorded if message.routing_key == topic]
        received = [inner(value) for value in topic_values(kafka, topic, len(expected))]
        for message in received:
            context = message.pop("_context")
            message.update({f"_context_{key}": value for key, value in context.items()})
        assert received == expected


def test_a_trace_that_was_recorded_on_kafka_is_replayed_alike(kafka: LocalKafka) -> None:
    body = json.dumps(
        {
            "oslo.version": "2.0",
            "oslo.message": json.dumps({"event_type": "x", "_context": {"request_id": "req-1"}}),
        }
    )
    replay([RecordedMessage("from-kafka.info", body)], f"kafka://{kafka.bootstrap}")
    (value,) = topic_values(kafka, "from-kafka.info", 1)
    assert inner(value) == {"event_type": "x", "_context": {"request_id": "req-1"}}


def test_a_message_without_envelope_is_sent_without_one(rabbitmq: RabbitMQ) -> None:
    replay([RecordedMessage("bare.info", '{"event_type": "x", "payload": 1}')], rabbitmq.url)
    (body,) = queued_bodies(rabbitmq, "bare.info")
    message = json.loads(body)
    assert message.pop("_unique_id")
    assert message == {"event_type": "x", "payload": 1}


def test_the_rate_bounds_the_pace(rabbitmq: RabbitMQ) -> None:
    began = time.monotonic()
    replay(recorded_messages(30, "paced."), rabbitmq.url, rate=100)
    assert time.monotonic() - began >= 0.29


def sent_by_command(trace: Path, rabbitmq: RabbitMQ) -> Result:
    """Run the command; its URL, which has a password, is in a file."""
    file = trace.with_name("url")
    file.write_text(rabbitmq.url)
    return CliRunner().invoke(main, ["replay", str(trace), "--url-file", str(file)])


def test_the_command_sends_a_plain_trace_and_says_how_many(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.jsonl"
    with gzip.open(TRACE) as lines:
        trace.write_bytes(
            b"".join(islice(lines, 20)).replace(b'"versioned_', b'"command.versioned_')
        )
    result = sent_by_command(trace, rabbitmq)
    assert result.exit_code == 0, result.output
    assert f"20 messages of {trace} sent to rabbit://127.0.0.1:{rabbitmq.port}" in result.stdout
    assert "guest" not in result.output


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"routing_key": "notifications.info"', "line 2: not a recorded message: "),
        (b'{"routing_key": "notifications.info"}', "missing required field `body`"),
        (b'{"routing_key": "n.info", "body": "no JSON"}', "line 2: not a recorded message: "),
        (b'{"routing_key": "n.info", "body": "[]"}', "line 2: .*not an oslo notification"),
        (b"", "line 2: not a recorded message: "),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_sent(
    rabbitmq: RabbitMQ, tmp_path: Path, line: bytes, complaint: str
) -> None:
    trace = tmp_path / "trace.jsonl"
    good = b'{"routing_key": "malformed.info", "body": "{\\"event_type\\": \\"x\\"}"}\n'
    trace.write_bytes(good + line + b"\n" + good)
    result = sent_by_command(trace, rabbitmq)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"vimfed: {trace}, line 2: ")
    with pytest.raises(ReplayError, match=complaint):
        list(read_trace(trace))
    with amqp.Connection(host=f"127.0.0.1:{rabbitmq.port}") as connection:
        channel = connection.channel()
        with pytest.raises(amqp.NotFound):
            channel.basic_get("malformed.info")


def test_a_cut_gzip_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl.gz"
    trace.write_bytes(TRACE.read_bytes()[:100_000])
    with pytest.raises(ReplayError, match=r"after line \d+: .*end-of-stream"):
        list(read_trace(trace))


def test_a_missing_trace_is_one_clear_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.jsonl"
    result = CliRunner().invoke(main, ["replay", str(missing), "--url", "rabbit://127.0.0.1/"])
    assert result.exit_code == 2
    assert result.stderr == f"vimfed: there is no trace {missing}\n"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1/", "must begin with rabbit:// or kafka://"),
        ("rabbit://user:secret@127.0.0.1:x/", "the URL must look like rabbit://"),
        ("rabbit://user:secret/half@127.0.0.1/", "written otherwise: / as %2F"),
        ("rabbit://user:secret@127.0.0.1:{port}/", "message 1 could not be sent to rabbit://127"),
        ("kafka://user:secret@127.0.0.1:{port}", "no Kafka answers at 127"),
    ],
)
def test_a_transport_that_cannot_be_used_is_an_error_without_its_password(
    url: str, complaint: str
) -> None:
    (port,) = free_ports(1)
    with pytest.raises(OperatorError, match=complaint) as caught:
        replay(recorded_messages(1), url.format(port=port))
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_an_error(rabbitmq: RabbitMQ) -> None:
    url = f"rabbit://guest:wrong@127.0.0.1:{rabbitmq.port}/"
    with pytest.raises(ReplayError, match=r"could not be sent .*ACCESS_REFUSED"):
        replay(recorded_messages(1), url)


def test_a_queue_of_another_kind_is_an_error(rabbitmq: RabbitMQ) -> None:
    messages = recorded_messages(1, "durable.")
    replay(messages, f"{rabbitmq.url}?amqp_durable_queues=true", exchange="durable-nova")
    with pytest.raises(ReplayError, match=r"could not be sent .*PRECONDITION_FAILED"):
        replay(messages, rabbitmq.url, exchange="durable-nova")


def test_what_kafka_is_known_to_refuse_is_an_error() -> None:
    class Refusing:
        """librdkafka's producer once it knows that there is no such topic: it raises at once."""

        def produce(self, *_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))

        def flush(self, _timeout: float) -> int:
            return 0

    producer = _ReportingProducer(cast(Producer, Refusing()))
    with pytest.raises(KafkaException):
        producer.produce("no such topic!", b"{}")
    with pytest.raises(ReplayError, match="did not take a message for topic no such topic!"):
        producer.check_all_delivered()


def test_what_kafka_refuses_is_an_error(kafka: LocalKafka) -> None:
    message = RecordedMessage("no such topic!.info", '{"event_type": "x"}')
    with pytest.raises(ReplayError, match="did not take a message for topic no such topic!"):
        replay([message], f"kafka://{kafka.bootstrap}")
