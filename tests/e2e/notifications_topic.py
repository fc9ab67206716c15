"""The notifications topic, written to as the bridge does."""

import json
import uuid
from typing import Any

import msgspec
from confluent_kafka import Producer

from tests.e2e.stack import Stack
from tests.support.nova_messages import spec_example
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key
from vimfed.model.records import Notification

PARTITIONS = 8


class NotificationsTopic:
    """Writes what one cloud tells."""

    def __init__(self, stack: Stack, vim_id: str) -> None:
        self._vim_id = vim_id
        self._name = stack.names.notifications
        self._producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
        self._sequence = 0

    def write(
        self,
        key: bytes,
        value: bytes,
        partition: int | None = None,
        headers: dict[str, str | bytes | None] | None = None,
    ) -> None:
        """Write a record and wait until it is acknowledged."""
        if partition is None:
            partition = partition_of(key, PARTITIONS)
        self._producer.produce(self._name, value, key, partition, headers=headers or {})
        assert self._producer.flush(30) == 0

    def tell(
        self,
        instance_id: str,
        event_type: str = "compute.instance.pause.end",
        second: int = 0,
        **payload: Any,
    ) -> None:
        """Write a notification of an instance, sent and received at a second of a minute."""
        self._sequence += 1
        fields = {"state": "paused", "state_description": "", **payload}
        notification = Notification(
            message_id=str(uuid.uuid4()),
            event_type=event_type,
            payload=msgspec.Raw(
                json.dumps({**spec_example(), "instance_id": instance_id, **fields}).encode()
            ),
            timestamp=f"2026-01-01 12:00:{second:02}.000000",
            request_id=f"req-{self._sequence}",
            vim_id=self._vim_id,
            path="test",
            sequence=self._sequence,
            received_at=f"2026-01-01T12:00:{second:02}.000000Z",
        )
        self.write(instance_key(self._vim_id, instance_id), msgspec.json.encode(notification))
