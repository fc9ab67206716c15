"""The publisher: events in, messages to one DMaaP output out. Each output has its own process."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, cast

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
from vimfed.keys import instance_key, split_instance_key
from vimfed.metrics import MonitoringServer, new_registry
from vimfed.ports import refuse_port_in_use
from vimfed.records import VmEvent
from vimfed.rights import publisher_needs
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
    """What is read of a payload here and by the formats."""

    instance_id: str
    display_name: str | None = None
    tenant_id: str | None = None


_decode_event = msgspec.json.Decoder(VmEvent).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode

Reject = Callable[[Sequence[tuple[ConsumerRecord, str]]], Awaitable[None]]
"""Dead-letters records that are no events, each with the reason; returns when Kafka has them."""


class NoEventError(Exception):
    """A record of the events topic is none; the text says why."""


class ReadEvent(NamedTuple):
    """A record of the events topic."""

    event: VmEvent
    tenant_id: str
    outputs: frozenset[str]
    """To which alone it is to go; empty: to every one that somebody subscribed."""


def read_event(record: ConsumerRecord) -> ReadEvent:
    """Read a record as a worker writes them. Raises NoEventError, and NewerSchemaError.

    Whoever may write to the topic can write anything; what is made of an event later must not fail.
    """
    try:
        event = _decode_event(record.value or b"")
        payload = _decode_payload(event.payload)
        zone = datetime.fromisoformat(event.changed_at).tzinfo
        outputs = frozenset(
            (value or b"").decode() for name, value in record.headers if name == ONLY_OUTPUT
        )
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise NoEventError(f"not an event: {error}") from None
    if zone is None:
        raise NoEventError("not an event: changed_at has no time zone")
    key = instance_key(event.vim_id, event.instance_id)
    if record.key != key:
        raise NoEventError(f"the record's key is not {key.decode()}")
    return ReadEvent(event, payload.tenant_id or "", outputs)


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
        reject: Reject,
    ) -> None:
        self._kafka = kafka
        self._output = output
        self._app = app
        self._consumer = consumer
        self._producer = producer
        self._subscriptions = subscriptions
        self._delivery = delivery
        self._counters = counters
        self._reject = reject

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
        read, rejected = _read_all(batch.records)
        found = (self._message(record, event) for record, event in read)
        messages = [message for message in found if message is not None]
        try:
            await self._delivery.deliver(messages, may_go_on)
        except AbandonedError:
            LOG.warning("partition %s: batch abandoned, another publisher goes on", partition)
            return
        if rejected:
            await self._reject(rejected)
        self._counters.passed(len(read) - len(messages))
        self._counters.took(time.time() - batch.records[0].timestamp / 1000)
        batch.done = True

    def _message(self, record: ConsumerRecord, read: ReadEvent) -> Message | None:
        """Return what is sent of an event; None where nobody wants it."""
        for format_ in self._wanted_formats(read, record.timestamp):
            content = FORMATS[format_](read.event, self._output)
            if content is not None:
                return Message(record.key, content.value, content.headers, record)
        return None

    def _wanted_formats(self, read: ReadEvent, timestamp: int) -> Iterator[Format]:
        """Yield the formats of the subscriptions that want the event, in their order.

        The first one that has something to say of it is sent.
        """
        if read.outputs and self._output.name not in read.outputs:
            return
        for matcher in self._subscriptions.history.matchers(self._output.name, timestamp):
            if matcher.wants(read.event, read.tenant_id):
                yield matcher.format or self._output.format
        if read.outputs:  # a dead letter of this output, played again: it was wanted
            yield self._output.format


def _read_all(
    records: Sequence[ConsumerRecord],
) -> tuple[list[tuple[ConsumerRecord, ReadEvent]], list[tuple[ConsumerRecord, str]]]:
    """Return the records with their events, and those that are none, each with the reason."""
    read, rejected = [], []
    for record in records:
        try:
            read.append((record, read_event(record)))
        except NoEventError as error:
            rejected.append((record, str(error)))
    return read, rejected


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
        names.publisher_group(output.name),
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
    return run_app(app, settings.kafka, publisher_needs(settings.kafka, output.name))


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

    async def reject(records: Sequence[tuple[ConsumerRecord, str]]) -> None:
        letters = [
            dead_letter_of(settings.kafka, record, error, output=output.name)
            for record, error in records
        ]
        await append_all(producer, letters)
        counters.given_up(len(records))
        for record, error in records:
            place = f"{record.topic}-{record.partition}@{record.offset}"
            LOG.error("dead letter: %s: %s", place, error)

    async def give_up(messages: Sequence[Message], error: str) -> None:
        LOG.error("%d dead letters: %s", len(messages), error)
        letters = [
            dead_letter_of(
                settings.kafka,
                message.source,
                error,
                vim_id=split_instance_key(message.key)[0],
                output=output.name,
            )
            for message in messages
        ]
        await append_all(producer, letters)
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
                reject=reject,
            ).publish
            watch.cancel()
    finally:
        await place.close()
        await monitoring.close()
