from vimfed.kafka.dead_letter import MAX_VALUE_BYTES, dead_letter_record
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import KafkaSettings

KAFKA = KafkaSettings(topic_prefix="p", partitions=4)


def test_a_dead_letter_tells_where_it_came_from_and_why() -> None:
    record = dead_letter_record(
        KAFKA, b"bytes", "no event_type", source="t", key=b"k", partition=3, offset=9, vim_id="o_r"
    )
    assert (record.topic, record.key, record.value) == ("p.dead-letter", b"k", b"bytes")
    assert dict(record.headers) == {
        "origin": b"cloud",
        "source": b"t",
        "partition": b"3",
        "offset": b"9",
        "error": b"no event_type",
        "vim_id": b"o_r",
    }


def test_a_queue_has_neither_partition_nor_offset() -> None:
    record = dead_letter_record(KAFKA, b"x", "why", source="vimfed", vim_id="o_r")
    assert record.key is None
    assert set(dict(record.headers)) == {"origin", "source", "error", "vim_id"}


def test_what_is_too_large_for_a_record_is_cut_and_says_how_large_it_was() -> None:
    record = dead_letter_record(KAFKA, b"x" * 3_000_000, "e" * 5000, source="q")
    assert len(record.value or b"") == MAX_VALUE_BYTES
    assert dict(record.headers)["size"] == b"3000000"
    assert sum(len(value) for _, value in record.headers) + MAX_VALUE_BYTES < MAX_RECORD_BYTES


def test_a_key_that_is_too_large_for_a_record_is_cut() -> None:
    record = dead_letter_record(KAFKA, b"x" * 3_000_000, "why", source="t", key=b"k" * 3_000_000)
    assert record.key
    assert record.value
    assert len(record.key) + len(record.value) == MAX_VALUE_BYTES
