"""Samples as records of the samples topic, keyed by what they are about."""

from collections.abc import Mapping, Sequence

from vimfed.alerts.subject import Subject
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.topics import TopicNames
from vimfed.model.keys import home_key
from vimfed.model.records import Source, schema_headers
from vimfed.model.samples import Sample, SampleRecord, encode_samples
from vimfed.settings import KafkaSettings

MOST_SAMPLES = 250
"""Samples of one record: however long their names are, they fit."""


def sample_records(
    kafka: KafkaSettings,
    vim_id: str,
    samples: Mapping[Subject, Sequence[Sample]],
    *,
    source: Source,
    received_at: str,
) -> list[OutgoingRecord]:
    """Return the records of samples: one for each subject, or several where there are many."""
    return [
        _record(
            kafka,
            SampleRecord(
                vim_id=vim_id,
                instance_id=subject.instance_id,
                host=subject.host,
                samples=tuple(told[start : start + MOST_SAMPLES]),
                source=source,
                received_at=received_at,
            ),
        )
        for subject, told in samples.items()
        for start in range(0, len(told), MOST_SAMPLES)
    ]


def _record(kafka: KafkaSettings, record: SampleRecord) -> OutgoingRecord:
    key = home_key(record.vim_id, record.instance_id, record.host)
    return OutgoingRecord(
        TopicNames(kafka.topic_prefix).samples,
        partition_of(key, kafka.partitions),
        key,
        encode_samples(record),
        schema_headers(record.schema_version),
    )
