import pytest

from tests.support.connect_headers import connect_context
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import (
    MAX_VALUE_BYTES,
    NOT_WRITTEN,
    UNFIT,
    Failure,
    Origin,
    dead_letter_record,
)
from vimfed.kafka.topics import TopicNames
from vimfed.model.records import MAX_RECORD_BYTES
from vimfed.settings import KafkaSettings

KAFKA = KafkaSettings(topic_prefix="p", partitions=4)
NAMES = TopicNames("p")


def own_headers(record: OutgoingRecord) -> dict[str, bytes]:
    """Return the headers but for Kafka Connect's."""
    return {
        name: value for name, value in record.headers if not name.startswith("__connect.errors.")
    }


def test_a_dead_letter_tells_where_it_came_from_and_why() -> None:
    record = dead_letter_record(
        KAFKA, b"bytes", "no event_type", source="t", key=b"k", partition=3, offset=9, vim_id="o_r"
    )
    assert (record.topic, record.key, record.value) == ("p.dead-letter", b"k", b"bytes")
    assert own_headers(record) == {
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
    assert set(own_headers(record)) == {"origin", "source", "error", "vim_id"}


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


def test_a_tool_for_the_dead_letters_of_kafka_connect_reads_ours() -> None:
    place = {"source": "p.events", "key": b"k", "partition": 3, "offset": 9}
    record = dead_letter_record(KAFKA, b"x", "refused: 413", output="mr", origin="events", **place)  # type: ignore[arg-type]
    told = connect_context(record.headers)
    assert (told.topic, told.partition, told.offset) == ("p.events", 3, 9)
    assert (told.connector, told.task) == (NAMES.publisher_group("mr"), 0)
    assert (told.stage, told.executing_class) == ("TASK_PUT", "vimfed.Output")
    assert (told.exception, told.message) == ("vimfed.Undelivered", "refused: 413")
    assert told.stacktrace == "vimfed.Undelivered: refused: 413"


def test_what_came_from_no_topic_has_the_place_that_kafka_connect_gives_it() -> None:
    told = connect_context(dead_letter_record(KAFKA, b"x", "why", source="notifications").headers)
    assert (told.topic, told.partition, told.offset) == ("", -1, -1)


@pytest.mark.parametrize(
    ("origin", "failure", "connector", "stage"),
    [
        ("cloud", None, "p-intake", "VALUE_CONVERTER"),
        ("telemetry", None, "p-intake", "VALUE_CONVERTER"),
        ("notifications", None, NAMES.worker_group, "TRANSFORMATION"),
        ("samples", None, NAMES.worker_group, "TRANSFORMATION"),
        ("samples", NOT_WRITTEN, "p-intake", "KAFKA_PRODUCE"),
        ("events", None, "p-publisher", "TASK_PUT"),
        ("measurements", UNFIT, "p-publisher", "VALUE_CONVERTER"),
    ],
)
def test_kafka_connects_headers_say_who_could_not_do_what(
    origin: Origin, failure: Failure | None, connector: str, stage: str
) -> None:
    record = dead_letter_record(KAFKA, b"x", "why", source="t", origin=origin, failure=failure)
    told = connect_context(record.headers)
    assert (told.connector, told.stage) == (connector, stage)


def test_a_header_that_is_cut_is_still_utf_8() -> None:
    record = dead_letter_record(KAFKA, b"x", "x" + "\u00fc" * 5000, source="t")
    assert dict(record.headers)["error"].decode() == "x" + "\u00fc" * 499
    assert dict(record.headers)["__connect.errors.exception.stacktrace"].decode()
