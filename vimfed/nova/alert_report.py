"""Alert reports: what a monitor outside says of an instance, a host or a cloud, as notifications of
our own. The pushing route and the bridge make them; they lie in the partition of ``home_key``.
"""

import uuid

import msgspec
from msgspec import Raw

from vimfed.model.records import Notification, Source

ALERT = "vimfed.alert"
"""Event type of an alert report; never taken from outside."""

CLOCK = "vimfed.clock"
"""Event type of a record that tells a partition what time it is, where nothing else comes."""

_NAMESPACE = uuid.UUID("5f0c3b57-45cd-5b86-9d5b-5a3a3f6a1d11")
_encode = msgspec.json.Encoder().encode


class AlertReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a monitor says. Times: ISO 8601, UTC, microseconds, ``Z``."""

    fingerprint: str
    """Names the alert at its monitor: the same as long as it is the same condition."""
    name: str
    is_active: bool
    """False: resolved."""
    started_at: str
    """When it began, by the monitor; with ``fingerprint`` it names this one occurrence."""
    instance_id: str = ""
    host: str = ""
    """Neither: it is about the cloud."""
    severity: str = ""
    """The monitor's own word."""
    summary: str = ""
    ended_at: str = ""
    labels: dict[str, str] = {}


read_alert_report = msgspec.json.Decoder(AlertReport).decode


def alert_notification(
    vim_id: str, report: AlertReport, *, source: Source, timestamp: str, received_at: str
) -> Notification:
    """Return the notification of a report; ``message_id`` follows from the content."""
    payload = _encode(report)
    name = f"{vim_id}/{source}/{timestamp}/{payload.decode()}"
    return Notification(
        message_id=str(uuid.uuid5(_NAMESPACE, name)),
        event_type=ALERT,
        payload=Raw(payload),
        publisher_id=f"{source}:",
        timestamp=timestamp,
        vim_id=vim_id,
        source=source,
        received_at=received_at,
    )


def clock_notification(vim_id: str, now: str) -> Notification:
    """Return the notification that tells the time: ISO 8601, UTC, microseconds, ``Z``."""
    return Notification(
        message_id=str(uuid.uuid5(_NAMESPACE, f"{vim_id}/{CLOCK}/{now}")),
        event_type=CLOCK,
        payload=Raw(b"{}"),
        publisher_id="worker:",
        timestamp=now,
        vim_id=vim_id,
        source="ingest",
        received_at=now,
    )
