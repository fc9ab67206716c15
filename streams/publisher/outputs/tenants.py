"""The output to a topic for each project, on a Kafka cluster."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from streams.publisher.delivery import DeliveryError, Message, RefusedError
from streams.publisher.outputs.kafka import one_line
from vimfed.kafka.aio import (
    AIOKafkaProducer,
    KafkaError,
    ProducerClosed,
    TopicAuthorizationFailedError,
)
from vimfed.kafka.appending import RECORD_REFUSALS, append_all
from vimfed.kafka.clients import (
    AccessDeniedError,
    OutgoingRecord,
    TopicMismatchError,
    refusal_of,
)
from vimfed.kafka.cluster_check import output_findings
from vimfed.kafka.outputs import dmaap_cluster
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.renewed_producer import RenewedProducer
from vimfed.kafka.topic_checks import ensure_topic
from vimfed.kafka.topic_settings import Finding
from vimfed.kafka.topics import TopicSpec
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import DmaapOutput, Settings

LOG = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which a topic that fails, on a cluster that answers, is passed over."""
REFUSED_FOR = 300.0
"""Seconds for which it is: what comes for it is refused, and nobody else's waits for it."""

_FAILURES = (KafkaError, OSError, TimeoutError, TopicMismatchError, AssertionError)
"""Of a topic or a cluster. AssertionError: aiokafka does not know a partition (yet)."""
_DENIALS = (AccessDeniedError, TopicAuthorizationFailedError)
"""What does not pass by itself, and is one topic's own."""


