"""One request of nova's, followed from RabbitMQ to DMaaP: one trace, of every stage."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.stack import Stack, eventually
from tests.support.brokers import RabbitMQ
from tests.support.core_truth import records_on
from tests.support.nova_messages import spec_example
from tests.support.sections import rabbit_cloud
from tests.support.spans import Collector, SpanSeen
from vimfed.cli.replay import RecordedMessage, replay
from vimfed.local.kafka import LocalKafka

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TRACING = "[tracing]\nenabled = true\nsample_ratio = 1.0"


def told(message_id: str, event_type: str, request_id: str) -> RecordedMessage:
    message = {
        "message_id": message_id,
        "publisher_id": "compute.compute01",
        "event_type": event_type,
        "priority": "INFO",
        "payload": {**spec_example(), "state": "stopped", "state_description": ""},
        "timestamp": "2026-03-07 06:11:12.123456",
        "_context_request_id": request_id,
    }
    return RecordedMessage("notifications.info", json.dumps(message))


async def test_a_request_is_one_trace_from_the_cloud_to_dmaap(
    tmp_path: Path, kafka: LocalKafka, rabbitmq: RabbitMQ
) -> None:
    request = uuid.uuid4()
    exchange = f"nova-tracing-{request.hex[:8]}"
    topics = [f"{exchange}-notifications"]
    cloud = rabbit_cloud(rabbitmq.url, exchange=exchange, topics=topics, pool=exchange)
    with Collector() as collector:
        async with Stack(tmp_path, kafka.bootstrap, [cloud], TRACING) as stack:
            stack.environment = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            }
            stack.start("bridge")
            stack.start_worker()
            stack.start("publisher")
            await stack.bridge_connected()
            await stack.ready()
            messages = [
                told(f"{request}-{phase}", f"compute.instance.power_off.{phase}", f"req-{request}")
                for phase in ("start", "end")
            ]
            renamed = (
                RecordedMessage(f"{exchange}-{each.routing_key}", each.body) for each in messages
            )
            await asyncio.to_thread(replay, renamed, rabbitmq.url, exchange=exchange)

            async def every_delivery_is_told() -> bool:
                return sum(span.name == "send dmaap" for span in collector.seen) == len(messages)

            await eventually(every_delivery_is_told, within=60)

            async def shown(process: str) -> set[str]:
                return exemplars(await stack.text("/metrics", process, Accept=OPENMETRICS))

            for process in ("worker", "publisher"):
                assert await eventually(partial(shown, process), within=30) == {request.hex}
            assert not await shown("bridge"), "it has no histogram of times"
            # A stage may end after the next one has begun.
            for child in stack.children.values():
                child.terminate()
            for child in stack.children.values():
                child.stop()
            published = await asyncio.to_thread(records_on, stack.bootstrap, stack.dmaap_topic)
    assert {span.trace_id for span in collector.seen} == {request.hex}
    assert Counter(way(collector.seen, record.headers["traceparent"]) for record in published) == {
        (
            ("vimfed-bridge", f"receive {exchange}"),
            ("vimfed-worker", f"process {stack.names.notifications}"),
            ("vimfed-publisher", "send dmaap"),
        ): len(messages)
    }
    appends = Counter((span.service, span.name) for span in collector.seen)
    for append in (
        ("vimfed-bridge", f"send {stack.names.notifications}"),
        ("vimfed-worker", f"send {stack.names.events}"),
    ):
        assert appends[append] == len(messages)
    assert all(
        span.attributes["vimfed.request_id"] == f"req-{request}"
        for span in collector.seen
        if span.name.startswith(("receive", "process"))
    )


def exemplars(metrics: str) -> set[str]:
    """Return the traces that metrics show; ValueError where they are not OpenMetrics."""
    return {
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(metrics)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }


def way(spans: Sequence[SpanSeen], traceparent: str) -> tuple[tuple[str, str], ...]:
    """Return the spans that lead to what carries this, each by service and name."""
    by_id = {span.span_id: span for span in spans}
    found: list[tuple[str, str]] = []
    span_id = traceparent.split("-")[2]
    while span_id:
        span = by_id[span_id]
        found.append((span.service, span.name))
        span_id = span.parent
    return tuple(reversed(found))
