"""Kafka Connect's headers of a dead letter, by which others' tools read ours.

Names and spellings are those of its ``DeadLetterQueueReporter``. What Connect fills with Java's
names, we fill with words that stay the same from version to version: a tool may sort by them.
"""

from typing import Literal, NamedTuple

Stage = Literal["KAFKA_PRODUCE", "VALUE_CONVERTER", "TRANSFORMATION", "TASK_PUT"]
"""Connect's word for what was being done: writing it to Kafka, reading its bytes, applying it, or
sending it to an output."""
PREFIX = "__connect.errors."

FAILURES: dict[Stage, tuple[str, str]] = {
    "KAFKA_PRODUCE": ("vimfed.Producer", "vimfed.NotWritten"),
    "VALUE_CONVERTER": ("vimfed.Reader", "vimfed.Unreadable"),
    "TRANSFORMATION": ("vimfed.Worker", "vimfed.Rejected"),
    "TASK_PUT": ("vimfed.Output", "vimfed.Undelivered"),
}
"""What was at work at each stage, and how it ended: they stand where Java's class names would."""


class Place(NamedTuple):
    """Where in Kafka a record lay; one that came from elsewhere has the defaults."""

    topic: str = ""
    partition: int = -1
    offset: int = -1


def connect_headers(place: Place, connector: str, stage: Stage, error: str) -> dict[str, str]:
    """Return the headers by name; ``connector`` names who read the record.

    There are no tasks here: the number is 0. Of a stack trace there is the first line, as Java
    prints it.
    """
    class_name, exception = FAILURES[stage]
    told = {
        "topic": place.topic,
        "partition": str(place.partition),
        "offset": str(place.offset),
        "connector.name": connector,
        "task.id": "0",
        "stage": stage,
        "class.name": class_name,
        "exception.class.name": exception,
        "exception.message": error,
        "exception.stacktrace": f"{exception}: {error}",
    }
    return {PREFIX + name: text for name, text in told.items()}
