"""The process of a publisher: everything that publishing needs, opened and closed."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from streams.engine.apps import App, consume, consumer_of, new_app, run_app
from streams.engine.lanes import BatchHandler
from streams.publisher.delivery import Delivery, Message
from streams.publisher.gate import OutputGate
from streams.publisher.health import PublisherCounters, PublisherHealth
from streams.publisher.outputs.kinds import kind_of
from streams.publisher.publisher import Publisher
from streams.publisher.replaying import replayed
from streams.publisher.tracing_hooks import TracingHooks
from streams.subscriptions.filters import SubscriptionHistory, default_subscription, events_kept
from streams.subscriptions.known_kinds import refuse_unknown_kinds
from streams.subscriptions.log import SubscriptionLog
from streams.subscriptions.projects import heeds_of
from streams.subscriptions.switches import OutputSwitches
from vimfed.kafka.aio import AIOKafkaProducer, ConsumerRecord
from vimfed.kafka.appending import append_all
from vimfed.kafka.before_kafka import Port, Probes
from vimfed.kafka.dead_letter import UNFIT, dead_letter_of
from vimfed.kafka.rights import publisher_needs
from vimfed.kafka.topics import TopicNames
from vimfed.model.keys import split_instance_key
from vimfed.process.metrics import MonitoringServer, new_registry
from vimfed.process.ports import refuse_port_in_use
from vimfed.process.tracing import started_tracing
from vimfed.settings import (
    DmaapOutput,
    Settings,
)

if TYPE_CHECKING:
    from vimfed.process.spans import Tracing

LOG = logging.getLogger(__name__)


def run(settings: Settings, output: DmaapOutput, port: int | None = None) -> int:
    """Publish to ``output`` until SIGTERM or SIGINT; return the exit code.

    ``port`` is that of /metrics, /healthz and /readyz; by default the output's own (see settings).
    Raises OperatorError.
    """
    refuse_unknown_kinds(settings)
    port = settings.publisher_port(output) if port is None else port
    refuse_port_in_use(port, f"publisher {output.name}", "dmaap.port")
    tracing = started_tracing(settings.tracing, "vimfed-publisher")
    names = TopicNames(settings.kafka.topic_prefix)
    topic = names.carried(output.carries)
    app = new_app(
        settings,
        names.publisher_group(output.name),
        topic,
        settings.state_dir / f"publisher-{output.name}",
        # While DMaaP is away, batches wait: that is no reason to leave the group.
        max_poll_interval=settings.kafka.retention.of(output.carries),
        store="memory://",
        table_standby_replicas=0,
        web_enabled=False,
    )

    async def new_handler(producer: AIOKafkaProducer) -> BatchHandler:
        context = _publishing(app, settings, output, port, producer, tracing)
        return cast(BatchHandler, await app.add_async_context(context))

    consume(app, topic, settings.kafka, new_handler)
    probes = Probes([Port(settings.dmaap.host, port, "dmaap.port")], settings.web.allowed_hosts)
    try:
        return run_app(app, settings.kafka, publisher_needs(settings.kafka, output), probes)
    finally:
        if tracing is not None:
            tracing.close()


def _traced(tracing: "Tracing | None", settings: Settings, output: DmaapOutput) -> TracingHooks:
    """Return what of a publisher's parts is to be traced: nothing, where there is no tracing."""
    if tracing is None:
        return TracingHooks()
    from streams.publisher.tracing import PublisherTracing

    group = TopicNames(settings.kafka.topic_prefix).publisher_group(output.name)
    return PublisherTracing(tracing, output.name, group).hooks()


@contextlib.asynccontextmanager
async def _publishing(
    app: App,
    settings: Settings,
    output: DmaapOutput,
    port: int,
    producer: AIOKafkaProducer,
    tracing: "Tracing | None",
) -> AsyncIterator[BatchHandler]:
    """Open everything that publishing needs, and close it."""
    registry = new_registry()
    counters = PublisherCounters(registry, output.name)
    consumer = consumer_of(app)

    async def reject(records: Sequence[tuple[ConsumerRecord, str]]) -> None:
        letters = [
            dead_letter_of(
                settings.kafka,
                record,
                error,
                output=output.name,
                origin=output.carries,
                failure=UNFIT,
            )
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
                origin=output.carries,
            )
            for message in messages
        ]
        await append_all(producer, letters)
        counters.given_up(len(messages))

    history = SubscriptionHistory(
        default_subscription(settings.filter),
        kept=events_kept(settings.kafka),
        heeds=heeds_of(settings),
    )
    switches = OutputSwitches()
    log = SubscriptionLog(settings.kafka, history, (switches,))
    gate = OutputGate(output.name, switches, log)
    traced = _traced(tracing, settings, output)
    place = traced.output(kind_of(output).build(settings, output))
    delivery = Delivery(
        output.name,
        place,
        give_up=traced.give_up(give_up),
        give_up_after=settings.give_up_after(output),
        figures=counters,
        gate=gate,
    )
    kept = settings.kafka.retention.of(output.carries)
    health = PublisherHealth(output.name, consumer, delivery, counters, gate, settings.worker, kept)
    registry.register(health)
    monitoring = MonitoringServer(
        registry,
        live=health.wrong,
        ready=health.ready,
        allowed_hosts=settings.web.allowed_hosts,
    )
    bound = await monitoring.start(settings.dmaap.host, port)
    LOG.info("metrics and health: http://%s:%d/metrics", settings.dmaap.host, bound)
    try:
        async with log.followed() as subscriptions:
            watch = asyncio.create_task(health.watch_ends(subscriptions))
            yield Publisher(
                output=output,
                app=app,
                consumer=consumer,
                subscriptions=subscriptions,
                delivery=traced.delivery(delivery),
                counters=counters,
                reject=reject,
                reread=partial(replayed, settings.kafka),
                exemplar=traced.exemplar,
            ).publish
            watch.cancel()
    finally:
        await place.close()
        await monitoring.close()
