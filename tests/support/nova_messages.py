"""Notifications as nova would send them, built field by field for tests of single cases."""

import json
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from tests.support.paths import DATA
from vimfed.model.records import Notification

VIM = "openstack_region"
INSTANCE = "4f398943-7d39-4119-8058-74768d6dfa52"
BEGIN = datetime(2026, 1, 1, 12, 0, 0, 123456)


@cache
def spec_example() -> dict[str, Any]:
    """Return the message that the specification prints as its example."""
    path = DATA / "spec-example.json"
    example: dict[str, Any] = json.loads(path.read_text())
    return example


def sent_at(seconds: float) -> str:
    """Return an envelope's timestamp."""
    return str(BEGIN + timedelta(seconds=seconds))


def notification(
    event_type: str,
    payload: Any,
    *,
    at: float = 0.0,
    request: str | None = "req-1",
    publisher: str = "compute.compute01",
    message_id: str | None = None,
    path: str = "queue",
    sequence: int = 0,
    timestamp: str | None = None,
    received: float | None = None,
) -> Notification:
    """Return one notification as the bridge stamps it; ``at`` and ``received`` are in seconds."""
    received_at = BEGIN + timedelta(seconds=at if received is None else received)
    return Notification(
        message_id=message_id or f"{event_type} {at} {request} {publisher}",
        event_type=event_type,
        payload=msgspec.Raw(json.dumps(payload).encode()),
        publisher_id=publisher,
        timestamp=sent_at(at) if timestamp is None else timestamp,
        request_id=request,
        vim_id=VIM,
        path=path,
        sequence=sequence,
        received_at=received_at.isoformat(timespec="microseconds") + "Z",
    )


def legacy(
    name: str,
    state: str = "active",
    task: str | None = "",
    *,
    old: tuple[str, str | None] | None = None,
    fields: dict[str, Any] | None = None,
    **envelope: Any,
) -> Notification:
    """Return ``compute.instance.<name>``; ``old`` are an update's old states."""
    payload = {**spec_example(), "state": state, "state_description": task}
    if old is not None:
        payload |= {"old_state": old[0], "old_task_state": old[1], "new_task_state": task or None}
    return notification(f"compute.instance.{name}", payload | (fields or {}), **envelope)


def versioned_object(name: str, data: dict[str, Any], version: str = "1.0") -> dict[str, Any]:
    """Return ``data`` as a versioned object."""
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    }


def versioned_data(state: str = "active", task: str | None = None) -> dict[str, Any]:
    """Return what a versioned payload tells of the specification's example."""
    example = spec_example()
    flavor = {
        "flavorid": example["instance_flavor_id"],
        "memory_mb": example["memory_mb"],
        "vcpus": example["vcpus"],
        "root_gb": example["root_gb"],
        "ephemeral_gb": example["ephemeral_gb"],
        "name": example["instance_type"],
    }
    return {
        "uuid": example["instance_id"],
        "state": state,
        "task_state": task,
        "power_state": "running",
        "host": example["host"],
        "node": example["node"],
        "tenant_id": example["tenant_id"],
        "user_id": example["user_id"],
        "display_name": example["display_name"],
        "host_name": example["hostname"],
        "reservation_id": example["reservation_id"],
        "image_uuid": "207b9b7c-9450-4a95-852b-0d6d41f35d24",
        "created_at": "2018-03-07T05:58:01Z",
        "launched_at": "2018-03-07T05:59:46Z",
        "terminated_at": None,
        "deleted_at": None,
        "kernel_id": "",
        "ramdisk_id": "",
        "os_type": None,
        "architecture": None,
        "availability_zone": example["availability_zone"],
        "progress": 0,
        "metadata": {},
        "flavor": versioned_object("FlavorPayload", flavor, "1.4"),
        "state_update": None,
    }


def versioned(
    name: str,
    state: str = "active",
    task: str | None = None,
    *,
    old: tuple[str, str | None] | None = None,
    fields: dict[str, Any] | None = None,
    version: str = "1.9",
    **envelope: Any,
) -> Notification:
    """Return ``instance.<name>``; ``old`` are an update's old states."""
    data = versioned_data(state, task)
    if old is not None:
        update = {
            "old_state": old[0],
            "state": state,
            "old_task_state": old[1],
            "new_task_state": task,
        }
        data["state_update"] = versioned_object("InstanceStateUpdatePayload", update)
    payload = versioned_object("InstanceActionPayload", data | (fields or {}), version)
    envelope = {"publisher": "nova-compute:compute01", **envelope}
    return notification(f"instance.{name}", payload, **envelope)


def in_order(*notifications: Notification, begin: int = 0) -> list[Notification]:
    """Return notifications as one path delivers them: numbered as they stand here."""
    return [
        msgspec.structs.replace(one, sequence=sequence)
        for sequence, one in enumerate(notifications, begin)
    ]
