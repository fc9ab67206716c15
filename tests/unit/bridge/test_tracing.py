"""Where traces begin, and the span of an append."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from bridge.forwarding import Arrival, Converter, Listened, UnusableBodyError, notifications_of
from bridge.progress import Progress
from bridge.tracing import BridgeTracing
from tests.support.nova_messages import INSTANCE, spec_example
from tests.support.spans import REQUEST, TRACE_ID, RecordedTracing
from vimfed.kafka.clients import OutgoingRecord
from vimfed.settings import KafkaSettings, VimSettings

KAFKA = KafkaSettings(topic_prefix="p", partitions=4)
ARRIVAL = Arrival("o_r", "p", 1, "2026-01-01T12:00:00.000000Z")
VIM = VimSettings(cloud_owner="o", cloud_region_id="r")


def body(**fields: Any) -> bytes:
    message = {
        "message_id": "m-1",
        "event_type": "compute.instance.power_off.start",
        "payload": spec_example(),
        "_context_request_id": REQUEST,
        "_context_global_request_id": "req-of-heat",
        **fields,
    }
    return json.dumps(message).encode()


def traced(tracing: RecordedTracing) -> Converter:
    part = BridgeTracing(tracing, "p.notifications")
    return part.converter(notifications_of(KAFKA, VIM), Listened("rabbitmq", "pool"))


def test_a_notification_begins_a_trace_that_its_record_carries() -> None:
    tracing = RecordedTracing()
    (record,) = traced(tracing).convert(body(), ARRIVAL).records
    (span,) = tracing.seen()
    assert dict(record.headers)["traceparent"].decode().split("-")[1:3] == [TRACE_ID, span.span_id]
    assert (span.name, span.trace_id, span.parent) == ("receive pool", TRACE_ID, "")
    assert span.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "receive",
        "messaging.operation.name": "receive",
        "messaging.destination.name": "pool",
        "messaging.message.id": "m-1",
        "vimfed.vim_id": "o_r",
        "vimfed.instance_id": INSTANCE,
        "vimfed.event_type": "compute.instance.power_off.start",
        "vimfed.request_id": REQUEST,
        "vimfed.global_request_id": "req-of-heat",
    }


def test_what_is_not_sampled_is_forwarded_as_without_tracing() -> None:
    tracing = RecordedTracing(0.0)
    plain = notifications_of(KAFKA, VIM).convert(body(), ARRIVAL)
    assert traced(tracing).convert(body(), ARRIVAL) == plain
    assert not tracing.seen()


def test_a_host_reports_to_every_partition_in_one_trace() -> None:
    tracing = RecordedTracing()
    data = {"binary": "nova-compute", "host": "c-1", "disabled": True, "forced_down": False}
    payload = {"nova_object.name": "ServiceStatusPayload", "nova_object.data": data}
    made = traced(tracing).convert(body(event_type="service.update", payload=payload), ARRIVAL)
    assert len(made.records) == KAFKA.partitions
    assert len({record.headers for record in made.records}) == 1
    assert len(tracing.seen()) == 1


def test_a_body_that_cannot_be_used_is_a_dead_letter_as_ever() -> None:
    tracing = RecordedTracing()
    with pytest.raises(UnusableBodyError):
        traced(tracing).convert(b"{}", ARRIVAL)
    assert not tracing.seen()


@pytest.mark.parametrize("error", [None, ConnectionError("Kafka is away")])
async def test_the_append_of_a_traced_record_has_a_span(error: Exception | None) -> None:
    tracing = RecordedTracing()
    (record,) = traced(tracing).convert(body(), ARRIVAL).records
    written: list[OutgoingRecord] = []

    async def write(records: Sequence[OutgoingRecord], _progress: Progress | None) -> None:
        written.extend(records)
        await asyncio.sleep(0)
        if error is not None:
            raise error

    other = OutgoingRecord("p.samples", 0, b"k", b"v")
    appended = BridgeTracing(tracing, "p.notifications").write(write)([record, other], None)
    (outcome,) = await asyncio.gather(appended, return_exceptions=True)
    assert (outcome, written) == (error, [record, other])
    receive, send = tracing.seen()
    assert (send.name, send.parent) == ("send p.notifications", receive.span_id)
    assert send.attributes["messaging.destination.partition.id"] == str(record.partition)
    assert send.error == ("" if error is None else "Kafka is away")
