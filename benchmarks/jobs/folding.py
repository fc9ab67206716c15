"""The core's work for one record, as a job without batches does it."""

from collections.abc import Callable

from streams.core.news import Passed
from streams.core.normalise import decode_notification, normalise
from streams.core.transition import transition
from vimfed.model.records import decode_row, encode_event, encode_row


def fold_one(
    value: bytes, offset: int, read: Callable[[], bytes | None]
) -> tuple[bytes | None, list[bytes]]:
    """Return the encoded row to write (None: none) and the encoded events of one record."""
    news = normalise(decode_notification(value))
    if isinstance(news, Passed):
        return None, []
    row = read()
    outcome = transition(decode_row(row) if row else None, news, offset)
    events = [encode_event(event) for event in outcome.events]
    return (encode_row(outcome.row) if outcome.row is not None else None), events
