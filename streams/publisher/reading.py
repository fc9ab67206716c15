"""What a publisher reads, whatever it is that its output carries."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from streams.publisher.formats import Content
from streams.subscriptions.filters import Matcher
from vimfed.kafka.aio import ConsumerRecord
from vimfed.kafka.dead_letter import ONLY_OUTPUT
from vimfed.model.records import NewerSchemaError, stray_schema
from vimfed.settings import DmaapOutput


class UnfitRecordError(Exception):
    """A record is not what its topic is for; the text says why."""


class Read(Protocol):
    """What a record says."""

    @property
    def outputs(self) -> frozenset[str]:
        """To which alone it is to go; empty: to every one that somebody subscribed."""

    @property
    def project_id(self) -> str:
        """Whose instance it is of; empty: nobody knows, or it is of none."""

    def content(self, matchers: Sequence[Matcher], output: DmaapOutput) -> Content | None:
        """Return what is sent of it where ``matchers`` hold; None where nobody wants it."""


@contextlib.contextmanager
def reading(what: str, record: ConsumerRecord) -> Iterator[None]:
    """Raise UnfitRecordError where a record cannot be read as ``what``, such as "an event".

    A record that a newer version is known to have written raises NewerSchemaError.
    """
    try:
        yield
    except NewerSchemaError as error:
        stray = stray_schema(error, record.headers)
        if not stray:
            raise
        raise UnfitRecordError(f"not {what}: {stray}") from None
    except ValueError as error:
        raise UnfitRecordError(f"not {what}: {error}") from None


def instant(name: str, text: str) -> datetime:
    """Return a time of a record. Raises ValueError where it is none, or has no time zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{name} has no time zone")
    return moment


def check_key(record: ConsumerRecord, key: bytes) -> None:
    """Raise UnfitRecordError where a record does not lie under the key of what it is about."""
    if record.key != key:
        raise UnfitRecordError(f"the record's key is not {key.decode()}")


def outputs_of(record: ConsumerRecord) -> frozenset[str]:
    """Return to which outputs alone a record is to go. Raises ValueError."""
    return frozenset(
        (value or b"").decode() for name, value in record.headers if name == ONLY_OUTPUT
    )
