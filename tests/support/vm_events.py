"""VmEvents for the tests, and what becomes of them on a topic."""

import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
from confluent_kafka import Producer

from tests.support.nova_messages import spec_example
from vimfed.kafka.partitions import partition_of
from vimfed.kafka.topic_checks import ensure_topics
from vimfed.model.keys import home_key
from vimfed.model.records import AlarmStep, VmEvent
from vimfed.nova.host_report import Heartbeat
from vimfed.settings import KafkaSettings

SPEC_EXAMPLE = spec_example()
VIM_ID = "CloudOwner_RegionOne"

_encode = msgspec.json.Encoder().encode


HOST_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("old_state", "old_task_state", "new_state", "new_task_state"), ""),
    "instance_id": "",
    "source": "poller",
}


def host_event(host: str = "compute-1", **fields: Any) -> VmEvent:
    """Return what is told of a host that goes down; ``fields`` override."""
    report = {
        "host": host,
        "is_up": False,
        "forced_down": False,
        "disabled": False,
        "disabled_reason": "",
    }
    values = {
        **HOST_FIELDS,
        "kind": "HOST_DOWN",
        "phase": "start",
        "host": host,
        "reason": "host_down",
        "alarm": alarm_step("host_down"),
        "payload": msgspec.Raw(_encode(report)),
    }
    return msgspec.structs.replace(vm_event(), **{**values, **fields})


def heartbeat_event(**fields: Any) -> VmEvent:
    """Return a bridge's heartbeat; ``fields`` override."""
    told = Heartbeat(interval=30.0, lag=1.25, sources={"rabbit": True, "poll": False})
    values = {**HOST_FIELDS, "kind": "HEARTBEAT", "payload": msgspec.Raw(_encode(told))}
    return msgspec.structs.replace(vm_event(), **{**values, **fields})


def alarm_step(condition: str, **fields: Any) -> AlarmStep:
    """Return the step that raises an alarm; ``fields`` override."""
    values = {
        "step": "raised",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, condition)),
        "started_at": "2026-01-01T12:00:00.000001Z",
    }
    return AlarmStep(condition=condition, **{**values, **fields})


def vm_event(
    instance_id: str = "vm-1", *, payload: dict[str, Any] | None = None, **fields: Any
) -> VmEvent:
    """Return an event; ``fields`` override."""
    flat = {**SPEC_EXAMPLE, "instance_id": instance_id, **(payload or {})}
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "vim_id": VIM_ID,
        "instance_id": instance_id,
        "kind": "PAUSE",
        "phase": "end",
        "old_state": "active",
        "old_task_state": "pausing",
        "new_state": "paused",
        "new_task_state": "",
        "changed_at": "2026-01-01T12:00:00.123456Z",
        "late": False,
        "source": "oslo",
        "payload": msgspec.Raw(json.dumps(flat).encode()),
        **fields,
    }
    return VmEvent(**values)


async def create_topics(bootstrap: str, prefix: str, partitions: int = 8) -> None:
    """Create the job's topics."""
    await ensure_topics(
        KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix, partitions=partitions)
    )


def write_events(
    bootstrap: str,
    prefix: str,
    events: Iterable[VmEvent],
    *,
    partitions: int = 8,
    rate: float | None = None,
) -> dict[str, int]:
    """Write events as a worker does; return by id when Kafka took each, in ms since 1970."""
    taken: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    began = time.monotonic()
    for number, event in enumerate(events):
        key = home_key(event.vim_id, event.instance_id, event.host or "")

        def note(error: Any, message: Any, event_id: str = event.id) -> None:
            assert error is None, error
            taken[event_id] = message.timestamp()[1]

        producer.produce(
            f"{prefix}.events",
            _encode(event),
            key,
            partition_of(key, partitions),
            on_delivery=note,
        )
        producer.poll(0)
        if rate is not None:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
    assert producer.flush(60) == 0
    return taken
