"""A steady load of notifications about a fixed set of instances, and clients that check answers."""

import http.client
import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, Self

import msgspec
from confluent_kafka import Producer

from tests.support.nova_messages import spec_example
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key
from vimfed.model.records import Notification

VIM_ID = "CloudOwner_RegionOne"
INSTANCES = "/api/multicloud/v1/CloudOwner/RegionOne/instances"
STATUS = f"/{VIM_ID}/check_vim_status"
SPEC_EXAMPLE = spec_example()
EVENTS = (("compute.instance.pause.end", "paused"), ("compute.instance.unpause.end", "active"))


class Load:
    """Writes notifications at a steady rate, until ``stop``: every instance pauses and goes on."""

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, *, instances: int, rate: float
    ) -> None:
        self.instance_ids = [str(uuid.uuid4()) for _ in range(instances)]
        self.sent: dict[tuple[str, str], str] = {}
        """(instance id, time of the change) → the vm_state that it told."""
        self.count = 0
        self._topic, self._partitions, self._rate = topic, partitions, rate
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "delivery.timeout.ms": 120_000,
                "queue.buffering.max.messages": 10**6,
                "log_level": 0,
            }
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Write one notification of every instance, wait until they are there, and go on."""
        self.fill()
        self._thread.start()

    def fill(self) -> None:
        """Write one notification of every instance, and wait until they are there."""
        for instance_id in self.instance_ids:
            self._write(instance_id, 1)
        assert self._producer.flush(60) == 0

    def go_on(self, rate: float | None = None) -> None:
        """Write again, after ``fill`` or ``stop``; at another rate where one is given."""
        self._rate = self._rate if rate is None else rate
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Write nothing more; what was written may not be on the topic yet."""
        self._stopping.set()
        self._thread.join()

    def stop(self) -> None:
        """End the load; every notification that was written is on the topic then."""
        self.end()
        assert self._producer.flush(60) == 0

    def _run(self) -> None:
        began = time.monotonic()
        rounds = itertools.count()
        for written, (turn, instance_id) in enumerate(
            (turn, instance_id) for turn in rounds for instance_id in self.instance_ids
        ):
            if self._stopping.wait(max(0.0, began + written / self._rate - time.monotonic())):
                return
            self._write(instance_id, turn)

    def _write(self, instance_id: str, turn: int) -> None:
        event_type, state = EVENTS[turn % 2]
        self._tell(instance_id, event_type, state=state)

    def _tell(self, instance_id: str, event_type: str, **fields: str) -> None:
        now = datetime.now(UTC)
        told_at = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        payload = {**SPEC_EXAMPLE, "instance_id": instance_id, **fields}
        notification = Notification(
            message_id=str(uuid.uuid4()),
            event_type=event_type,
            payload=msgspec.Raw(json.dumps({**payload, "state_description": ""}).encode()),
            publisher_id="compute.compute01",
            timestamp=now.strftime("%Y-%m-%d %H:%M:%S.%f"),
            request_id=f"req-{uuid.uuid4()}",
            vim_id=VIM_ID,
            path="load",
            sequence=self.count,
            received_at=told_at,
        )
        key = instance_key(VIM_ID, instance_id)
        self.sent[instance_id, told_at] = fields["state"]
        self._producer.produce(
            self._topic,
            msgspec.json.encode(notification),
            key,
            partition_of(key, self._partitions),
        )
        self._producer.poll(0)
        self.count += 1


class MortalLoad(Load):
    """A load whose instances are deleted after some turns, and followed by new ones."""

    def __init__(self, *args: Any, lifetime: int, **options: Any) -> None:
        """Each instance lives for ``lifetime`` turns; the others as those of :class:`Load`."""
        super().__init__(*args, **options)
        self._lifetime = lifetime
        self._turns: Counter[str] = Counter()
        self._successors: dict[str, str] = {}
        """By the instance that began, the one that lives now in its place."""

    def _write(self, instance_id: str, turn: int) -> None:
        self._turns[instance_id] += 1
        living = self._successors.get(instance_id, instance_id)
        # Each at another turn, so that there is always one that was deleted just now.
        if (self._turns[instance_id] + sum(instance_id.encode())) % self._lifetime:
            super()._write(living, self._turns[instance_id])
            return
        deleted_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        self._tell(living, "compute.instance.delete.end", state="deleted", deleted_at=deleted_at)
        self._successors[instance_id] = str(uuid.uuid4())


