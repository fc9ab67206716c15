"""Clouds whose servers live on and on, told in both formats as nova tells them."""

import json
import random
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol

from confluent_kafka import Producer

from tests.simulated_nova import (
    Server,
    Told,
    create,
    lock,
    over_one_task,
    reset_state,
    set_metadata,
)
from tests.support.nova_messages import INSTANCE
from vimfed.model.records import Notification

OPERATIONS = (
    ("active", over_one_task("power_off", "powering-off", "stopped")),
    ("stopped", over_one_task("power_on", "powering-on", "active")),
    ("active", over_one_task("pause", "pausing", "paused")),
    ("paused", over_one_task("unpause", "unpausing", "active")),
    ("active", over_one_task("suspend", "suspending", "suspended")),
    ("suspended", over_one_task("resume", "resuming", "active")),
    ("active", over_one_task("snapshot", "image_snapshot", "active")),
    ("active", set_metadata),
    ("active", lock),
    ("active", reset_state),
)
STATES = ("building", "active", "stopped", "paused", "suspended", "error")
"""Every vm_state that these operations pass through."""


class CloudSender(Protocol):
    """Brings a body to a cloud's broker."""

    def send(self, content: bytes, queue: str) -> None:
        """Return when the broker has it; ``queue`` is <topic>.<priority>."""


class KafkaCloud:
    """A cloud that notifies over Kafka, to topics of one partition."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0}
        )
        self._prefix = prefix

    def send(self, content: bytes, queue: str) -> None:
        """Return when the broker has it; all lie in one topic, to stay in order."""
        self._producer.produce(f"{self._prefix}.{queue.rpartition('.')[2]}", content, partition=0)
        if self._producer.flush(60):
            raise RuntimeError("Kafka has not taken a notification for a minute")


class NovaLoad:
    """One cloud's servers; every one in turn tells the next thing of an operation."""

    def __init__(self, sender: CloudSender, *, instances: int, rate: float, seed: int) -> None:
        self.instance_ids = [str(uuid.UUID(int=seed << 64 | n)) for n in range(instances)]
        self.sent: dict[tuple[str, str], str] = {}
        """(instance id, time of a notification) → the vm_state that it told."""
        self.message_ids: set[str] = set()
        """Of everything that the cloud's broker has confirmed."""
        self.error = ""
        self._sender, self._rate = sender, rate
        self._chance = random.Random(seed)
        self._servers = {instance_id: Server(gap=0.01) for instance_id in self.instance_ids}
        self._to_tell: dict[str, list[Told]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def states(self) -> dict[str, tuple[str, str]]:
        """vm_state and task_state of each server, as nova knows them when the load has ended."""
        return {key: (server.state, server.task) for key, server in self._servers.items()}

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """Tell what has begun to its end, and no more."""
        self._stopping.set()
        self._thread.join()
        if self.error:
            raise RuntimeError(self.error)

    def _run(self) -> None:
        try:
            began, told = time.monotonic(), 0
            while True:
                for instance_id in self.instance_ids:
                    if not self._to_tell.get(instance_id):
                        if self._stopping.is_set():
                            continue
                        self._to_tell[instance_id] = self._operate(self._servers[instance_id])
                    told_now = self._to_tell[instance_id].pop(0)
                    for notification in (told_now.legacy, told_now.versioned):
                        if notification is None:
                            continue
                        self._tell(instance_id, notification)
                        told += 1
                        time.sleep(max(0.0, began + told / self._rate - time.monotonic()))
                if self._stopping.is_set() and not any(self._to_tell.values()):
                    return
        except Exception as error:
            self.error = repr(error)
            raise

    def _operate(self, server: Server) -> list[Told]:
        """Let something happen to a server; return what nova tells of it."""
        server.begin()
        if server.state == "building":
            create(server)
        else:
            possible = [operate for state, operate in OPERATIONS if state == server.state]
            self._chance.choice(possible)(server)
        told = list(server.told)
        server.told.clear()
        return told

    def _tell(self, instance_id: str, notification: Notification) -> None:
        now = datetime.now(UTC)
        message_id = str(uuid.uuid4())
        payload = bytes(notification.payload).replace(INSTANCE.encode(), instance_id.encode())
        told = json.loads(payload)
        state = told.get("nova_object.data", told)["state"]
        message = {
            "message_id": message_id,
            "publisher_id": notification.publisher_id,
            "event_type": notification.event_type,
            "priority": "INFO",
            "payload": told,
            "timestamp": now.strftime("%Y-%m-%d %H:%M:%S.%f"),
            "_unique_id": uuid.uuid4().hex,
            "_context_request_id": f"{notification.request_id}-{instance_id}",
        }
        # Before it is sent: a query may find it sooner than the broker's confirmation comes.
        self.sent[instance_id, now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")] = state
        is_versioned = "nova_object.data" in told
        self._sender.send(
            json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode(),
            f"{'versioned_' if is_versioned else ''}notifications.info",
        )
        self.message_ids.add(message_id)
