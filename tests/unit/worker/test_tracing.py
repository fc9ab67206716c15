"""Which events carry which trace, and what a worker tells of a traced notification."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.core.fold import FoldedBatch, fold
from streams.worker.tracing import WorkerTracing
from tests.support.nova_messages import INSTANCE, VIM, legacy
from tests.support.spans import REQUEST, TRACE_ID, RecordedTracing
from vimfed.model.keys import instance_key
from vimfed.model.records import Notification
from vimfed.process.spans import Headers, now

KEY = instance_key(VIM, INSTANCE)
TRACED: Headers = (("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()),)


def record(
    offset: int, notification: Notification, headers: Headers = (), key: bytes = KEY
) -> ConsumerRecord[bytes, bytes]:
    value = msgspec.json.encode(notification)
    return ConsumerRecord("p.notifications", 3, offset, 0, 1, key, value, None, 0, 0, headers)


BATCH = [
    record(7, legacy("power_off.start", at=1)),
    record(8, legacy("power_off.end", "stopped", at=2, request=REQUEST), TRACED),
    record(9, legacy("power_on.start", "stopped", "powering-on", at=3)),
    record(10, legacy("power_on.end", at=4), TRACED),
]


def headers_of(
    tracing: RecordedTracing, records: Sequence[ConsumerRecord[bytes, bytes]], folded: FoldedBatch
) -> list[Headers]:
    traced = WorkerTracing(tracing, "workers")
    with traced(records, folded, now()) as headers:
        return list(itertools.islice(headers, len(folded.events)))


def test_an_event_carries_the_trace_of_the_notification_that_told_it() -> None:
    tracing = RecordedTracing()
    folded = fold(BATCH, lambda _key: None)
    assert len(folded.events) == 4
    carried = headers_of(tracing, BATCH, folded)
    off, on = tracing.seen()
    assert [dict(headers).get("traceparent", b"").decode()[36:52] for headers in carried] == [
        "",
        off.span_id,
        "",
        on.span_id,
    ]
    assert {span.trace_id for span in (off, on)} == {TRACE_ID}
    assert off.parent == "00f067aa0ba902b7"
    assert off.name == "process p.notifications"
    assert off.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "p.notifications",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 8,
        "messaging.consumer.group.name": "workers",
        "messaging.message.id": legacy("power_off.end", at=2, request=REQUEST).message_id,
        "vimfed.vim_id": VIM,
        "vimfed.instance_id": INSTANCE,
        "vimfed.event_type": "compute.instance.power_off.end",
        "vimfed.request_id": REQUEST,
        "vimfed.events": 1,
    }


def test_a_batch_without_traces_has_plain_headers() -> None:
    tracing = RecordedTracing()
    folded = fold(BATCH[:1], lambda _key: None)
    assert headers_of(tracing, BATCH[:1], folded) == [()]
    assert not tracing.seen()


def test_a_traced_record_that_is_rejected_says_why() -> None:
    tracing = RecordedTracing()
    wrong = [
        record(1, legacy("power_off.start", at=1), TRACED, key=b"another/key"),
        ConsumerRecord("p.notifications", 3, 2, 0, 1, None, None, None, 0, 0, TRACED),
    ]
    headers_of(tracing, wrong, fold(wrong, lambda _key: None))
    assert "key is not" in tracing.seen()[0].error
    assert tracing.seen()[1].error


def test_a_batch_that_cannot_be_made_durable_is_an_error_of_its_spans() -> None:
    tracing = RecordedTracing()
    folded = fold(BATCH, lambda _key: None)
    traced = WorkerTracing(tracing, "workers")
    with pytest.raises(ConnectionError), traced(BATCH, folded, now()):
        raise ConnectionError("Kafka is away")
    assert [span.error for span in tracing.seen()] == ["Kafka is away"] * 2


def test_a_fold_says_which_events_each_record_told() -> None:
    folded = fold(BATCH, lambda _key: None)
    assert folded.told_until == [1, 2, 3, 4]
    assert folded.taken == 4
