"""What every format's reader is given, and what it returns."""

from collections.abc import Sequence
from typing import NamedTuple

from vimfed.alerts.subject import CLOUD, Subject, SubjectLabels
from vimfed.nova.alert_report import AlertReport


class BatchError(Exception):
    """A body holds no alerts in this format; the text says why."""

    def __init__(self, reason: str, *, is_too_large: bool = False) -> None:
        super().__init__(reason)
        self.is_too_large = is_too_large


class Context(NamedTuple):
    """What a reader knows beside the body."""

    received_at: str
    """ISO 8601, UTC, microseconds, ``Z``."""
    names: SubjectLabels = SubjectLabels()
    subject: Subject = CLOUD
    """What the sender says that all alerts are about; else their labels decide."""


class Unread(NamedTuple):
    """An alert that cannot be read."""

    place: int
    """From 0."""
    error: str
    alert: bytes
    """Its JSON text."""


class Reading(NamedTuple):
    """What a body says."""

    reports: Sequence[AlertReport]
    unread: Sequence[Unread] = ()
    left_out: int = 0
    """How many alerts the monitor itself has left out."""
