"""What the conductor's failed tasks tell of an instance that nobody has told of before."""

import json
import uuid
from typing import Any

import pytest

from streams.core.news import Passed
from streams.core.normalise import normalise
from tests.support.nova_messages import INSTANCE, VIM, notification, spec_example
from tests.support.playing import play

FLAVOR = {
    "name": "big0",
    "flavorid": "f-7",
    "memory_mb": 2048,
    "vcpus": 3,
    "root_gb": 20,
    "ephemeral_gb": 5,
}
OWNER = {"project_id": "tenant-1", "user_id": "user-1", "availability_zone": "zone-1"}
TOLD = {
    "instance_id": INSTANCE,
    "state": "error",
    "tenant_id": "tenant-1",
    "user_id": "user-1",
    "availability_zone": "zone-1",
    "instance_type": "big0",
    "instance_flavor_id": "f-7",
    "memory_mb": 2048,
    "vcpus": 3,
    "root_gb": 20,
    "ephemeral_gb": 5,
    "disk_gb": 25,
}


def nova_object(data: dict[str, Any], version: str = "1.0") -> dict[str, Any]:
    return {"nova_object.version": version, "nova_object.data": data}


def legacy_payload() -> dict[str, Any]:
    return {
        "instance_id": INSTANCE,
        "state": "error",
        "request_spec": {"instance_properties": OWNER, "instance_type": {"id": 7, **FLAVOR}},
    }


def versioned_payload() -> dict[str, Any]:
    spec = nova_object({**OWNER, "flavor": nova_object(FLAVOR)})
    return nova_object({"instance_uuid": INSTANCE, "state": "error", "request_spec": spec})


def told(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    (event,) = play([notification(event_type, payload)]).events
    flat: dict[str, Any] = json.loads(bytes(event.payload))
    assert flat.keys() == spec_example().keys()
    return flat


@pytest.mark.parametrize(
    ("event_type", "payload", "flavor_row"),
    [
        ("compute_task.build_instances", legacy_payload(), 7),
        ("compute_task.build_instances.error", versioned_payload(), None),
    ],
    ids=["legacy", "versioned"],
)
def test_a_failed_build_tells_every_field_of_its_request(
    event_type: str, payload: dict[str, Any], flavor_row: int | None
) -> None:
    flat = told(event_type, payload)
    assert {name: flat[name] for name in TOLD} == TOLD
    assert flat["instance_type_id"] == flavor_row


@pytest.mark.parametrize(
    "spec", [None, nova_object({}), nova_object({"flavor": None})], ids=["none", "empty", "bare"]
)
def test_a_failed_build_without_a_request_or_a_flavor_tells_the_instance_alone(spec: Any) -> None:
    payload = nova_object({"instance_uuid": INSTANCE, "state": "error", "request_spec": spec})
    flat = told("compute_task.build_instances.error", payload)
    assert (flat["instance_id"], flat["state"]) == (INSTANCE, "error")
    empty = told("compute_task.build_instances", {"instance_id": INSTANCE, "state": "error"})
    assert flat == empty


def test_both_formats_of_a_failed_build_have_one_event_id() -> None:
    name = f"{VIM}/{INSTANCE}/CREATE/error/req-1/compute_task"
    event_id = str(uuid.uuid5(uuid.UUID("6f0f5f3e-8a1d-5c0c-9a3b-2f64b7a1c9d2"), name))
    for event_type, payload in (
        ("compute_task.build_instances", legacy_payload()),
        ("compute_task.build_instances.error", versioned_payload()),
    ):
        (event,) = play([notification(event_type, payload)]).events
        assert event.id == event_id


def test_a_failed_task_of_an_unknown_version_is_passed_over_and_named() -> None:
    one = notification("compute_task.build_instances.error", nova_object({}, "3.0"))
    assert normalise(one) == Passed("unknown_version", "compute_task.build_instances.error")
