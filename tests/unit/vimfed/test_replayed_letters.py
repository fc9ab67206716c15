"""Where dead letters go when they are replayed, and which cannot be."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from streams.core.metering import check_record
from tests.support import notifications
from tests.support.ceilometer_messages import VM, bare, counter, metering
from tests.support.sections import vim_of
from vimfed.cli.dead_letter import UnusableLetterError, replayed
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import dead_letter_record
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.settling_dead_letters import DeadLetter
from vimfed.model.keys import host_key, instance_key
from vimfed.model.records import Notification
from vimfed.model.samples import Measurement, Sample, SampleRecord, decode_samples
from vimfed.settings import KafkaSettings, Settings

VIM = "o_r"
AT = "2026-11-29T10:00:02.000000Z"
KAFKA = KafkaSettings(topic_prefix="p", partitions=4)
SETTINGS = Settings(
    kafka=KAFKA,
    vims=[vim_of({"cloud_owner": "o", "cloud_region_id": "r", "samples": {"usage": True}})],
)
SAMPLES = SampleRecord(
    vim_id=VIM, instance_id=VM, samples=(Sample(meter="cpu", volume=1, at=AT),), received_at=AT
)


def letter_of(record: OutgoingRecord) -> DeadLetter:
    headers = {name: value.decode() for name, value in record.headers}
    return DeadLetter(3, 17, datetime.now(UTC), record.key, record.value or b"", headers)


def kept(record: msgspec.Struct, key: bytes, origin: Any) -> DeadLetter:
    """Return the letter that keeps a record of a topic of ours."""
    value = msgspec.json.encode(record)
    return letter_of(
        dead_letter_record(KAFKA, value, "why", source="p.t", key=key, offset=1, origin=origin)
    )


@pytest.mark.parametrize(
    ("record", "origin", "topic", "key"),
    [
        (SAMPLES, "samples", "p.samples", instance_key(VIM, VM)),
        (
            msgspec.structs.replace(SAMPLES, instance_id="", host="h1"),
            "samples",
            "p.samples",
            host_key(VIM, "h1"),
        ),
        (
            Measurement(id="i", vim_id=VIM, instance_id=VM, host="h", begin=AT, end=AT, values=()),
            "measurements",
            "p.measurements",
            instance_key(VIM, VM),
        ),
        (
            Notification(
                message_id="m",
                event_type="compute.instance.update",
                payload=msgspec.Raw(msgspec.json.encode({"instance_id": VM})),
                timestamp=AT,
                vim_id=VIM,
                path="p",
                sequence=1,
                received_at=AT,
            ),
            "notifications",
            "p.notifications",
            instance_key(VIM, VM),
        ),
    ],
)
@pytest.mark.parametrize("wrong", [b"o_r/another", b"o_r/"])
def test_a_record_with_another_key_goes_under_that_of_what_it_is_about(
    record: msgspec.Struct, origin: str, topic: str, key: bytes, wrong: bytes
) -> None:
    letter = kept(record, wrong, origin)
    (made,) = replayed(SETTINGS, letter)
    assert (made.topic, made.key, made.value) == (topic, key, letter.value)
    assert made.partition == partition_of(key, 4)
    if origin == "samples":
        assert check_record(decode_samples(made.value or b""), key), "a worker takes it"


@pytest.mark.parametrize(
    ("record", "key", "why"),
    [
        (SAMPLES, b"x_y/" + VM.encode(), "it says that it is of cloud o_r, and was kept for x_y"),
        (SAMPLES, b"no key", "still unusable: not an instance key"),
        (
            msgspec.structs.replace(SAMPLES, instance_id=""),
            b"o_r/",
            "still unusable: samples of neither an instance nor a host",
        ),
        (
            msgspec.structs.replace(SAMPLES, received_at="now"),
            b"o_r/",
            "still unusable: not a time: received_at 'now'",
        ),
        (
            msgspec.structs.replace(SAMPLES, instance_id="a/b"),
            b"o_r/a/b",
            "still unusable: ",
        ),
    ],
)
def test_what_a_worker_would_not_take_stays_a_dead_letter_with_the_reason(
    record: SampleRecord, key: bytes, why: str
) -> None:
    with pytest.raises(UnusableLetterError, match=why):
        replayed(SETTINGS, kept(record, key, "samples"))


def told(body: bytes, origin: Any) -> DeadLetter:
    """Return the letter that keeps what a cloud sent."""
    record = dead_letter_record(KAFKA, body, "why", source="q", vim_id=VIM, origin=origin)
    return letter_of(record)


@pytest.mark.parametrize("form", [bare, metering])
def test_of_samples_that_can_be_used_in_part_the_others_are_a_new_dead_letter(form: Any) -> None:
    made = replayed(SETTINGS, told(form(counter(), counter(volume=None)), "telemetry"))
    samples, rest = made
    assert samples.topic == "p.samples"
    again = letter_of(rest)
    assert (rest.topic, again.vim_id, again.headers["source"]) == ("p.dead-letter", VIM, "q")
    assert again.headers["error"].startswith("1 of 2 samples cannot be used, the first: ")
    assert [each["counter_volume"] for each in json.loads(again.value)] == [None]
    with pytest.raises(UnusableLetterError, match="still unusable: 1 of 1 samples"):
        replayed(SETTINGS, again)


def test_a_hosts_metrics_that_can_be_used_in_part_are_not_kept_again_and_again() -> None:
    metric = {"name": "cpu.percent", "timestamp": AT, "value": 0.5}
    payload = {"host": "h1", "metrics": [metric, {}]}
    body = notifications.body(event_type="compute.metrics.update", payload=payload)
    with pytest.raises(UnusableLetterError, match="still unusable: 1 of 2 metrics"):
        replayed(SETTINGS, told(body, "cloud"))