class TenantsOutput:
    """Appends each message to the topic of its project, which is created where it is missing."""

    request_bytes = 100 * MAX_RECORD_BYTES  # aiokafka splits as it needs

    def __init__(self, settings: Settings, output: DmaapOutput) -> None:
        self._output = output
        self._cluster = dmaap_cluster(settings, output)
        self._replication = settings.kafka.replication
        self._there: set[str] = set()
        """Topics that were there when they were last looked for."""
        self._failing: dict[str, tuple[float, float]] = {}
        """Topics that take nothing: since when, and when that was last seen (monotonic)."""
        self._refused: dict[str, tuple[float, str]] = {}
        """Topics that are passed over until they take something: until when (monotonic), and why;
        then one attempt is made."""
        self._preparing = asyncio.Lock()
        self._producers = RenewedProducer(self._cluster, output.timeout)

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Return when each topic has acknowledged its own. Raises DeliveryError or RefusedError.

        What is said of one topic keeps no other from getting its messages.
        """
        by_topic: dict[str, list[Message]] = {}
        for message in messages:
            topic = self._output.topic_of_project(message.project_id)
            by_topic.setdefault(topic, []).append(message)
        try:
            producer = await self._producers.started()
        except _FAILURES as error:
            raise self._failure(error) from error
        appends = {
            topic: asyncio.ensure_future(self._append(producer, topic, share))
            for topic, share in by_topic.items()
        }
        try:
            await asyncio.wait(appends.values())
        except asyncio.CancelledError:
            # What is under way may still be written: a second writer must not mix with it.
            for append in appends.values():
                append.cancel()
            self._producers.abandon(producer)
            raise
        failures = {topic: e for topic, each in appends.items() if (e := each.exception())}
        if any(error.__cause__ for error in failures.values()):
            # An idempotent producer does not go on after a failure. Now that all have ended, none
            # of them fails for it; those of other partitions try again.
            self._producers.abandon(producer)
        if failures:
            self._raise(failures, by_topic)

    def _raise(
        self, failures: Mapping[str, BaseException], by_topic: Mapping[str, Sequence[Message]]
    ) -> None:
        """Raise what is to be tried again before what is refused; name what others have taken."""
        taken = [
            each for topic, share in by_topic.items() if topic not in failures for each in share
        ]
        errors = sorted(failures.values(), key=lambda error: isinstance(error, RefusedError))
        first = errors[0]
        if isinstance(first, RefusedError):
            raise RefusedError(str(first), taken) from first
        if isinstance(first, DeliveryError):
            raise DeliveryError(str(first), too_slow=first.too_slow, taken=taken) from first
        raise first

    async def close(self) -> None:
        """Close the connections within some seconds."""
        await self._producers.close()

    async def _append(
        self, producer: AIOKafkaProducer, topic: str, messages: Sequence[Message]
    ) -> None:
        """Append to one topic. Raises DeliveryError or RefusedError."""
        until, why = self._refused.get(topic, (0.0, ""))
        if time.monotonic() < until:
            raise RefusedError(f"topic {topic}: {why}")
        try:
            await self._ensure(topic)
            async with asyncio.timeout(self._output.timeout):
                await append_all(producer, await _records(producer, topic, messages))
        except RECORD_REFUSALS as error:
            raise RefusedError(f"topic {topic}: {error!r}") from error
        except _DENIALS as error:
            raise self._pass_over(topic, self._failure(error)) from error
        except ProducerClosed as error:  # by what another partition met
            raise self._failure(error) from error
        except _FAILURES as error:
            failure = self._failure(error)
            if await self._is_its_own_fault(topic):
                raise self._pass_over(topic, failure) from error
            raise failure from error
        self._failing.pop(topic, None)
        self._refused.pop(topic, None)

    async def _ensure(self, topic: str) -> None:
        """Make a topic that is missing. Raises TopicMismatchError or KafkaError."""
        if topic in self._there:
            return
        async with self._preparing:
            if topic in self._there:
                return
            async with asyncio.timeout(self._output.timeout):
                if await ensure_topic(self._cluster, TopicSpec(topic, 1, self._replication)):
                    LOG.info("created topic %s", topic)
            self._there.add(topic)

    async def _is_its_own_fault(self, topic: str) -> bool:
        """Return whether a topic has failed for long, while the cluster answers."""
        self._there.discard(topic)
        now = time.monotonic()
        since, last = self._failing.get(topic, (now, now))
        if now - last > PATIENCE + self._output.timeout:  # of another time
            since = now
        self._failing[topic] = (since, now)
        if now - since < PATIENCE and topic not in self._refused:
            return False
        try:
            async with asyncio.timeout(self._output.timeout):
                await output_findings(self._cluster, (), ())
        except (KafkaError, OSError, TimeoutError):
            self._failing.clear()  # so nothing is known of any topic
            return False
        return True

    def _pass_over(self, topic: str, failure: DeliveryError) -> RefusedError:
        """Refuse what comes for a topic for a while; return what is said of it."""
        self._there.discard(topic)
        self._refused[topic] = (time.monotonic() + REFUSED_FOR, str(failure))
        LOG.error(
            "output %s: topic %s takes nothing: %s; what comes for it in the next %.0f s is "
            "dead-lettered, other projects' topics go on",
            self._output.name,
            topic,
            failure,
            REFUSED_FOR,
        )
        return RefusedError(f"topic {topic}: {failure}")

    def _failure(self, error: BaseException) -> DeliveryError:
        reason = refusal_of(self._cluster, error, "Write") or one_line(error)
        return DeliveryError(f"{self._cluster.bootstrap}: {reason}")


async def _records(
    producer: AIOKafkaProducer, topic: str, messages: Sequence[Message]
) -> list[OutgoingRecord]:
    """Return what is written. Raises RefusedError where one is too large."""
    partitions = len(await producer.partitions_for(topic))
    records = []
    for message in messages:
        if len(message.value) > MAX_RECORD_BYTES:
            raise RefusedError(f"{len(message.value)} bytes, a record takes {MAX_RECORD_BYTES}")
        partition = partition_of(message.key, partitions)
        records.append(
            OutgoingRecord(topic, partition, message.key, message.value, message.headers)
        )
    return records


async def probe(settings: Settings, output: DmaapOutput) -> list[Finding]:
    """Return nothing: projects' topics are made as they are needed. Raises KafkaError."""
    return await output_findings(dmaap_cluster(settings, output), (), ())
