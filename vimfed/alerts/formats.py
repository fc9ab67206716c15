"""The formats in which alerts are taken, each known by fields of its own."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from vimfed.alerts import alertmanager, aodh
from vimfed.alerts.reading import BatchError, Context, Reading
from vimfed.model.decoding import UNREADABLE


class Format(NamedTuple):
    """One way in which a monitor tells its alerts."""

    called: str
    fields: frozenset[str]
    """Fields that a body in it has, and that no other's has."""
    read: Callable[[bytes, Context], Reading]
    """Raises BatchError."""


FORMATS = (
    Format("Alertmanager's webhook", frozenset({"version", "alerts"}), alertmanager.read),
    Format("aodh's alarm action", frozenset({"alarm_id", "current"}), aodh.read),
)

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def read_alerts(body: bytes, context: Context) -> Reading:
    """Return what a body says, in whichever format it is. Raises BatchError."""
    try:
        body.decode()  # what is only passed on is not decoded by anybody else here
        names = _decode_fields(body).keys()
    except UNREADABLE as error:
        raise BatchError(f"the body is no JSON object: {error}") from None
    for each in FORMATS:
        if each.fields <= names:
            return each.read(body, context)
    known = " nor ".join(f"{each.called} ({', '.join(sorted(each.fields))})" for each in FORMATS)
    raise BatchError(f"neither {known}")
