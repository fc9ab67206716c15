"""The publisher: events in, messages to one DMaaP output out. Each output has its own process."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import cast

import faust
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from streams.apps import consume, consumer_of, new_app, run_app
from streams.batched_transport import BatchedConsumer, RecordBatch
from streams.delivery import AbandonedError, Delivery, Message, Output
from streams.filters import HOLDS_AFTER, SubscriptionHistory, default_subscription
from streams.formats import FORMATS
from streams.kafka_output import KafkaOutput
from streams.kinds import KINDS
from streams.lanes import BatchHandler
from streams.message_router_output import MessageRouterOutput
from streams.publisher_health import PublisherCounters, PublisherHealth
from streams.subscription_log import SubscriptionLog
from vimfed.appending import append_all
from vimfed.dead_letter import ONLY_OUTPUT, dead_letter_of
from vimfed.keys import split_instance_key
from vimfed.metrics import MonitoringServer, new_registry
from vimfed.ports import refuse_port_in_use
from vimfed.records import VmEvent
from vimfed.settings import (
    EVENTS_RETENTION,
    DmaapOutput,
    Format,
    KafkaSettings,
    Settings,
    SettingsError,
)
from vimfed.topics import TopicNames

LOG = logging.getLogger(__name__)


class _Payload(msgspec.Struct, gc=False):
    tenant_id: str | None = None


_decode_event = msgspec.json.Decoder(VmEvent).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class Publisher:
    """Publishes batches of events to one output."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        output: DmaapOutput,
        app: faust.App,
        consumer: BatchedConsumer,
        producer: AIOKafkaProducer,
        subscriptions: SubscriptionLog,
        delivery: Delivery,
        counters: PublisherCounters,
    ) -> None:
        self._kafka = kafka
        self._output = output
        self._app = app
        self._consumer = consumer
        self._producer = producer
        self._subscriptions = subscriptions
        self._delivery = delivery
        self._counters = counters

    async def publish(self, batch: RecordBatch, partition: int) -> None:
        """Publish what is wanted of a batch of VmEvents, in order, and mark it done.

        At least once: a crash before the commit publishes the batch again, with the same ids.
        """

        async def may_go_on() -> bool:
            leaving = self._app.should_stop or self._app.rebalancing
            return not leaving and await self._consumer.owns(batch)

        # Whatever holds for an event was taken HOLDS_AFTER before Kafka took the event, which was
        # before now. Half of that is left for what the brokers' clocks may differ.
        await self._subscriptions.known(time.monotonic() - HOLDS_AFTER / 2)
        messages = self._messages(batch.records)
        try:
            await self._delivery.deliver(messages, may_go_on)
        except AbandonedError:
            LOG.warning("partition %s: batch abandoned, another publisher goes on", partition)
            return
        self._counters.passed(len(batch.records) - len(messages))
        self._counters.took(time.time() - batch.records[0].timestamp / 1000)
        batch.done = True

    def _messages(self, records: Sequence[ConsumerRecord]) -> list[Message]:
        messages = []
        for record in records:
            event = _decode_event(record.value)
            for format_ in self._wanted_formats(event, record):
                content = FORMATS[format_](event, self._output)
                if content is not None:
                    messages.append(Message(record.key, content.value, content.headers, record))
                    break
        return messages

    def _wanted_formats(self, event: VmEvent, record: ConsumerRecord) -> Iterator[Format]:
        """Yield the formats of the subscriptions that want the event, in their order.

        The first one that has something to say of it is sent.
        """
        outputs = {value.decode() for name, value in record.headers if name == ONLY_OUTPUT}
        if outputs and self._output.name not in outputs:
            return
        matchers = self._subscriptions.history.matchers(self._output.name, record.timestamp)
        if matchers:
            tenant_id = _decode_payload(event.payload).tenant_id or ""
            for matcher in matchers:
                if matcher.wants(event, tenant_id):
                    yield matcher.format or self._output.format
        if outputs:  # a dead letter of this output, played again: it was wanted
            yield self._output.format


def run(settings: Settings, output: DmaapOutput, port: int | None = None) -> int:
    """Publish to ``output`` until SIGTERM or SIGINT; return the exit code.

    ``port`` is that of /metrics, /healthz and /readyz; by default the output's own (see settings).
    Raises OperatorError.
    """
    refuse_unknown_kinds(settings, output)
    port = settings.publisher_port(output) if port is None else port
    refuse_port_in_use(port, f"publisher {output.name}", "dmaap.port")
    names = TopicNames(settings.kafka.topic_prefix)
    app = new_app(
        settings,
        f"{settings.kafka.topic_prefix}-publisher-{output.name}",
        names.events,
        settings.state_dir / f"publisher-{output.name}",
        # While DMaaP is away, batches wait: that is no reason to leave the group.
        max_poll_interval=EVENTS_RETENTION,
        store="memory://",
        table_standby_replicas=0,
        web_enabled=False,
    )

    async def new_handler(producer: AIOKafkaProducer) -> BatchHandler:
        context = _publishing(app, settings, output, port, producer)
        return cast(BatchHandler, await app.add_async_context(context))

    consume(app, names.events, settings.kafka, new_handler)
    return run_app(app, settings)


def refuse_unknown_kinds(settings: Settings, output: DmaapOutput) -> None:
    """Raise SettingsError where the settings of an output's publisher name a kind that is none."""
    for key, kinds in (
        ("filter.kinds", settings.filter.kinds),
        (f"ves_kinds of output {output.name}", output.ves_kinds),
    ):
        for unknown in sorted(set(kinds) - KINDS.keys()):
            raise SettingsError(f"{key}: {unknown!r} is none of {', '.join(sorted(KINDS))}")


@contextlib.asynccontextmanager
async def _publishing(
    app: faust.App,
    settings: Settings,
    output: DmaapOutput,
    port: int,
    producer: AIOKafkaProducer,
) -> AsyncIterator[BatchHandler]:
    """Open everything that publishing needs, and close it."""
    registry = new_registry()
    counters = PublisherCounters(registry, output.name)
    consumer = consumer_of(app)

    async def give_up(messages: Sequence[Message], error: str) -> None:
        LOG.error("%d dead letters: %s", len(messages), error)
        await append_all(
            producer,
            [
                dead_letter_of(
                    settings.kafka,
                    message.source,
                    error,
                    vim_id=split_instance_key(message.key)[0],
                    output=output.name,
                )
                for message in messages
            ],
        )
        counters.given_up(len(messages))

    kind = KafkaOutput if output.is_kafka else MessageRouterOutput
    place: Output = kind(settings, output)
    delivery = Delivery(
        output.name,
        place,
        give_up=give_up,
        give_up_after=settings.dmaap.give_up_after,
        figures=counters,
    )
    health = PublisherHealth(output.name, consumer, delivery, settings.worker)
    registry.register(health)
    monitoring = MonitoringServer(registry, live=health.wrong, ready=health.ready)
    bound = await monitoring.start(settings.dmaap.host, port)
    LOG.info("metrics and health: http://%s:%d/metrics", settings.dmaap.host, bound)
    history = SubscriptionHistory(default_subscription(settings.filter))
    try:
        async with SubscriptionLog(settings.kafka, history).followed() as subscriptions:
            watch = asyncio.create_task(health.watch_ends(subscriptions))
            yield Publisher(
                kafka=settings.kafka,
                output=output,
                app=app,
                consumer=consumer,
                producer=producer,
                subscriptions=subscriptions,
                delivery=delivery,
                counters=counters,
            ).publish
            watch.cancel()
    finally:
        await place.close()
        await monitoring.close()
