"""The output to a topic of a Kafka cluster, DMaaP's native interface."""

import asyncio
import logging
from collections.abc import Sequence

from streams.publisher.delivery import DeliveryError, Message, RefusedError
from vimfed.kafka.aio import AIOKafkaProducer, KafkaError, KafkaTimeoutError
from vimfed.kafka.appending import RECORD_REFUSALS, append_all
from vimfed.kafka.clients import OutgoingRecord, TopicMismatchError, refusal_of
from vimfed.kafka.cluster_check import output_findings
from vimfed.kafka.outputs import dmaap_cluster, output_topic
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.renewed_producer import RenewedProducer
from vimfed.kafka.rights import output_needs
from vimfed.kafka.topic_checks import ensure_topic
from vimfed.kafka.topic_settings import Finding
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import DmaapOutput, Settings

LOG = logging.getLogger(__name__)


class KafkaOutput:
    """Appends messages to the output's topic, which is created where it is missing."""

    request_bytes = 100 * MAX_RECORD_BYTES  # aiokafka splits as it needs

    def __init__(self, settings: Settings, output: DmaapOutput) -> None:
        self._output = output
        self._cluster = dmaap_cluster(settings, output)
        self._spec = output_topic(settings, output)
        self._topic_ready = False
        self._preparing = asyncio.Lock()
        self._producers = RenewedProducer(self._cluster, output.timeout)

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Return when the cluster has acknowledged all. Raises DeliveryError or RefusedError."""
        producer: AIOKafkaProducer | None = None
        sending = False
        try:
            await self._ensure_topic()
            producer = await self._producers.started()
            sending = True
            async with asyncio.timeout(self._output.timeout):
                await append_all(producer, await self._records(producer, messages))
        except RECORD_REFUSALS as error:
            self._producers.abandon(producer)
            raise RefusedError(f"topic {self._spec.name}: {error!r}") from error
        except (KafkaError, OSError, TimeoutError, TopicMismatchError, AssertionError) as error:
            # AssertionError: aiokafka's way of saying that a partition is not known (yet).
            self._producers.abandon(producer)
            too_slow = sending and isinstance(error, TimeoutError | KafkaTimeoutError)
            reason = refusal_of(self._cluster, error, "Write") or _one_line(error)
            raise DeliveryError(
                f"{self._cluster.bootstrap}: {reason}", too_slow=too_slow
            ) from error
        except asyncio.CancelledError:
            # What is under way may still be written: a second writer must not mix with it.
            self._producers.abandon(producer)
            raise

    async def close(self) -> None:
        """Close the connections within some seconds."""
        await self._producers.close()

    async def _ensure_topic(self) -> None:
        async with self._preparing:
            if not self._topic_ready:
                async with asyncio.timeout(self._output.timeout):
                    if await ensure_topic(self._cluster, self._spec):
                        LOG.info("created topic %s", self._spec.name)
                self._topic_ready = True

    async def _records(
        self, producer: AIOKafkaProducer, messages: Sequence[Message]
    ) -> list[OutgoingRecord]:
        topic = self._spec.name
        partitions = len(await producer.partitions_for(topic))
        for message in messages:
            if len(message.value) > MAX_RECORD_BYTES:
                raise RefusedError(f"{len(message.value)} bytes, a record takes {MAX_RECORD_BYTES}")
        return [
            OutgoingRecord(
                topic,
                partition_of(message.key, partitions),
                message.key,
                message.value,
                message.headers,
            )
            for message in messages
        ]


async def probe(settings: Settings, output: DmaapOutput) -> list[Finding]:
    """Return what would keep the cluster from taking messages. Raises KafkaError."""
    cluster, spec = dmaap_cluster(settings, output), output_topic(settings, output)
    return await output_findings(cluster, output_needs(output.topic), spec)


def _one_line(error: BaseException) -> str:
    return str(error) if isinstance(error, TopicMismatchError) else repr(error)
