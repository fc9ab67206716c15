"""A sender under whose load things are broken, and the comparison of what was sent and came."""

import collections
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from confluent_kafka import Message

from tests.support.notifications import body
from tests.support.topics import count_records, read_topic

INSTANCES = 50


class Sender(Protocol):
    """Sends a body and returns when the cloud's broker has it."""

    def send(self, content: bytes) -> None:
        """Return when the broker has confirmed the body."""


class Load:
    """Sends numbered notifications about some instances, in a thread, until it is stopped."""

    def __init__(self, sender: Sender, rate: float) -> None:
        self._sender = sender
        self._pause = 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0
        """How many notifications the broker has confirmed: those with the numbers below."""

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> int:
        """Send no more; return how many were sent."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the sender hangs"
        return self.sent

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            self._sender.send(numbered_body(self.sent))
            self.sent += 1
            time.sleep(max(0.0, self._pause - (time.monotonic() - begun)))


@contextmanager
def load(sender: Sender, rate: float = 300.0) -> Iterator[Load]:
    """Send while the block runs."""
    running = Load(sender, rate)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def numbered_body(number: int) -> bytes:
    """Return the body with that number; its message id is ``m-<number>``."""
    return body(
        message_id=f"m-{number}",
        instance_id=f"instance-{number % INSTANCES}",
        payload={"number": number},
    )


class Outcome(NamedTuple):
    """What a comparison has found."""

    missing: list[int]
    repeated: int
    disordered: list[str]
    """Instances whose first occurrences are not in the order in which they were sent."""


def compare(records: Iterable[Message], sent: int) -> Outcome:
    """Compare what lies on the topic (in order per partition) with the numbers 0 to sent - 1."""
    seen: set[int] = set()
    newest: dict[str, int] = collections.defaultdict(lambda: -1)
    repeated = 0
    disordered = set()
    for record in records:
        payload = json.loads(record.value() or b"")["payload"]
        number, instance = payload["number"], payload["instance_id"]
        if number in seen:
            repeated += 1
            continue
        seen.add(number)
        if number < newest[instance]:
            disordered.add(instance)
        newest[instance] = number
    return Outcome(sorted(set(range(sent)) - seen), repeated, sorted(disordered))


def wait_for_all(bootstrap: str, topic: str, sent: int, quiet: float = 2.0) -> Outcome:
    """Wait until all numbers are there, or nothing has come for a minute, and then for ``quiet``.

    The last seconds show whether repetitions still come.
    """
    count, changed_at = 0, time.monotonic()
    while True:
        now = time.monotonic()
        found = count_records(bootstrap, topic)
        if found != count:
            count, changed_at = found, now
        elif found >= sent and now - changed_at > quiet:
            outcome = compare(read_topic(bootstrap, topic), sent)
            if not outcome.missing or now - changed_at > 60:
                return outcome
        elif now - changed_at > 60:
            return compare(read_topic(bootstrap, topic), sent)
        time.sleep(0.3)
