"""The publisher: events in, messages to one DMaaP output out. Each output has its own process."""

import asyncio
import logging
from urllib.parse import urlsplit

import msgspec
from aiokafka import AIOKafkaProducer

from streams.apps import BatchHandler, consume, consumer_of, new_app, run_app
from streams.batched_transport import BatchedConsumer, RecordBatch
from streams.filters import wants
from streams.formats import cloudevents_headers, flat_payload
from vimfed.appending import append_all
from vimfed.kafka import OutgoingRecord, ensure_topic
from vimfed.keys import partition_of
from vimfed.records import VmEvent
from vimfed.settings import DmaapOutput, FilterSettings, KafkaSettings, Settings
from vimfed.topics import TopicNames, TopicSpec

LOG = logging.getLogger(__name__)


class _Payload(msgspec.Struct, gc=False):
    tenant_id: str | None = None


_decode_event = msgspec.json.Decoder(VmEvent).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class KafkaOutput:
    """Publishes batches of events to a topic of a DMaaP Kafka cluster."""

    def __init__(
        self,
        output: DmaapOutput,
        subscription: FilterSettings,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
    ) -> None:
        self._output = output
        self._subscription = subscription
        self._topic = _topic(output)
        self._consumer = consumer
        self._producer = producer

    async def publish(self, batch: RecordBatch, partition: int) -> None:
        """Publish what is wanted of a batch of VmEvents, in order, and mark it done.

        At least once: a crash before the commit publishes the batch again, with the same ids.
        """
        partitions = len(await self._producer.partitions_for(self._topic))
        messages = [
            OutgoingRecord(
                self._topic,
                partition_of(record.key, partitions),
                record.key,
                flat_payload(event, vim_event=self._output.vim_event),
                cloudevents_headers(event),
            )
            for record in batch.records
            if self._wants(event := _decode_event(record.value))
        ]
        if not await self._consumer.owns(batch):
            LOG.warning("partition %s: batch abandoned, it has a new owner", partition)
            return
        await append_all(self._producer, messages)
        batch.done = True

    def _wants(self, event: VmEvent) -> bool:
        tenant_id = _decode_payload(event.payload).tenant_id or ""
        return wants(self._subscription, event, tenant_id)


def run(settings: Settings, output: DmaapOutput) -> int:
    """Publish to ``output`` until SIGTERM or SIGINT; return the exit code."""
    names = TopicNames(settings.kafka.topic_prefix)
    app = new_app(
        settings,
        f"{settings.kafka.topic_prefix}-publisher-{output.name}",
        names.events,
        settings.state_dir / f"publisher-{output.name}",
        store="memory://",
        table_standby_replicas=0,
        web_enabled=False,
    )
    cluster = dmaap_cluster(settings, output)
    kafka = settings.kafka
    topic = TopicSpec(_topic(output), kafka.partitions, kafka.replication)
    if asyncio.run(ensure_topic(cluster, topic)):
        LOG.info("created topic %s", topic.name)

    def new_handler(producer: AIOKafkaProducer) -> BatchHandler:
        return KafkaOutput(output, settings.filter, consumer_of(app), producer).publish

    consume(app, names.events, cluster, new_handler)
    return run_app(app, settings)


def _topic(output: DmaapOutput) -> str:
    return urlsplit(output.url).path.strip("/")


def dmaap_cluster(settings: Settings, output: DmaapOutput) -> KafkaSettings:
    """Return how to connect to the cluster of ``output``."""
    return msgspec.structs.replace(settings.kafka, bootstrap=urlsplit(output.url).netloc)
