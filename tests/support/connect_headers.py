"""A reader of dead letters that knows Kafka Connect's headers, and nothing of ours."""

from collections.abc import Iterable
from typing import NamedTuple


class ConnectContext(NamedTuple):
    """What Kafka Connect's DeadLetterQueueReporter says of a record, by the types it has there."""

    topic: str
    partition: int
    offset: int
    connector: str
    task: int
    stage: str
    executing_class: str
    exception: str
    message: str
    stacktrace: str


def connect_context(headers: Iterable[tuple[str, bytes]]) -> ConnectContext:
    """Return the context. Raises KeyError where a header is missing, ValueError where it is odd."""
    told = {name: value.decode() for name, value in headers}

    def text(name: str) -> str:
        return told[f"__connect.errors.{name}"]

    return ConnectContext(
        topic=text("topic"),
        partition=int(text("partition")),
        offset=int(text("offset")),
        connector=text("connector.name"),
        task=int(text("task.id")),
        stage=text("stage"),
        executing_class=text("class.name"),
        exception=text("exception.class.name"),
        message=text("exception.message"),
        stacktrace=text("exception.stacktrace"),
    )
