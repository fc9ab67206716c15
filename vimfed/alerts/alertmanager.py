"""Alertmanager's webhook, version 4, as its ``notify/webhook`` writes it.

``{"version": "4", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels",
"commonLabels", "commonAnnotations", "externalURL", "alerts": [{"status": "firing" or "resolved",
"labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}]}``

An alert that fires has ``endsAt`` in the year 1. Alertmanager gives an alert the same fingerprint
as long as its labels are the same; releases before 0.19 tell none.
"""

import hashlib
import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct, field

from vimfed.alerts.bounds import (
    MAX_ALERTS,
    UnreadableAlertError,
    bounded_labels,
    one_line,
    time_of,
)
from vimfed.alerts.reading import BatchError, Context, Reading, Unread
from vimfed.alerts.subject import CLOUD, subject_of
from vimfed.model.decoding import UNREADABLE
from vimfed.nova.alert_report import AlertReport
from vimfed.nova.bare_state import MAX_ID

_FINGERPRINT = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_ID}}}")
_ACTIVE = {"firing": True, "resolved": False}
_SUMMARIES = ("summary", "description", "message")
"""Annotations that tell people what is wrong, by custom; the first one that is there is taken."""


class Webhook(Struct, frozen=True, kw_only=True):
    """What Alertmanager sends of one group of alerts; further fields are passed over."""

    version: str
    group_key: str = field(name="groupKey")
    alerts: list[Raw]
    truncated: int = field(name="truncatedAlerts", default=0)
    """Alerts that its own ``max_alerts`` has left out."""


class Alert(Struct, frozen=True, kw_only=True):
    """One alert of a webhook."""

    status: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    starts_at: str = field(name="startsAt", default="")
    ends_at: str = field(name="endsAt", default="")
    fingerprint: str = ""


_decode = msgspec.json.Decoder(Webhook).decode
_decode_alert = msgspec.json.Decoder(Alert).decode


def read(body: bytes, context: Context) -> Reading:
    """Return the reports of a webhook's alerts. Raises BatchError."""
    try:
        webhook = _decode(body)
    except UNREADABLE as error:
        raise BatchError(f"not Alertmanager's webhook: {error}") from None
    if webhook.version != "4":
        raise BatchError(f"version {webhook.version!r} of the webhook is not known, only '4'")
    if len(webhook.alerts) > MAX_ALERTS:
        raise BatchError(
            f"{len(webhook.alerts)} alerts: set max_alerts of the webhook to {MAX_ALERTS} at most",
            is_too_large=True,
        )
    reports, unread = [], []
    for index, raw in enumerate(webhook.alerts):
        try:
            reports.append(_report(raw, context))
        except UnreadableAlertError as error:
            unread.append(Unread(index, str(error), bytes(raw)))
    return Reading(reports, unread, max(0, webhook.truncated))


def _report(raw: Raw, context: Context) -> AlertReport:
    try:
        alert = _decode_alert(raw)
    except UNREADABLE as error:
        raise UnreadableAlertError(str(error)) from None
    if alert.status not in _ACTIVE:
        raise UnreadableAlertError(f"status must be firing or resolved, not {alert.status[:20]!r}")
    fingerprint = alert.fingerprint or _fingerprint_of(alert.labels)
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise UnreadableAlertError(f"fingerprint must be 1 to {MAX_ID} letters, digits, . _ -")
    about = context.subject
    if about == CLOUD:
        about = subject_of(alert.labels, context.names)
    said = (alert.annotations.get(name, "") for name in _SUMMARIES)
    return AlertReport(
        fingerprint=fingerprint,
        name=one_line(alert.labels.get("alertname", "")),
        is_active=_ACTIVE[alert.status],
        started_at=time_of("startsAt", alert.starts_at) or context.received_at,
        instance_id=about.instance_id,
        host=about.host,
        severity=one_line(alert.labels.get("severity", "")),
        summary=one_line(next(filter(None, said), "")),
        ended_at=time_of("endsAt", alert.ends_at) if alert.status == "resolved" else "",
        labels=bounded_labels(alert.labels),
    )


def _fingerprint_of(labels: Mapping[str, str]) -> str:
    """Return what names an alert of an Alertmanager that tells no fingerprint."""
    text = msgspec.json.encode(sorted(labels.items()))
    return hashlib.sha256(text).hexdigest()[:16]
