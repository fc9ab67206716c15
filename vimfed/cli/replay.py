"""``vimfed replay``: send recorded notifications as their sender did, through oslo.messaging.

A trace has one JSON object a line: ``routing_key``, the queue in which the message lay, e.g.
``notifications.info``; ``content_type``; and ``body``, the message body as text. It may be gzipped.
"""

import gzip
import json
import logging
import time
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import amqp
import click
import confluent_kafka
import msgspec
import oslo_messaging
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from kombu.exceptions import KombuError
from oslo_config import cfg
from oslo_messaging._drivers.impl_kafka import KafkaDriver
from rich.console import Console
from rich.progress import Progress

from bridge.rabbit.queue import is_transient_refused
from vimfed.cli.own_login import refuse_secret_argument
from vimfed.errors import OperatorError, UsageError
from vimfed.settings import check_transport_url, read_secret

LOG = logging.getLogger(__name__)

RETRIES = 2
"""How often RabbitMQ is tried again for one message before the replay gives up."""
DURABLE = "add amqp_durable_queues=true to the query of the URL (?… or &…)"
KAFKA_TIMEOUT = 30.0
"""Seconds without an acknowledgement from Kafka after which the replay gives up."""


class ReplayError(OperatorError):
    """The trace could not be read or sent as a whole; the text says how far it came."""


class RecordedMessage(msgspec.Struct, frozen=True):
    """One line of a trace."""

    routing_key: str
    body: str
    content_type: str = "application/json"


