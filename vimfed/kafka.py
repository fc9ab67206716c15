"""Connections to Kafka, made one way everywhere, and the creation of the job's topics."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from vimfed.errors import OperatorError
from vimfed.settings import KafkaSettings, SettingsError
from vimfed.topics import TopicSpec, topic_specs

MAX_RECORD_BYTES = 1_000_000
"""Largest record that we produce: below the broker's default message.max.bytes (1,048,588)."""
CLOSE_TIMEOUT = 2.0
"""Seconds that closing a connection may take."""
DESCRIBE_ATTEMPTS = 10
METADATA_PAUSE = 0.5


class OutgoingRecord(msgspec.Struct, frozen=True, gc=False):
    """A record on its way to a topic of the job."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class CertificateError(SettingsError, OSError):
    """A certificate or key cannot be used; who is running tries again, it may just be replaced."""


class TopicMismatchError(OperatorError):
    """A topic exists, but not as the job needs it; the text says how to mend it."""


class TopicUnavailableError(OperatorError):
    """A topic cannot be read, since it or its brokers are not there."""


class TopicDeniedError(TopicMismatchError):
    """We may not create a topic."""


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client of this cluster takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = ssl_context(kafka)
    if kafka.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.username
        options["sasl_plain_password"] = kafka.password
    return options


def no_broker(kafka: KafkaSettings) -> str:
    """Return the words for a cluster to which aiokafka found no way; it does not tell why."""
    words = f"no broker answers at {kafka.bootstrap}"
    if kafka.security_protocol == "PLAINTEXT":
        return words
    return f"{words} over {kafka.security_protocol}, or it refuses certificate, user or password"


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return the TLS context for the brokers of ``kafka``."""
    return tls_context(kafka.ca_file, kafka.cert_file, kafka.key_file)


def tls_context(ca_file: str, cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return the TLS context of a client; the arguments are PEM files, empty: none.

    Raises CertificateError.
    """
    what = f"ca_file {ca_file}"
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        what = f"cert_file {cert_file} with key_file {key_file or cert_file}"
        if cert_file:
            context.load_cert_chain(cert_file, key_file or None)
    except OSError as error:  # it does not name the file itself
        raise CertificateError(f"cannot use {what}: {error.strerror}") from None
    return context


def idempotent_producer(kafka: KafkaSettings, **options: Any) -> AIOKafkaProducer:
    """Return an unstarted producer that loses and repeats nothing while it lives.

    ``linger_ms`` stays 0: who awaits each batch would wait the linger out.
    """
    producer = AIOKafkaProducer(
        **client_options(kafka),
        acks="all",
        enable_idempotence=True,
        max_batch_size=MAX_RECORD_BYTES,
        max_request_size=MAX_RECORD_BYTES,
        **options,
    )
    pace_metadata_updates(producer.client)
    return producer


def pace_metadata_updates(client: AIOKafkaClient) -> None:
    """Let a client pause after it has reached no broker.

    aiokafka's producer asks for the metadata again at once: a whole core, and a thousand log
    records a second, as long as Kafka is away.
    """
    update = client._metadata_update

    async def paced(*arguments: Any) -> bool:
        updated: bool = await update(*arguments)
        if not updated:
            await asyncio.sleep(METADATA_PAUSE)
        return updated

    client._metadata_update = paced


async def close_undelivered(producer: AIOKafkaProducer) -> None:
    """Close a producer within some seconds, without delivering what it still holds."""
    # stop() alone waits until everything is delivered, which may be never.
    await producer.client.close()
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()  # it still awaits the requests that are under way
        await asyncio.wait([sender], timeout=CLOSE_TIMEOUT)
        sender.cancel()
        await asyncio.wait([sender])
    await producer.stop()


async def ensure_topics(kafka: KafkaSettings) -> list[str]:
    """Create the job's topics where they are missing, and check those that exist.

    Returns the names of the topics that were created. Raises TopicMismatchError where a topic has
    another partition count: keys would land elsewhere than their rows. Must be done before a
    worker starts: Faust never picks up a topic that appears later.
    """
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        specs = topic_specs(kafka)
        created = [spec.name for spec in specs if await _create(admin, spec)]
        await _check(admin, specs)
        return created
    finally:
        await admin.close()


async def ensure_topic(kafka: KafkaSettings, spec: TopicSpec) -> bool:
    """Create one topic where it is missing; return whether it was. It may be like anything.

    Where we may not create topics, it is taken to exist.
    """
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        return await _create(admin, spec)
    except TopicDeniedError:
        return False
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, spec: TopicSpec) -> bool:
    new = NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=spec.configs)
    response = await admin.create_topics([new])
    _topic, code, *message = response.topic_errors[0]
    if code == TopicAlreadyExistsError.errno:
        return False
    if code in (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno):
        raise TopicDeniedError(f"not allowed to create topic {spec.name}")
    if code:
        raise TopicMismatchError(f"cannot create topic {spec.name}: {message[0] or code}")
    return True


async def _described(admin: AIOKafkaAdminClient, names: list[str]) -> list[dict[str, Any]]:
    """Describe topics as soon as the broker knows them: it learns of a new one after a moment."""
    for attempt in range(DESCRIBE_ATTEMPTS):
        topics: list[dict[str, Any]] = await admin.describe_topics(names)
        unknown = [topic["topic"] for topic in topics if topic["error_code"]]
        if not unknown:
            return topics
        await asyncio.sleep(0.1 * (attempt + 1))
    raise KafkaConnectionError(f"the brokers do not know {', '.join(unknown)} yet")


async def check_topic(kafka: KafkaSettings, name: str) -> None:
    """Check that one of the job's topics is there as the settings say, before it is read.

    Whoever asks for offsets of a topic that is not there may make it, as the brokers would. Raises
    TopicUnavailableError and TopicMismatchError.
    """
    admin = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
        if name not in await admin.list_topics():
            raise TopicUnavailableError(
                f"there is no topic {name}: a bridge or worker makes it when it is started; is "
                "kafka.topic_prefix right?"
            )
        await _check(admin, [spec for spec in topic_specs(kafka) if spec.name == name])
    except KafkaConnectionError:
        raise TopicUnavailableError(f"{no_broker(kafka)}: is kafka.bootstrap right?") from None
    finally:
        await admin.close()


async def _check(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    for described in await _described(admin, [spec.name for spec in specs]):
        wanted = next(spec for spec in specs if spec.name == described["topic"])
        partitions = len(described["partitions"])
        if partitions != wanted.partitions:
            raise TopicMismatchError(
                f"topic {wanted.name} has {partitions} partitions, the settings say "
                f"kafka.partitions = {wanted.partitions}. Instances are spread by that number, so "
                f"it cannot be changed later: set kafka.partitions = {partitions}, or choose a new "
                "kafka.topic_prefix and start afresh"
            )
