"""Replay marks: records by which an output gets again what lies before them on its topic.

A mark lies where the replay was asked for. The publisher that reads it reads from the mark's offset
``replay-from`` to the mark once more, then goes on behind it: in the log's order, and as often as
the mark is read. Nobody else heeds it.
"""

from collections.abc import Iterable

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import ONLY_OUTPUT

REPLAY_FROM = "replay-from"
"""Header of a mark, which no other record has: the offset of the first record to be sent again."""

Headers = Iterable[tuple[str, bytes | None]]


def replay_mark(
    topic: str, partition: int, output: str, begin: int, caller: tuple[str, bytes]
) -> OutgoingRecord:
    """Return the mark that repeats a partition for ``output`` from offset ``begin`` on."""
    headers = ((REPLAY_FROM, b"%d" % begin), (ONLY_OUTPUT, output.encode()), caller)
    return OutgoingRecord(topic, partition, None, b"", headers)


def replay_begin(headers: Headers) -> int | None:
    """Return the offset that a mark names; None: it is no mark. Raises ValueError."""
    for name, value in headers:
        if name == REPLAY_FROM:
            return int(value or b"")
    return None


def is_replay_mark(headers: Headers) -> bool:
    """Return whether a record is a mark."""
    return any(name == REPLAY_FROM for name, _value in headers)
