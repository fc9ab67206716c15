"""What a batch of records becomes: what is refused, and what is not."""

from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.core.fold import FoldedBatch, fold
from streams.worker.instance_index import InstanceIndex
from tests.support.nova_messages import (
    INSTANCE,
    VIM,
    in_order,
    legacy,
    notification,
    versioned_data,
    versioned_object,
)
from vimfed.kafka.notification_writer import notification_record
from vimfed.model.keys import instance_key
from vimfed.model.records import (
    NewerSchemaError,
    Notification,
    decode_event,
    decode_row,
    schema_headers,
)
from vimfed.settings import KafkaSettings

KEY = instance_key(VIM, INSTANCE)


def folded(*notifications: Notification, key: bytes = KEY) -> FoldedBatch:
    records = [
        ConsumerRecord("source", 0, offset, 0, 1, key, value, None, 0, len(value), ())
        for offset, value in enumerate(map(msgspec.json.encode, in_order(*notifications)))
    ]
    return fold(records, lambda _key: None)


def errors(batch: FoldedBatch) -> dict[int, str]:
    return {record.offset: error for record, error in batch.rejected}


def told(batch: FoldedBatch) -> list[str]:
    return [msgspec.json.decode(event)["kind"] for _key, event in batch.events]


def versioned_named(name: Any) -> Notification:
    data = versioned_data("paused") | {"display_name": name}
    return notification("instance.pause.end", versioned_object("InstanceActionPayload", data))


def report(fields: dict[str, Any], at: float) -> Notification:
    said = {"instance_id": INSTANCE, "state": "active", **fields}
    return notification("vimfed.instance.state", said, at=at)


@pytest.mark.parametrize("name", [5, ["VM1"], {"a": "b"}, True])
def test_a_display_name_that_is_no_text_is_left_out(name: Any) -> None:
    batch = folded(
        legacy("pause.end", "paused", fields={"display_name": name}),
        legacy("unpause.end", "active", at=2),
    )
    assert errors(batch) == {}
    assert told(batch) == ["PAUSE", "UNPAUSE"]
    first = msgspec.json.decode(batch.events[0][1])
    assert first["payload"]["display_name"] == ""


@pytest.mark.parametrize("name", ["VM1", "", None, 5, ["VM1"], {"a": "b"}, True])
def test_whatever_is_folded_the_index_can_read(name: Any) -> None:
    index = InstanceIndex()
    index.add_partition(0, [])
    for one in (
        legacy("pause.end", "paused", fields={"display_name": name}),
        versioned_named(name),
        report({"display_name": name}, 1),
        report({}, 1),
    ):
        batch = folded(one)
        assert batch.rejected == []
        index.put(0, batch.rows[KEY] or b"")


def test_what_makes_a_row_too_large_is_refused_and_changes_nothing() -> None:
    # A row keeps what a report does not say, and release 0.1.0 kept maps of any size.
    first = folded(legacy("pause.end", "paused")).rows[KEY]
    row = decode_row(first or b"")
    payload = msgspec.json.decode(row.payload) | {"image_meta": {"a": "x" * 990_000}}
    large = msgspec.structs.replace(row, payload=msgspec.Raw(msgspec.json.encode(payload)))
    said = report({"metadata": {f"{n}": "y" * 200 for n in range(128)}, "state": "stopped"}, 1)
    value = msgspec.json.encode(msgspec.structs.replace(said, sequence=1))
    record = ConsumerRecord("source", 0, 0, 0, 1, KEY, value, None, 0, len(value), ())
    batch = fold([record], lambda _key: large)
    assert errors(batch) == {0: "too large: what it says, with what was known before"}
    assert (batch.rows, batch.events) == ({}, [])


NEWER = msgspec.json.encode(
    {**msgspec.json.decode(msgspec.json.encode(legacy("pause.end"))), "schema_version": 99}
)


def with_headers(value: bytes, *headers: tuple[str, bytes]) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("source", 0, 0, 0, 1, KEY, value, None, 0, len(value), headers)


@pytest.mark.parametrize("headers", [(), [("schema-version", b"98")], [("source", b"99")]])
def test_a_record_of_a_newer_schema_that_no_newer_version_says_is_its_own_is_a_dead_letter(
    headers: list[tuple[str, bytes]],
) -> None:
    good = with_headers(msgspec.json.encode(legacy("pause.end", "paused")))
    batch = fold([with_headers(NEWER, *headers), good], lambda _key: None)
    ((_record, error),) = batch.rejected
    assert error.startswith("schema version 99, and 1 is the newest that is known here, without")
    assert batch.outcomes["newer_schema"] == 1
    assert told(batch) == ["PAUSE"]


def test_a_record_that_a_newer_version_says_it_wrote_ends_who_reads_it() -> None:
    with pytest.raises(NewerSchemaError, match="a newer version wrote it"):
        fold([with_headers(NEWER, *schema_headers(99))], lambda _key: None)


def test_a_writer_of_a_later_schema_version_says_so_and_this_one_adds_nothing() -> None:
    kafka, one = KafkaSettings(), legacy("pause.end", "paused")
    assert notification_record(kafka, one, INSTANCE).headers == ()
    msgspec.structs.force_setattr(one, "schema_version", 2)
    assert notification_record(kafka, one, INSTANCE).headers == (("schema-version", b"2"),)


def test_what_is_nested_so_deeply_that_others_could_not_read_it_is_refused() -> None:
    for depth in (*range(130, 620, 7), 900, 5000):
        text = b"[" * depth + b"]" * depth
        deep = {"metadata": msgspec.Raw(text)}
        payload = msgspec.Raw(
            msgspec.json.encode({"instance_id": INSTANCE, "state": "paused", **deep})
        )
        one = msgspec.structs.replace(legacy("pause.end", "paused"), payload=payload)
        said = msgspec.structs.replace(report({}, 1), payload=payload)
        batch = folded(one, said, legacy("unpause.end", "active", at=2))
        if depth < 500:
            assert batch.rejected == []
        assert "UNPAUSE" in told(batch)
        index = InstanceIndex()
        index.add_partition(0, [(KEY, batch.rows[KEY] or b"")])
        for _key, event in batch.events:
            decode_event(event)


def test_many_values_beside_each_other_are_not_nested() -> None:
    wide: dict[str, Any] = {"metadata": [[]] * 2000}
    assert told(folded(legacy("pause.end", "paused", fields=wide))) == ["PAUSE"]
