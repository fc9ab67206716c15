"""Messages as ceilometer's publishers send them."""

import json
import uuid
from typing import Any

VM = "a4e0dbe1-7fd5-4c31-bbe2-6d1b3a9c1d20"
AT = "2026-11-29T10:00:00.123456"
METADATA = {
    "display_name": "vm-1",
    "instance_id": VM,
    "host": "8a9f6e0b",  # nova's hostId
    "instance_host": "compute1",
    "flavor": {"id": "1", "name": "m1.tiny", "vcpus": 2, "ram": 512, "disk": 1, "ephemeral": 0},
    "status": "active",
    "vcpus": 2,
}


def counter(meter: str = "memory.usage", volume: object = 1.5, **changes: Any) -> dict[str, Any]:
    """Return a sample of the instance VM; ``changes`` override."""
    made = {
        "source": "openstack",
        "counter_name": meter,
        "counter_type": "gauge",
        "counter_unit": "MiB",
        "counter_volume": volume,
        "user_id": "u",
        "user_name": None,
        "project_id": "p",
        "project_name": None,
        "resource_id": VM,
        "timestamp": AT,
        "resource_metadata": METADATA,
        "message_id": "8c3e0a4c-1d2f-11ef-9c52-0242ac120002",
        "monotonic_time": 4711.5,
        "message_signature": "",
    }
    return made | changes


def sample_of(instance_id: str, volume: float, **changes: Any) -> dict[str, Any]:
    """Return a sample of any instance."""
    metadata = METADATA | {"instance_id": instance_id}
    return counter(
        volume=volume, resource_id=instance_id, **({"resource_metadata": metadata} | changes)
    )


def notification(payload: Any, event_type: str = "metering") -> dict[str, Any]:
    """Return the message that has this payload."""
    return {
        "message_id": str(uuid.uuid4()),
        "publisher_id": "telemetry.publisher.c1",
        "event_type": event_type,
        "priority": "SAMPLE",
        "payload": payload,
        "timestamp": "2026-11-29 10:00:01.000000",
    }


def enveloped(message: Any) -> bytes:
    """Return a message in oslo's envelope."""
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def bare(*counters: Any) -> bytes:
    """Return samples as the former publisher kafka:// sent them."""
    return json.dumps(counters).encode()


def metering(*counters: Any) -> bytes:
    """Return samples as the publisher notifier:// sends them."""
    return enveloped(notification(list(counters)))
