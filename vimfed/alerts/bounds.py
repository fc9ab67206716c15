"""How much of an alert is kept: what a monitor says must not fill rows, events and messages.

========================  =========================================================================
what                      beyond the bound
========================  =========================================================================
alerts of one request     MAX_ALERTS: the request is refused, and says how to have fewer
a fingerprint             1 to MAX_ID letters, digits and ``._-``: else the alert is not read
name, severity, summary   MAX_TEXT: cut, with ``…`` as the last character; white space becomes one
                          space each
labels                    MAX_LABELS, and MAX_LABEL_BYTES in all: further ones are left out, and
                          those with a longer name; values are cut like texts
times                     none before 1970; those after the arrival are the arrival's
========================  =========================================================================
"""

from collections.abc import Mapping

from vimfed.model.flat_payload import MAX_TEXT
from vimfed.model.times import read_time

MAX_ALERTS = 1000
"""Alerts of one request."""
MAX_LABELS = 64
MAX_LABEL_BYTES = 16_000


class UnreadableAlertError(Exception):
    """One alert cannot be read; the text says why."""


def one_line(text: str) -> str:
    """Return a text as one line of at most MAX_TEXT characters."""
    line = " ".join(text[: 8 * MAX_TEXT].split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def bounded_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels within their bounds, in the order of their names."""
    kept: dict[str, str] = {}
    size = 0
    for name in sorted(labels):
        value = one_line(labels[name])
        size += len(name.encode()) + len(value.encode())
        if len(kept) == MAX_LABELS or size > MAX_LABEL_BYTES:
            break
        if len(name) <= MAX_TEXT:
            kept[name] = value
    return kept


def time_of(name: str, value: str) -> str:
    """Return a time as reports carry it; empty where there is none, as before 1970.

    Raises UnreadableAlertError.
    """
    if not value:
        return ""
    read = read_time(value)
    if read is None:
        raise UnreadableAlertError(f"{name} is no ISO 8601 time")
    return read[0] if read[1] > 0 else ""
