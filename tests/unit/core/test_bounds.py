"""What one cloud's writer can make of rows, events and the index: nova's bounds at the door."""

import sys
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.core.bounds import MAX_ITEMS, MAX_MAP_BYTES, bounded_value
from streams.core.fold import FoldedBatch, fold
from streams.core.quota import CloudQuota, quota_of_partition
from streams.worker.instance_index import InstanceIndex
from tests.support.nova_messages import (
    VIM,
    notification,
    spec_example,
    versioned_data,
    versioned_object,
)
from vimfed.model.keys import instance_key
from vimfed.model.records import InstanceState, Notification, decode_row

HUGE = "n" * 900_000
MAX_ROW_BYTES = 256 * 1024


def told(number: int, said: dict[str, Any], form: str = "legacy") -> Notification:
    """Return the notification of an instance of its own, in one of the forms that there are."""
    name = f"vm-{number}"
    if form == "versioned":
        data = {**versioned_data("active"), "uuid": name, **said}
        payload = versioned_object("InstanceActionPayload", data)
        return notification("instance.power_on.end", payload, at=number)
    if form == "report":
        payload = {"instance_id": name, "state": "active", **said}
        return notification("vimfed.instance.state", payload, at=number)
    payload = {**spec_example(), "instance_id": name, **said}
    return notification("compute.instance.power_on.end", payload, at=number)


def folded(*notifications: Notification, quota: CloudQuota | None = None) -> FoldedBatch:
    records = []
    for offset, one in enumerate(notifications):
        payload = msgspec.json.decode(one.payload)
        data = payload.get("nova_object.data", payload)
        key = instance_key(one.vim_id, data.get("uuid") or data["instance_id"])
        value = msgspec.json.encode(one)
        records.append(ConsumerRecord("n", 0, offset, 0, 1, key, value, None, 0, len(value), ()))
    return fold(records, lambda _key: None, quota=quota)


def rows(batch: FoldedBatch) -> list[InstanceState]:
    assert batch.rejected == []
    return [decode_row(row) for row in batch.rows.values() if row is not None]


@pytest.mark.parametrize("form", ["legacy", "versioned", "report"])
def test_150_servers_with_names_of_900_kb_fill_nothing(form: str) -> None:
    index = InstanceIndex()
    index.add_partition(0)
    for number in range(150):
        batch = folded(told(number, {"display_name": HUGE}, form))
        assert batch.rejected == []
        kept = [*batch.rows.values(), *(event for _key, event in batch.events)]
        assert all(len(one or b"") < 10_000 for one in kept)
        for row in batch.rows.values():
            index.put(0, row or b"")
    names = [each.display_name for each in index._partitions[0][VIM].latest.values()]
    assert len(names) == 150
    assert sum(map(sys.getsizeof, names)) < 150 * 1200


@pytest.mark.parametrize("form", ["legacy", "versioned", "report"])
def test_thousands_of_invented_states_are_one_and_older_rows_bring_none_back(form: str) -> None:
    index = InstanceIndex()
    index.add_partition(0)
    task = "task_state" if form == "versioned" else "state_description"
    for number in range(2000):
        said = {"state": f"state-{number}", task: f"task-{number}"}
        for written in folded(told(number % 100, said, form)).rows.values():
            index.put(0, written or b"")
    assert len(index._groups) == 1
    assert index.counts() == {VIM: {"other": 100}}
    (row,) = rows(folded(told(1, {}, form)))
    for number in range(1000):  # what release 0.1.0 has written into the changelog
        old = msgspec.structs.replace(row, vm_state=f"s{number}", task_state=f"t{number}")
        index.put(0, msgspec.json.encode(old))
    assert len(index._groups) == 1


@pytest.mark.parametrize("form", ["legacy", "versioned", "report"])
def test_an_instance_with_an_id_that_nova_cannot_have_is_a_dead_letter(form: str) -> None:
    batch = folded(told(1, {"uuid" if form == "versioned" else "instance_id": "i" * 65}, form))
    assert (batch.rows, batch.events) == ({}, [])
    assert [error for _record, error in batch.rejected] == [
        "the instance's id has 65 characters: not nova's"
    ]
    assert batch.outcomes == {"out_of_bounds": 1}


