"""Oslo notifications for the tests, and senders that know what the broker has taken."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import amqp
from confluent_kafka import Producer

from vimfed.nova.oslo import PRIORITIES

EXCHANGE = "nova"
TOPICS = ("notifications", "versioned_notifications")
QUEUE = "notifications.info"


def body(
    *,
    message_id: str | None = None,
    instance_id: str = "4f398943-7d39-4119-8058-74768d6dfa52",
    event_type: str = "compute.instance.update",
    payload: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    size: int = 1000,
    **fields: Any,
) -> bytes:
    """Return one body in oslo's envelope; ``size`` pads the payload, ``fields`` override."""
    message = {
        "message_id": message_id or str(uuid.uuid4()),
        "publisher_id": "compute.host1",
        "event_type": event_type,
        "priority": "INFO",
        "payload": {"instance_id": instance_id, **(payload or {}), "padding": "x" * size},
        "timestamp": "2026-01-01 12:00:00.123456",
        "_unique_id": uuid.uuid4().hex,
        "_context_request_id": "req-1",
        **{f"_context_{key}": value for key, value in (context or {}).items()},
        **fields,
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def service(event_type: str = "service.update", **said: Any) -> bytes:
    """Return nova's versioned notification of a service, as it is sent; ``said`` overrides."""
    data = {
        "host": "compute01",
        "binary": "nova-compute",
        "topic": "compute",
        "report_count": 7,
        "disabled": False,
        "disabled_reason": None,
        "availability_zone": None,
        "last_seen_up": "2026-01-01T12:00:00Z",
        "forced_down": False,
        "version": 68,
        "uuid": "fafac544-c29b-4ae8-8a8a-9b1a2b3c4d5e",
        **said,
    }
    payload = {
        "nova_object.name": "ServiceStatusPayload",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.1",
        "nova_object.data": data,
    }
    message = {
        "message_id": str(uuid.uuid4()),
        "publisher_id": "nova-compute:compute01",
        "event_type": event_type,
        "timestamp": "2026-01-01 12:00:00.123456",
        "priority": "INFO",
        "payload": payload,
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def numbered(count: int, *, instances: int = 50, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (message_id, body); the id ``m-<n>``, and per instance a growing ``number``."""
    for number in range(first, first + count):
        message_id = f"m-{number}"
        yield (
            message_id,
            body(
                message_id=message_id,
                instance_id=f"instance-{number % instances}",
                payload={"number": number},
            ),
        )


class RabbitSender:
    """Publishes bodies as nova does, and waits until RabbitMQ has confirmed each.

    ``send`` connects anew while the broker is away; a body that was not confirmed is sent again,
    as a sender that wants to lose nothing would.
    """

    def __init__(self, url: str, *, exchange: str = EXCHANGE, durable: bool = False) -> None:
        parts = urlsplit(url)
        self._options = {
            "host": f"{parts.hostname}:{parts.port}",
            "userid": parts.username,
            "password": parts.password,
            "virtual_host": parts.path.lstrip("/") or "/",
            "connect_timeout": 5,
            "read_timeout": 10,
        }
        self._exchange = exchange
        self._durable = durable
        self._connection: amqp.Connection | None = None
        self._channel: Any = None

    def send(self, content: bytes, queue: str = QUEUE, **properties: Any) -> None:
        """Return when the broker has the body; ``queue`` is <topic>.<priority>."""
        properties.setdefault("content_type", "application/json")
        message = amqp.Message(content, delivery_mode=2, **properties)
        while True:
            try:
                channel = self._opened()
                channel.basic_publish_confirm(message, self._exchange, routing_key=queue)
            except (OSError, amqp.AMQPError):
                self.close()
                time.sleep(0.1)
            else:
                return

    def send_all(self, contents: Iterable[bytes], queue: str = QUEUE) -> None:
        """Send many quickly; the answer to the channel's closing vouches for all of them."""
        channel = self._opened().connection.channel()
        publish = channel._basic_publish  # does not wait for each confirmation
        for content in contents:
            message = amqp.Message(content, delivery_mode=2, content_type="application/json")
            publish(message, self._exchange, queue)
        channel.close()

    def declare_pool(self, pool: str, topics: Iterable[str] = TOPICS) -> None:
        """Make a pool's queue as the bridge's first start would, so that messages wait in it."""
        channel = self._opened()
        channel.queue_declare(pool, durable=self._durable, auto_delete=False)
        for topic in topics:
            for priority in PRIORITIES:
                channel.queue_bind(pool, self._exchange, f"{topic}.{priority}")

    def declare_exchange(self) -> None:
        """Make the exchange, as nova does at its start."""
        self._opened()

    def depth(self, pool: str) -> int:
        """Return how many messages wait in a queue; those that are being handled do not count."""
        return int(self._opened().queue_declare(pool, passive=True).message_count)

    def consumers(self, pool: str) -> int:
        """Return how many consumers a queue has."""
        return int(self._opened().queue_declare(pool, passive=True).consumer_count)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.collect()
            self._connection = self._channel = None

    def _opened(self) -> Any:
        if self._connection is None:
            self._connection = amqp.Connection(**self._options, confirm_publish=True)
            self._connection.connect()
            self._channel = self._connection.channel()
            self._channel.exchange_declare(
                self._exchange, "topic", durable=self._durable, auto_delete=False
            )
        return self._channel


@contextmanager
def rabbit_sender(url: str, **options: Any) -> Iterator[RabbitSender]:
    """Yield a RabbitSender and close it."""
    sender = RabbitSender(url, **options)
    try:
        yield sender
    finally:
        sender.close()


def send_to_kafka(
    bootstrap: str, topic: str, contents: Iterable[bytes | None], *, partition: int = 0
) -> None:
    """Send bodies as oslo's Kafka driver does, without keys; return when all are acknowledged."""
    failed: list[str] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.max.bytes": 3_000_000}
    )
    for content in contents:
        producer.produce(
            topic,
            content,
            partition=partition,
            on_delivery=lambda error, _message: failed.append(str(error)) if error else None,
        )
        producer.poll(0)
    if producer.flush(30) or failed:
        raise RuntimeError(f"not all messages were taken: {failed[:1]}")
