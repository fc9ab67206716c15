"""What listeners do alike, whichever broker they listen to."""

import logging
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from bridge.forwarding import (
    Arrival,
    Converter,
    UnusableBodyError,
    UnusedNotificationError,
)
from bridge.progress import Progress
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import Origin
from vimfed.process.backoff import Backoff
from vimfed.settings import KafkaSettings

LOG = logging.getLogger(__name__)

MAX_BACKOFF = 30.0
"""Maximum seconds between two attempts."""
MAX_BYTES_IN_FLIGHT = 32 * 1024 * 1024
"""Bytes of one source's messages in memory after which no more are read until some are written."""


class KeepAsDeadLetter(Protocol):
    """Returns the record for the dead-letter topic that keeps these bytes of a message."""

    def __call__(self, value: bytes, error: str, *, origin: Origin) -> OutgoingRecord:
        """``error``: why they cannot be used."""


class Message(NamedTuple):
    """A message of a cloud as it came."""

    body: bytes
    arrival: Arrival
    dead_letter: KeepAsDeadLetter
    refused: str = ""
    """Why it is a dead letter whatever its body says; empty: the body decides."""


class Listener:
    """The beginning of every listener: a cloud, how it does, and the pauses between attempts."""

    def __init__(
        self,
        vim_id: str,
        label: str,
        kafka: KafkaSettings,
        converter: Converter,
        progress: Progress,
        *,
        steady: float,
    ) -> None:
        """``label`` names the listener in the log, ``converter`` says what messages become.

        ``steady``: seconds after which one that has listened begins with the first pause."""
        self.progress = progress
        self._label = label
        self._converter = converter
        self._kafka = kafka
        self._known = {"vim_id": vim_id}
        """What log records of this listener carry."""
        self._backoff = Backoff(1.0, MAX_BACKOFF)
        self._steady = steady

    def _pause_after(
        self, error: Exception, listened: float, why: object = "", *, trace: bool = False
    ) -> float:
        """Return the seconds until the next attempt, and tell why this one ended.

        ``listened``: seconds that it lasted; ``why``: words in place of the error's own.
        """
        if listened > self._steady:
            self._backoff.reset()
        pause = self._backoff.pause()
        self.progress.away = str(why or error)
        LOG.warning(
            "cloud %s: cannot listen, trying again in %.0f s: %s",
            self._label,
            pause,
            why or error,
            extra=self._known,
            exc_info=error if trace else None,
        )
        return pause


class Records(NamedTuple):
    """What becomes of a batch of messages."""

    records: list[OutgoingRecord]
    """In the order of the messages; one of them can have several."""
    dead: int
    """How many of the records are dead letters."""
    passed_over: int
    """How many messages have no record: nobody uses them."""
    hosts: frozenset[str] = frozenset()
    """Of which hosts they tell."""


def records_of(converter: Converter, messages: Iterable[Message]) -> Records:
    """Return the records of messages in their order, but for those that nobody uses."""
    records: list[OutgoingRecord] = []
    hosts: set[str] = set()
    dead = passed_over = 0
    for message in messages:
        letter, why = message.body, message.refused
        if not why:
            try:
                made = converter.convert(message.body, message.arrival)
                records += made.records
                hosts.update(made.hosts)
                if made.unread is not None:
                    letter, why = made.unread
            except UnusedNotificationError:
                passed_over += 1
            except UnusableBodyError as error:
                why = str(error)
        if why:
            dead += 1
            records.append(message.dead_letter(letter, why, origin=converter.origin))
    return Records(records, dead, passed_over, frozenset(hosts))