class Told(Protocol):
    """What a client needs to know of a load."""

    instance_ids: list[str]
    sent: dict[tuple[str, str], str]
    """(instance id, time of a notification) → the vm_state that it told."""


ENDED = "ended by the test"


class Answer(NamedTuple):
    """That a worker was asked, and whether it answered completely."""

    at: float
    """When the answer was there, by the monotonic clock."""
    worker: str
    refusal: str
    """Why there was no complete answer; empty where there was one; ENDED is no refusal."""


class Client:
    """Asks running workers in turn; notes what they answer, and whatever they must not."""

    def __init__(
        self,
        load: Told,
        workers: dict[str, int],
        seed: int,
        *,
        region: str = "RegionOne",
        states: Sequence[str] = ("active", "paused"),
        pause: float = 0.01,
    ) -> None:
        """``states`` are all that the instances of ``region`` are in, ``pause`` is in seconds."""
        self.answers: list[Answer] = []
        self.wrong: list[str] = []
        self._load, self._workers = load, workers
        """The workers that are meant to answer, by name, with their ports; changed by the test."""
        self._instances = INSTANCES.replace("RegionOne", region)
        self._status = STATUS.replace("RegionOne", region)
        self._states, self._pause = list(states), pause
        self._seen: dict[str, str] = {}
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        asked: set[str] = set()
        while not self._stopping.wait(self._pause):
            workers = dict(self._workers)
            for name in asked - workers.keys():
                self.answers.append(Answer(time.monotonic(), name, ENDED))
            asked = set(workers)
            for name, port in workers.items():
                if self._chance.random() < 0.2:
                    body = json.dumps({"states": self._states, "limit": 1000})
                    refusal = self._ask(port, "POST", self._status, body)
                else:
                    instance_id = self._chance.choice(self._load.instance_ids)
                    refusal = self._ask(port, "GET", f"{self._instances}/{instance_id}", None)
                if name in self._workers:  # else it was ended while we asked
                    self.answers.append(Answer(time.monotonic(), name, refusal))

    def is_answered_since(self, moment: float) -> bool:
        """Return whether each worker's last answer is complete, and newer than ``moment``."""
        last = {answer.worker: answer for answer in self.answers}
        return all(
            name in last and last[name].at > moment and not last[name].refusal
            for name in dict(self._workers)
        )

    def _ask(self, port: int, method: str, path: str, body: str | None) -> str:
        """Ask, check the answer, and return why there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()
        if response.status == 503:
            return str(answer["reason"])
        if response.status != 200:
            self.wrong.append(f"{method} {path}: {response.status} {answer}")
        elif method == "GET":
            self._check(answer["instance_id"], answer["changed_at"], answer["vm_state"])
        else:
            if answer["count"] != len(self._load.instance_ids):
                self.wrong.append(f"{answer['count']} of {len(self._load.instance_ids)} instances")
            for one in answer["instances"]:
                self._check(one["instance_id"], one["launched_at"], one["state"])
        return ""

    def _check(self, instance_id: str, changed_at: str, state: str) -> None:
        if changed_at < self._seen.get(instance_id, ""):
            self.wrong.append(f"{instance_id}: {changed_at} after {self._seen[instance_id]}")
        if self._load.sent.get((instance_id, changed_at)) != state:
            self.wrong.append(f"{instance_id}: {state} at {changed_at} was never told")
        self._seen[instance_id] = changed_at


class Outage(NamedTuple):
    """A time in which one worker gave no complete answer."""

    worker: str
    begin: float
    end: float
    why: str


def outages(answers: Iterable[Answer]) -> list[Outage]:
    """Return, for each worker, from each first refusal to the next complete answer."""
    begun: dict[str, Answer] = {}
    found = []
    for answer in answers:
        if answer.refusal == ENDED:
            begun.pop(answer.worker, None)
        elif answer.refusal:
            begun.setdefault(answer.worker, answer)
        elif answer.worker in begun:
            first = begun.pop(answer.worker)
            found.append(Outage(answer.worker, first.at, answer.at, first.refusal))
    return found
