"""What becomes of messages of samples, and of nova's notifications of usage."""

import json
from functools import partial

import pytest

from bridge.forwarding import Arrival, UnusableBodyError, UnusedNotificationError, notifications_of
from bridge.listening import Message, records_of
from bridge.sampling import samples_of
from tests.support import notifications
from tests.support.ceilometer_messages import (
    VM,
    bare,
    counter,
    enveloped,
    metering,
    notification,
    sample_of,
)
from tests.support.sections import vim_of
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.model.keys import host_key, instance_key
from vimfed.model.samples import decode_samples
from vimfed.settings import KafkaSettings, RetentionSettings, VimSettings
from vimfed.telemetry.signature import signature_of

KAFKA = KafkaSettings(topic_prefix="p", partitions=4)
ARRIVAL = Arrival("o_r", "p", 1, "2026-11-29T10:00:02.000000Z")


def cloud(**samples: object) -> VimSettings:
    return vim_of({"cloud_owner": "o", "cloud_region_id": "r", "samples": samples})


def test_a_message_has_a_record_for_each_subject() -> None:
    other = VM.replace("a4", "b5")
    made = samples_of(KAFKA, cloud()).convert(
        metering(counter(), sample_of(other, 1), counter(volume=2)), ARRIVAL
    )
    assert [record.topic for record in made.records] == ["p.samples"] * 2
    assert [record.key for record in made.records] == [
        instance_key("o_r", VM),
        instance_key("o_r", other),
    ]
    told = [decode_samples(record.value or b"") for record in made.records]
    assert [[sample.volume for sample in each.samples] for each in told] == [[1.5, 2], [1]]
    assert {(each.source, each.received_at) for each in told} == {("oslo", ARRIVAL.received_at)}
    assert (made.unread, made.hosts) == (None, frozenset())


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        (b"[", UnusableBodyError),
        (enveloped(notification({})), UnusableBodyError),
        (enveloped(notification({}, "image.update")), UnusedNotificationError),
        (bare(), UnusedNotificationError),
        (bare(counter("image.size", resource_metadata={})), UnusedNotificationError),
    ],
)
def test_a_message_without_samples_of_ours(body: bytes, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        samples_of(KAFKA, cloud()).convert(body, ARRIVAL)


def test_of_a_batch_what_cannot_be_used_is_a_dead_letter_and_the_rest_is_not_held_up() -> None:
    messages = [
        Message(body, ARRIVAL, partial(dead_letter_record, KAFKA, source="queue", vim_id="o_r"))
        for body in (
            metering(counter(volume=1), counter(volume=None), counter(volume=2)),
            b"no message",
            enveloped(notification({}, "image.update")),
            metering(counter(volume=3)),
        )
    ]
    batch = records_of(samples_of(KAFKA, cloud()), messages)
    assert (batch.dead, batch.passed_over, batch.hosts) == (2, 1, frozenset())
    topics = [record.topic.removeprefix("p.") for record in batch.records]
    assert topics == ["samples", "dead-letter", "dead-letter", "samples"]
    part, whole = (dict(record.headers) for record in batch.records[1:3])
    assert part["origin"] == whole["origin"] == b"telemetry"
    assert part["error"].startswith(b"1 of 3 samples cannot be used, the first: Expected `float`")
    (kept,) = json.loads(batch.records[1].value or b"")
    assert kept["counter_volume"] is None
    assert batch.records[2].value == b"no message"


def test_with_a_secret_what_is_not_signed_is_a_dead_letter() -> None:
    signed = counter(volume=7)
    signed["message_signature"] = signature_of(signed, b"secret")
    converter = samples_of(KAFKA, cloud(telemetry_secret="secret"))
    made = converter.convert(bare(signed, counter()), ARRIVAL)
    (record,) = made.records
    assert [sample.volume for sample in decode_samples(record.value or b"").samples] == [7]
    assert made.unread is not None


EXISTS = notifications.body(
    event_type="compute.instance.exists",
    instance_id="i-1",
    payload={"memory_mb": 512, "vcpus": 2, "root_gb": 1, "ephemeral_gb": 0, "deleted_at": ""},
)
METRIC = {"name": "cpu.percent", "timestamp": "2026-01-01T12:00:00.5", "value": 0.5, "source": ""}


def metrics(*told: object) -> bytes:
    return notifications.body(
        event_type="compute.metrics.update",
        payload={"host": "h1", "nodename": "h1", "metrics": told},
    )


METRICS = metrics(METRIC)
USAGE = cloud(usage=True)


@pytest.mark.parametrize(
    ("body", "key", "at"),
    [
        (EXISTS, instance_key("o_r", "i-1"), "2026-01-01T12:00:00.123456Z"),
        (METRICS, host_key("o_r", "h1"), "2026-01-01T12:00:00.500000Z"),
    ],
)
def test_where_usage_is_taken_notifications_of_it_are_samples(
    body: bytes, key: bytes, at: str
) -> None:
    made = notifications_of(KAFKA, USAGE).convert(body, ARRIVAL)
    (record,) = made.records
    assert (record.topic, record.key) == ("p.samples", key)
    assert {sample.at for sample in decode_samples(record.value or b"").samples} == {at}
    assert made.hosts == frozenset(), "it says nothing of how a host is"
    with pytest.raises(UnusedNotificationError):
        notifications_of(KAFKA, cloud()).convert(body, ARRIVAL)


def test_what_is_forwarded_all_the_same_is_both() -> None:
    keeping = KafkaSettings(topic_prefix="p", retention=RetentionSettings(unused=True))
    made = notifications_of(keeping, USAGE).convert(EXISTS, ARRIVAL)
    assert [record.topic for record in made.records] == ["p.notifications", "p.samples"]


@pytest.mark.parametrize("unused", [False, True])
def test_usage_that_cannot_be_read_is_a_dead_letter_and_costs_nothing_else(unused: bool) -> None:
    body = notifications.body(event_type="compute.instance.exists")
    keeping = KafkaSettings(topic_prefix="p", retention=RetentionSettings(unused=unused))
    made = notifications_of(keeping, USAGE).convert(body, ARRIVAL)
    assert [record.topic for record in made.records] == ["p.notifications"] * unused
    assert made.unread is not None
    assert made.unread.message == body
    assert made.unread.error.startswith("compute.instance.exists: ")


def test_a_metric_that_cannot_be_used_costs_no_other_one_of_its_host() -> None:
    body = metrics(7, METRIC)
    made = notifications_of(KAFKA, USAGE).convert(body, ARRIVAL)
    assert [record.key for record in made.records] == [host_key("o_r", "h1")]
    assert made.unread is not None
    assert made.unread.message == body
    assert made.unread.error.startswith("1 of 2 metrics cannot be used, the first: ")


def test_an_instance_that_is_deleted_uses_nothing() -> None:
    deleted = notifications.body(
        event_type="compute.instance.exists",
        payload={
            "memory_mb": 512,
            "vcpus": 2,
            "root_gb": 1,
            "ephemeral_gb": 0,
            "deleted_at": "2026-01-01T11:00:00.000000",
        },
    )
    with pytest.raises(UnusedNotificationError):
        notifications_of(KAFKA, USAGE).convert(deleted, ARRIVAL)
