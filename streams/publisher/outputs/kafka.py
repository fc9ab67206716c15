"""The output to a topic of a Kafka cluster, DMaaP's native interface."""

import asyncio
import logging
from collections.abc import Sequence

from streams.publisher.delivery import DeliveryError, Message, RefusedError
from vimfed.kafka.aio import AIOKafkaProducer, KafkaError, KafkaTimeoutError
from vimfed.kafka.appending import RECORD_REFUSALS, append_all
from vimfed.kafka.clients import OutgoingRecord, TopicMismatchError, refusal_of
from vimfed.kafka.cluster_check import output_findings
from vimfed.kafka.outputs import dmaap_cluster, output_topics
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.renewed_producer import RenewedProducer
from vimfed.kafka.rights import output_needs
from vimfed.kafka.topic_checks import ensure_topic
from vimfed.kafka.topic_settings import Finding
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import DmaapOutput, Settings

LOG = logging.getLogger(__name__)


class KafkaOutput:
    """Appends messages to the output's topics, which are created where they are missing."""

    request_bytes = 100 * MAX_RECORD_BYTES  # aiokafka splits as it needs

    def __init__(self, settings: Settings, output: DmaapOutput) -> None:
        self._output = output
        self._cluster = dmaap_cluster(settings, output)
        self._missing = output_topics(settings, output)
        """Topics of which nobody knows yet that they are there."""
        self._preparing = asyncio.Lock()
        self._producers = RenewedProducer(self._cluster, output.timeout)

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Return when the cluster has acknowledged all. Raises DeliveryError or RefusedError."""
        producer: AIOKafkaProducer | None = None
        sending = False
        try:
            await self._ensure_topics()
            producer = await self._producers.started()
            sending = True
            async with asyncio.timeout(self._output.timeout):
                await append_all(producer, await self._records(producer, messages))
        except RECORD_REFUSALS as error:
            self._producers.abandon(producer)
            raise RefusedError(f"topic {' or '.join(self._output.topics)}: {error!r}") from error
        except (KafkaError, OSError, TimeoutError, TopicMismatchError, AssertionError) as error:
            # AssertionError: aiokafka's way of saying that a partition is not known (yet).
            self._producers.abandon(producer)
            too_slow = sending and isinstance(error, TimeoutError | KafkaTimeoutError)
            reason = refusal_of(self._cluster, error, "Write") or one_line(error)
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

    async def _ensure_topics(self) -> None:
        async with self._preparing:
            while self._missing:
                async with asyncio.timeout(self._output.timeout):
                    if await ensure_topic(self._cluster, self._missing[0]):
                        LOG.info("created topic %s", self._missing[0].name)
                del self._missing[0]

    async def _records(
        self, producer: AIOKafkaProducer, messages: Sequence[Message]
    ) -> list[OutgoingRecord]:
        partitions: dict[str, int] = {}
        records = []
        for message in messages:
            if len(message.value) > MAX_RECORD_BYTES:
                raise RefusedError(f"{len(message.value)} bytes, a record takes {MAX_RECORD_BYTES}")
            topic = self._output.topic_of(message.domain)
            if topic not in partitions:
                partitions[topic] = len(await producer.partitions_for(topic))
            partition = partition_of(message.key, partitions[topic])
            records.append(
                OutgoingRecord(topic, partition, message.key, message.value, message.headers)
            )
        return records


async def probe(settings: Settings, output: DmaapOutput) -> list[Finding]:
    """Return what would keep the cluster from taking messages. Raises KafkaError."""
    cluster, specs = dmaap_cluster(settings, output), output_topics(settings, output)
    return await output_findings(cluster, output_needs(output.topics), specs)


def one_line(error: BaseException) -> str:
    """Return what an error of a cluster says."""
    return str(error) if isinstance(error, TopicMismatchError) else repr(error)