def read_trace(path: Path) -> Iterator[RecordedMessage]:
    """Yield the messages of a trace, plain or gzipped, in order.

    Raises UsageError where there is no such file, and ReplayError where it cannot be read; that
    names a line that is no recorded message.
    """
    number = 0
    decoder = msgspec.json.Decoder(RecordedMessage)
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as lines:
            for line in lines:
                number += 1
                recorded = decoder.decode(line)
                _unpack(recorded.body)
                yield recorded
    except (msgspec.DecodeError, ValueError) as error:
        raise ReplayError(f"{path}, line {number}: not a recorded message: {error}") from None
    except FileNotFoundError:
        raise UsageError(f"there is no trace {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ReplayError(f"cannot read {path} after line {number}: {error}") from None


def _unpack(body: str) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Return (context, message, format version) of a message body, as a driver wants them.

    The drivers pack the context into the message and add the envelope, each in its own way.
    Raises ValueError where the body is no oslo notification.
    """
    outer = json.loads(body)
    enveloped = isinstance(outer, dict) and "oslo.message" in outer
    message = json.loads(outer["oslo.message"]) if enveloped else outer
    if not isinstance(message, dict) or "event_type" not in message:
        raise ValueError("its body is not an oslo notification")
    context = message.pop("_context", {})  # as the Kafka driver packs it
    for key in [key for key in message if key.startswith("_context_")]:  # as RabbitMQ's does
        context[key.removeprefix("_context_")] = message.pop(key)
    return context, message, 2.0 if enveloped else 1.0


class Sender:
    """Sends recorded messages to one transport; ``with`` opens and closes the connection."""

    def __init__(self, url: str, exchange: str = "nova") -> None:
        self._url = url
        self._exchange = exchange
        self._sent = 0

    def __enter__(self) -> Self:
        self._transport = _transport(self._url)
        try:
            self._reports = _report_deliveries(self._transport)
        except ReplayError:
            self._transport.cleanup()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._transport.cleanup()

    def send(self, recorded: RecordedMessage) -> None:
        """Send one message. Raises ReplayError where it, or an earlier one, could not be sent."""
        context, message, version = _unpack(recorded.body)
        target = oslo_messaging.Target(exchange=self._exchange, topic=recorded.routing_key)
        try:
            self._transport._send_notification(target, context, message, version, retry=RETRIES)
        except (oslo_messaging.MessagingException, KombuError, amqp.AMQPError, OSError) as error:
            told: object = error
            if is_transient_refused(error):
                told = f"RabbitMQ refuses transient queues: {DURABLE}"
            raise ReplayError(
                f"message {self._sent + 1} could not be sent to {_bare(self._url)}: {told}"
            ) from None
        self._sent += 1

    def confirm(self) -> None:
        """Wait until the broker has acknowledged all. Raises ReplayError where it does not."""
        if self._reports is not None:  # RabbitMQ acknowledges each at once
            self._reports.check_all_delivered()


def replay(
    messages: Iterable[RecordedMessage],
    url: str,
    *,
    rate: float | None = None,
    exchange: str = "nova",
) -> int:
    """Send messages to an oslo.messaging transport and return how many they were.

    ``rate`` is in messages per second, as fast as possible by default. The broker has acknowledged
    all of them at the end. Raises ReplayError, and SettingsError for another URL.
    """
    sent = 0
    began = time.monotonic()
    with Sender(url, exchange) as sender:
        for sent, recorded in enumerate(messages, start=1):
            if rate is not None:
                time.sleep(max(0.0, began + (sent - 1) / rate - time.monotonic()))
            sender.send(recorded)
        sender.confirm()
    return sent


def _transport(url: str) -> oslo_messaging.Transport:
    check_transport_url("the URL", url)
    conf = cfg.ConfigOpts()
    conf([])
    return oslo_messaging.get_notification_transport(conf, url=url)


def _bare(url: str) -> str:
    """Return scheme and hosts of a transport URL: credentials must not be shown."""
    parts = urlsplit(url)
    hosts = ",".join(part.rpartition("@")[2] for part in parts.netloc.split(","))
    return f"{parts.scheme}://{hosts}"


class _ReportingProducer:
    """Stands before the Kafka driver's producer and remembers what was not delivered.

    The driver asks for no delivery reports: what Kafka refuses vanishes without a word.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._failure: str | None = None
        self._reported_at = time.monotonic()

    def produce(self, topic: str, value: bytes) -> None:
        try:
            self._producer.produce(topic, value, on_delivery=self._report)
        except BufferError:
            if time.monotonic() - self._reported_at > KAFKA_TIMEOUT:
                raise ReplayError(self._silence()) from None
            raise  # the driver waits and tries again
        except KafkaException as error:
            self._note_failure(topic, error.args[0])
            raise  # the driver logs it, and goes on

    def poll(self, timeout: float) -> int:
        self._raise_failure()
        return self._producer.poll(timeout)

    def flush(self) -> None:
        self._producer.flush(KAFKA_TIMEOUT)

    def check_all_delivered(self) -> None:
        """Wait for the acknowledgements. Raises ReplayError where one does not come."""
        if self._producer.flush(KAFKA_TIMEOUT):
            raise ReplayError(self._silence())
        self._raise_failure()

    def _report(self, error: KafkaError | None, message: "Message[bytes, bytes]") -> None:
        self._reported_at = time.monotonic()
        if error is not None:
            self._note_failure(message.topic(), error)

    def _note_failure(self, topic: str | None, error: KafkaError) -> None:
        self._failure = f"Kafka did not take a message for topic {topic}: {error.str()}"

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise ReplayError(self._failure)

    def _silence(self) -> str:
        return f"Kafka has not acknowledged {len(self._producer)} messages in {KAFKA_TIMEOUT:.0f} s"


def _report_deliveries(transport: oslo_messaging.Transport) -> _ReportingProducer | None:
    """Put a _ReportingProducer into the Kafka driver, if it is that; None for another.

    Raises ReplayError where Kafka is away.
    """
    if not isinstance(transport._driver, KafkaDriver):
        return None
    connection = transport._driver.pconn
    # The driver names a SASL mechanism even where it uses none: librdkafka would warn of that.
    driver_producer = confluent_kafka.Producer
    LOG.setLevel(logging.ERROR)
    confluent_kafka.Producer = partial(Producer, logger=LOG)  # type: ignore[misc, assignment]
    try:
        connection._ensure_producer()
    finally:
        confluent_kafka.Producer = driver_producer  # type: ignore[misc]
    try:
        connection.producer.list_topics(timeout=5)
    except KafkaException as error:
        hosts = ",".join(connection.hostaddrs)
        raise ReplayError(f"no Kafka answers at {hosts}: {error.args[0].str()}") from None
    connection.producer = reports = _ReportingProducer(connection.producer)
    return reports


def url_of(url: str | None, url_file: str | None) -> str:
    """Return the URL that is given, as an argument or in a file. Raises UsageError."""
    if (url is None) == (url_file is None):
        raise UsageError("give the transport's URL: --url-file FILE, or --url without a password")
    if url is None:
        return read_secret(url_file or "")
    refuse_secret_argument("--url", url, "write the URL into a file, --url-file FILE")
    return url


def run(trace: Path, url: str, rate: float | None, exchange: str) -> None:
    """Send a whole trace with a progress bar and say what was sent. Raises ReplayError.

    Nothing is sent of a trace of which a line is malformed.
    """
    total = sum(1 for _ in read_trace(trace))
    began = time.monotonic()
    with Progress(console=Console(stderr=True)) as progress:
        shown = progress.track(read_trace(trace), total, description=f"Replaying {trace.name}")
        sent = replay(shown, url, rate=rate, exchange=exchange)
    seconds = time.monotonic() - began
    pace = f"in {seconds:.1f} s ({sent / seconds:.0f}/s)"
    click.echo(f"{sent} messages of {trace} sent to {_bare(url)} {pace}")