@pytest.mark.parametrize("field", ["message_id", "request_id", "event_type"])
def test_a_notification_with_ids_of_which_rows_keep_something_is_bounded(field: str) -> None:
    one = msgspec.structs.replace(told(1, {}), **{field: "m" * 256})
    (rejected,) = folded(one).rejected
    assert "length <= 255" in rejected[1]


@pytest.mark.parametrize("form", ["legacy", "versioned", "report"])
def test_no_row_is_large_whatever_a_cloud_says_of_an_instance(form: str) -> None:
    nested = {"a": [{"b": HUGE[:300]}] * 30}
    text = "\x01" * 3000
    worst: dict[str, Any] = {
        **dict.fromkeys(
            ["display_name", "host", "node", "hostname", "host_name", "tenant_id", "user_id"], text
        ),
        **dict.fromkeys(["os_type", "architecture", "kernel_id", "ramdisk_id", "cell_name"], text),
        **dict.fromkeys(["availability_zone", "reservation_id", "image_ref_url"], nested),
        "metadata": {f"{number:0255}": "\x02" * 255 for number in range(130)},
        "image_meta": {f"{number:0255}": "é" * 255 for number in range(150)},
    }
    if form != "report":
        worst |= {"memory_mb": nested, "vcpus": 10**600}
    batch = folded(told(1, worst, form))
    (row,) = rows(batch)
    assert all(len(one or b"") < MAX_ROW_BYTES for one in batch.rows.values())
    assert all(len(event) < MAX_ROW_BYTES for _key, event in batch.events)
    payload = msgspec.json.decode(row.payload)
    assert payload["display_name"] == "\x01" * 254 + "…"
    assert payload["node"] in (None, "\x01" * 254 + "…")
    assert len(payload["metadata"]) <= MAX_ITEMS["metadata"]
    assert len(msgspec.json.encode(payload["metadata"])) <= MAX_MAP_BYTES


def test_what_nova_can_have_passes_as_it_is() -> None:
    most: dict[str, Any] = {
        "display_name": "é" * 255,
        "hostname": "h" * 255,
        "metadata": {f"{number:0255}": "v" * 255 for number in range(128)},
        "image_meta": {f"key-{number}": "v" * 255 for number in range(136)},
    }
    (row,) = rows(folded(told(1, most)))
    assert most.items() <= msgspec.json.decode(row.payload).items()


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("hostname", '"h"', '"h"'),
        ("hostname", '"' + "\\u0041" * 200 + '"', '"' + "\\u0041" * 200 + '"'),
        ("hostname", '["' + "h" * 300 + '"]', None),
        ("metadata", '["' + "h" * 300 + '"]', None),
        ("metadata", '{"a": ["' + "h" * 300 + '"], "b": "c"}', '{"b":"c"}'),
        ("metadata", '{"' + "k" * 256 + '": "v", "b": null}', '{"b":null}'),
        ("memory_mb", "1" * 300, None),
    ],
)
def test_a_value_that_cannot_be_made_shorter_is_left_out(
    name: str, value: str, kept: str | None
) -> None:
    within = bounded_value(name, msgspec.Raw(value.encode()))
    assert (None if within is None else bytes(within).decode()) == kept


def test_beyond_its_quota_a_clouds_new_instances_are_dead_letters_and_known_ones_go_on() -> None:
    held = {VIM: 3, "Other_Region": 0}
    quota = CloudQuota(5, held.__getitem__)
    others = msgspec.structs.replace(told(9, {}), vim_id="Other_Region")
    again = msgspec.structs.replace(told(1, {"state": "paused"}), message_id="another", sequence=9)
    batch = folded(*(told(number, {}) for number in range(4)), again, others, quota=quota)
    assert [record.offset for record, _error in batch.rejected] == [2, 3]
    assert {error for _record, error in batch.rejected} == {
        f"cloud {VIM} has 5 instances in this partition, its share of worker.instances_per_cloud: "
        "a new one is not taken in"
    }
    assert batch.outcomes["over_quota"] == 2
    names = {decode_row(row or b"").instance_id for row in batch.rows.values()}
    assert names == {"vm-0", "vm-1", "vm-9"}
    assert len(batch.events) == 4


def test_a_partition_has_its_share_of_the_quota_and_what_chance_may_add() -> None:
    assert quota_of_partition(200_000, 1) == 200_000
    assert quota_of_partition(200_000, 8) == 25_791
    assert quota_of_partition(8, 8) == 6
    assert quota_of_partition(0, 8) == float("inf")
