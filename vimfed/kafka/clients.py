"""Connections to Kafka, made one way everywhere."""

import asyncio
import math
from functools import partial
from typing import Any

import aiokafka.admin.client
import aiokafka.client
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.metadata import MetadataRequest

from vimfed.errors import OperatorError
from vimfed.kafka.rights import refusal, user_of
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.process.tls import tls_context
from vimfed.settings import KafkaConnection, KafkaSettings

CLOSE_TIMEOUT = 2.0
"""Seconds that closing a connection may take."""
METADATA_PAUSE = 0.5
FETCHER_LOOK_EVERY = 5.0
"""Seconds between two looks of an idle consumer whether there is something to fetch.

aiokafka looks every 0.2 s, though it is woken by whatever there is: records that were taken, seeks,
assignments, partitions that are read again, new metadata.
"""


def _make_no_topics() -> None:
    """Let no client of this process have a topic made by asking for it.

    aiokafka allows that with each request for metadata: what lost its topic would make it anew,
    with as many partitions as the brokers like. Faust's clients are aiokafka's, too.
    """
    for module in (aiokafka.client, aiokafka.admin.client):
        module.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)


_make_no_topics()


def _write_to_no_reset_connection() -> None:
    """Let no client of this process write to a connection that has been reset.

    aiokafka hears of the reset some rounds of the event loop later. Until then asyncio drops what
    is written; uvloop raises a RuntimeError, of which aiokafka's routines end for good.
    """
    send = AIOKafkaConnection.send

    def send_if_open(connection: AIOKafkaConnection, *arguments: Any, **options: Any) -> Any:
        writer = connection._writer
        if writer is not None and writer.transport.is_closing():
            connection.close(CloseReason.CONNECTION_BROKEN)  # so that aiokafka raises its own error
        return send(connection, *arguments, **options)

    AIOKafkaConnection.send = send_if_open


_write_to_no_reset_connection()


class OutgoingRecord(msgspec.Struct, frozen=True, gc=False):
    """A record on its way to a topic of the job."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class TopicMismatchError(OperatorError):
    """A topic exists, but not as the job needs it; the text says how to mend it."""


class TopicUnavailableError(OperatorError):
    """A topic cannot be read, since it or its brokers are not there."""


class AccessDeniedError(TopicMismatchError):
    """We may not do with a topic or group what we have to; the text names it and the right."""


def client_options(kafka: KafkaConnection) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client of this cluster takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.is_tls:
        options["ssl_context"] = tls_context(kafka)
    if kafka.login is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.login.username
        options["sasl_plain_password"] = kafka.login.password.reveal()
    return options


def no_broker(kafka: KafkaConnection) -> str:
    """Return the words for a cluster to which aiokafka found no way; it does not tell why."""
    words = f"no broker answers at {kafka.bootstrap}"
    if kafka.security_protocol == "PLAINTEXT":
        return words
    return f"{words} over {kafka.security_protocol}, or it refuses certificate, user or password"


def new_admin(kafka: KafkaConnection) -> AIOKafkaAdminClient:
    """Return an admin client, not yet started."""
    return AIOKafkaAdminClient(**client_options(kafka))


def new_consumer(kafka: KafkaConnection, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """Return an unstarted consumer that commits only when it is told to.

    It begins at the oldest record that is left, also where retention was faster than it. The
    options are further ones of aiokafka's consumer.
    """
    own = {"enable_auto_commit": False, "auto_offset_reset": "earliest", **client_options(kafka)}
    consumer = AIOKafkaConsumer(*topics, **{**own, **options})
    prepare_consumer(consumer)
    return consumer


def prepare_consumer(consumer: AIOKafkaConsumer) -> None:
    """Mend what aiokafka's consumer does where brokers are away; before it is started."""
    pace_metadata_updates(consumer._client)
    _let_stop(consumer)


def _let_stop(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer be stopped whose fetch has failed, and waits to be tried again.

    aiokafka cancels that wait and lets its CancelledError out of ``stop``: whoever stopped the
    consumer ends as if it were cancelled itself, and the connections stay open.
    """
    stop = consumer.stop

    async def whole_stop() -> None:
        try:
            await stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            fetches = consumer._fetcher._pending_tasks
            for fetch in fetches:
                fetch.cancel()
            await asyncio.gather(*fetches, return_exceptions=True)
            await consumer._client.close()

    consumer.stop = whole_stop


def idempotent_producer(kafka: KafkaConnection, **options: Any) -> AIOKafkaProducer:
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


def wait_for_leaders(producer: AIOKafkaProducer) -> None:
    """Let what a producer has taken wait for as long as its partition has no leader.

    aiokafka gives that up after the time of one request, and whoever awaits it has to end. Where
    brokers freeze or are gone without a word it waits for any time, as nothing else helps there.
    """
    producer._message_accumulator._batch_ttl = math.inf


def leaderless(producer: AIOKafkaProducer) -> list[str]:
    """Return the partitions, as topic-number, without a leader for which records wait."""
    cluster, batches = producer.client.cluster, producer._message_accumulator._batches
    return sorted(
        f"{tp.topic}-{tp.partition}"
        for tp, waiting in list(batches.items())
        if waiting and cluster.leader_for_partition(tp) in (None, -1)
    )


def own_compression(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the option of a producer that writes to the job's own topics in batches."""
    return {"compression_type": None if kafka.compression == "none" else kafka.compression}


def pace_metadata_updates(client: AIOKafkaClient) -> None:
    """Let a client pause after it has reached no broker.

    aiokafka's producer, and its consumer in a group, ask for the metadata again at once: a whole
    core, and thousands of log records a second, as long as Kafka is away.
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


def refusal_of(kafka: KafkaConnection, error: BaseException, operation: str) -> str | None:
    """Return one line for an error by which Kafka refuses ``operation``; None: it is another."""
    if isinstance(error, TopicAuthorizationFailedError):
        topics = error.args[0] if error.args else "?"
        names = [topics] if isinstance(topics, str) else sorted(topics)
        return refusal(kafka, "topic", ", ".join(names), operation)
    if isinstance(error, ClusterAuthorizationFailedError):  # of an idempotent producer
        return (
            f"{user_of(kafka)} lacks the right Write on each topic, or, before Kafka 3.0, the "
            "right IdempotentWrite on the cluster: grant it; vimfed topics prints the commands"
        )
    if isinstance(error, GroupAuthorizationFailedError):
        return refusal(kafka, "group", str(error.args[0] if error.args else "?"), "Read")
    return None
