"""Samples as records of the samples topic."""

from vimfed.alerts.subject import Subject
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.sample_records import sample_records
from vimfed.model.keys import host_key, instance_key
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.model.samples import Sample, SampleRecord, decode_samples
from vimfed.settings import KafkaSettings
from vimfed.telemetry.reading import MAX_WORD

KAFKA = KafkaSettings(topic_prefix="t", partitions=4)
AT = "2026-01-01T12:00:00.000000Z"
VM, HOST = Subject(instance_id="i-1"), Subject(host="h1")


def test_each_subject_has_its_record_under_its_key() -> None:
    sample = Sample(meter="m", volume=1, at=AT)
    records = sample_records(
        KAFKA, "o_r", {VM: [sample, sample], HOST: [sample]}, source="oslo", received_at=AT
    )
    assert [record.key for record in records] == [instance_key("o_r", "i-1"), host_key("o_r", "h1")]
    for record in records:
        assert record.topic == "t.samples"
        assert record.partition == partition_of(record.key or b"", 4)
    assert [decode_samples(record.value or b"") for record in records] == [
        SampleRecord(vim_id="o_r", instance_id="i-1", samples=(sample, sample), received_at=AT),
        SampleRecord(vim_id="o_r", host="h1", samples=(sample,), received_at=AT),
    ]


def test_of_many_long_ones_each_record_is_one_that_kafka_takes() -> None:
    long = "\U0001f600" * MAX_WORD
    sample = Sample(
        meter=long,
        volume=-1.2345678901234567e-300,
        at=AT,
        kind="cumulative",
        unit=long,
        device=long,
        vcpus=65536,
    )
    records = sample_records(KAFKA, "o_r", {VM: [sample] * 1001}, source="oslo", received_at=AT)
    assert all(len(record.value or b"") < MAX_RECORD_BYTES for record in records)
    assert sum(len(decode_samples(record.value or b"").samples) for record in records) == 1001
