"""The publisher: events in, messages to one DMaaP output out. Each output has its own process."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from streams.core.kinds import HEARTBEAT
from streams.engine.apps import App
from streams.engine.batched_transport import BatchedConsumer, RecordBatch
from streams.publisher.delivery import AbandonedError, Delivery, Message
from streams.publisher.formats import FORMATS
from streams.publisher.health import PublisherCounters
from streams.subscriptions.filters import HOLDS_AFTER
from streams.subscriptions.log import SubscriptionLog
from vimfed.kafka.aio import AIOKafkaProducer, ConsumerRecord
from vimfed.kafka.dead_letter import ONLY_OUTPUT
from vimfed.model.decoding import decoded
from vimfed.model.keys import home_key
from vimfed.model.records import NewerSchemaError, VmEvent, stray_schema
from vimfed.nova.host_report import read_heartbeat
from vimfed.settings import (
    DmaapOutput,
    Format,
    KafkaSettings,
)

LOG = logging.getLogger(__name__)


class _Payload(msgspec.Struct, gc=False):
    """What is read of a payload here and by the formats."""

    instance_id: str = ""
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
        event = decoded(_decode_event, record.value or b"")
        payload = decoded(_decode_payload, event.payload)
        times = {"changed_at": event.changed_at}
        if event.alarm:
            times["alarm.started_at"] = event.alarm.started_at
        zones = {name: datetime.fromisoformat(time).tzinfo for name, time in times.items()}
        if event.kind == HEARTBEAT:
            decoded(read_heartbeat, event.payload)
        outputs = frozenset(
            (value or b"").decode() for name, value in record.headers if name == ONLY_OUTPUT
        )
    except NewerSchemaError as error:
        stray = stray_schema(error, record.headers)
        if not stray:
            raise
        raise NoEventError(f"not an event: {stray}") from None
    except ValueError as error:
        raise NoEventError(f"not an event: {error}") from None
    for name, zone in zones.items():
        if zone is None:
            raise NoEventError(f"not an event: {name} has no time zone")
    if event.instance_id and not payload.instance_id:
        raise NoEventError("not an event: the payload of an instance names none")
    key = home_key(event.vim_id, event.instance_id, event.host or "")
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
        app: App,
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
                return Message(
                    record.key, content.value, content.headers, record, domain=content.domain
                )
        return None

    def _wanted_formats(self, read: ReadEvent, timestamp: int) -> Iterator[Format]:
        """Yield the formats of the subscriptions that want the event, in their order.

        The first one that has something to say of it is sent. Heartbeats are what VES has a domain
        for; in another format they go to who names their kind.
        """
        if read.outputs and self._output.name not in read.outputs:
            return
        for matcher in self._subscriptions.history.matchers(self._output.name, timestamp):
            if matcher.wants(read.event, read.tenant_id):
                format_ = self._format(matcher.format)
                if read.event.kind != HEARTBEAT or format_ == "ves" or matcher.kinds is not None:
                    yield format_
        if read.outputs:  # a dead letter of this output, played again: it was wanted
            yield self._format(None)

    def _format(self, wanted: Format | None) -> Format:
        return "ves" if self._output.is_ves else wanted or self._output.format


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
