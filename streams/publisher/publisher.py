"""The publisher: events or measurements in, messages to one DMaaP output out.

Each output has its own process.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from streams.engine.apps import App
from streams.engine.batched_transport import BatchedConsumer, RecordBatch
from streams.publisher.delivery import AbandonedError, Delivers, Message
from streams.publisher.events import read_event
from streams.publisher.health import PublisherCounters
from streams.publisher.measurements import read_measurement
from streams.publisher.reading import Read, UnfitRecordError
from streams.publisher.replaying import Replay, parts_of
from streams.subscriptions.filters import HOLDS_AFTER
from streams.subscriptions.log import SubscriptionLog
from vimfed.kafka.aio import ConsumerRecord
from vimfed.model.projects import is_project_id
from vimfed.process.trace_carriers import Exemplar, no_exemplar
from vimfed.settings import Carries, DmaapOutput

LOG = logging.getLogger(__name__)

Reject = Callable[[Sequence[tuple[ConsumerRecord, str]]], Awaitable[None]]
"""Dead-letters records that are unfit, each with the reason; returns when Kafka has them."""

Reread = Callable[[Replay], AsyncIterator[Sequence[ConsumerRecord]]]
"""Yields what is to be sent again, in order."""

MayGoOn = Callable[[], Awaitable[bool]]

READ: Mapping[Carries, Callable[[ConsumerRecord], Read]] = {
    "events": read_event,
    "measurements": read_measurement,
}
"""By what an output carries, how a record of its topic is read: raises UnfitRecordError."""


class Publisher:
    """Publishes batches of what an output carries to it."""

    def __init__(
        self,
        *,
        output: DmaapOutput,
        app: App,
        consumer: BatchedConsumer,
        subscriptions: SubscriptionLog,
        delivery: Delivers,
        counters: PublisherCounters,
        reject: Reject,
        reread: Reread,
        exemplar: Callable[[Sequence[ConsumerRecord]], Exemplar | None] = no_exemplar,
    ) -> None:
        self._output = output
        self._app = app
        self._consumer = consumer
        self._subscriptions = subscriptions
        self._delivery = delivery
        self._counters = counters
        self._reject = reject
        self._reread = reread
        self._exemplar = exemplar

    async def publish(self, batch: RecordBatch, partition: int) -> None:
        """Publish what is wanted of a batch, in order, and mark it done.

        At least once: a crash before the commit publishes the batch again, with the same ids.
        """

        async def may_go_on() -> bool:
            leaving = self._app.should_stop or self._app.rebalancing
            return not leaving and await self._consumer.owns(batch)

        # Whatever holds for a record was taken HOLDS_AFTER before Kafka took the record, which was
        # before now. Half of that is left for what the brokers' clocks may differ.
        await self._subscriptions.known(time.monotonic() - HOLDS_AFTER / 2)
        try:
            for part in parts_of(batch.records, self._output.name):
                if part.replay is not None:
                    await self._replay(part.replay, may_go_on)
                await self._send(part.records, may_go_on)
        except AbandonedError:
            LOG.warning("partition %s: batch abandoned, another publisher goes on", partition)
            return
        delay = time.time() - batch.records[0].timestamp / 1000
        self._counters.took(delay, self._exemplar(batch.records))
        batch.done = True

    async def _send(self, records: Sequence[ConsumerRecord], may_go_on: MayGoOn) -> None:
        """Send what is wanted of records, and dead-letter those that are unfit."""
        read, rejected = self._read(records)
        messages = self._messages(read)
        await self._delivery.deliver(messages, may_go_on)
        if rejected:
            await self._reject(rejected)
        self._counters.passed(len(read) - len(messages))

    async def _replay(self, replay: Replay, may_go_on: MayGoOn) -> None:
        """Send what lies before a mark again; what is unfit of it was dead-lettered before."""
        mark = replay.mark
        LOG.info("partition %s: offsets %s to %s again", mark.partition, replay.begin, mark.offset)
        with self._counters.replaying(mark.partition):
            async for records in self._reread(replay):
                if not await may_go_on():
                    raise AbandonedError
                read, _rejected = self._read(records)
                messages = self._messages(read, mark.timestamp)
                await self._delivery.deliver(messages, may_go_on)

    def _read(
        self, records: Sequence[ConsumerRecord]
    ) -> tuple[list[tuple[ConsumerRecord, Read]], list[tuple[ConsumerRecord, str]]]:
        """Return what the records say, and those that are unfit, each with the reason."""
        read, rejected = [], []
        for record in records:
            try:
                read.append((record, READ[self._output.carries](record)))
            except UnfitRecordError as error:
                rejected.append((record, str(error)))
        return read, rejected

    def _messages(
        self, read: Sequence[tuple[ConsumerRecord, Read]], replayed_at: int = 0
    ) -> list[Message]:
        """Return what is sent of records; ``replayed_at``: see Message."""
        found = (self._message(record, told, replayed_at) for record, told in read)
        return [message for message in found if message is not None]

    def _message(self, record: ConsumerRecord, read: Read, replayed_at: int) -> Message | None:
        """Return what is sent of a record; None where nobody wants it."""
        if read.outputs and self._output.name not in read.outputs:
            return None
        project = ""
        if self._output.is_of_tenants:
            project = read.project_id
            if not is_project_id(project):
                return None
        holding = self._subscriptions.history.matchers(self._output.name, record.timestamp)
        content = read.content(holding, self._output)
        if content is None:
            return None
        return Message(
            record.key,
            content.value,
            content.headers,
            record,
            domain=content.domain,
            project_id=project,
            replayed_at=replayed_at,
        )
