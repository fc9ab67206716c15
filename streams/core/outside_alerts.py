"""Alerts from outside: what a monitor's report makes of its source's alarms. Decides, does nothing.

The fold (streams/core/fold.py) calls these two functions, encodes and writes what they return.
"""

from typing import NamedTuple

from vimfed.model.records import HostState, InstanceState, Notification, SourceAlerts, VmEvent
from vimfed.nova.alert_report import AlertReport


class About(NamedTuple):
    """What the table knows of an alert's source when the alert is told."""

    instance: InstanceState | None = None
    """The row of the instance that it is about."""
    host: HostState | None = None
    """The row of the host that it is about, or on which the instance is."""


class AlertOutcome(NamedTuple):
    """What follows from one alert report, or from time."""

    result: str
    """A word for the metric vimfed_worker_outcomes."""
    row: SourceAlerts | None = None
    """The row to write; None leaves it as it is."""
    events: tuple[VmEvent, ...] = ()
    is_removed: bool = False
    """Whether the row is deleted."""


def apply_alert(
    row: SourceAlerts | None,
    report: AlertReport,
    notification: Notification,
    about: About,
    offset: int,
) -> AlertOutcome:
    """Return what a report, which lies at ``offset`` in its topic, makes of its source's ``row``.

    Raises TooManyAlarmsError (streams/core/alarms.py): the record is a dead letter then.
    """
    del row, report, notification, about, offset
    return AlertOutcome("not_instance")


def expire_alerts(row: SourceAlerts, now: str, about: About) -> AlertOutcome:
    """Return what ages out until ``now``, the time at which the newest notification was received.

    It is asked where one of ``row.expires`` is not later than ``now``.
    """
    del row, now, about
    return AlertOutcome("not_instance")
