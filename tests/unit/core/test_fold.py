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
from vimfed.model.keys import instance_key
from vimfed.model.records import MAX_RECORD_BYTES, Notification, decode_event

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


LARGE = "x" * 480_000


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # An event says both states, and its payload the new one again.
        (legacy("pause.end", LARGE), legacy("unpause.end", LARGE + "x", at=1)),
        # A row keeps what a report does not say.
        (
            report({"metadata": {"a": LARGE * 2}}, 0),
            report({"image_meta": {"a": LARGE * 2}, "state_description": "pausing"}, 1),
        ),
    ],
)
def test_what_makes_a_row_or_an_event_too_large_is_refused_and_changes_nothing(
    first: Notification, second: Notification
) -> None:
    alone, both = folded(first), folded(first, second, legacy("unpause.end", "active", at=2))
    assert alone.rejected == []
    assert list(errors(both)) == [1]
    assert "too large" in errors(both)[1]
    assert told(both) == [*told(alone), "UNPAUSE"]
    assert all(len(KEY) + len(row or b"") <= MAX_RECORD_BYTES for row in both.rows.values())


def test_an_instance_id_that_is_too_large_for_a_row_is_refused() -> None:
    # The row says it twice, behind a key that says it too.
    instance_id = "x" * 350_000
    large = legacy("pause.end", "paused", fields={"instance_id": instance_id})
    batch = folded(large, key=instance_key(VIM, instance_id))
    assert "too large" in errors(batch)[0]
    assert (batch.rows, batch.events) == ({}, [])


def test_what_is_nested_so_deeply_that_others_could_not_read_it_is_refused() -> None:
    for depth in (*range(300, 620, 7), 900, 5000):
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
