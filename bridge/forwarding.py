"""What becomes of one notification body: records for the notifications topic, or unusable."""

from collections.abc import Sequence
from typing import NamedTuple

from vimfed.alerts import aodh
from vimfed.alerts.bounds import UnreadableAlertError
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import (
    RecordTooLargeError,
    alert_record,
    notification_record,
    report_records,
)
from vimfed.model.keys import home_key
from vimfed.model.times import read_time
from vimfed.nova import oslo
from vimfed.nova.alert_report import alert_notification
from vimfed.nova.event_types import is_used
from vimfed.nova.host_report import OWN_PREFIX
from vimfed.nova.service_notification import SERVICE_TYPES, NotAServiceError, read_service
from vimfed.settings import KafkaSettings

_UNUSABLE = (
    oslo.NotANotificationError,
    NotAServiceError,
    UnreadableAlertError,
    RecordTooLargeError,
)


class UnusableBodyError(Exception):
    """A body that belongs on the dead-letter topic; the text is the reason."""


class UnusedNotificationError(Exception):
    """A notification that no worker uses; the text is its event type."""


class Arrival(NamedTuple):
    """Where and when a body came; the names are those of ``vimfed.model.records.Notification``."""

    vim_id: str
    path: str
    sequence: int
    received_at: str
    session: str = ""
    redelivered: bool = False


def forwarded(
    kafka: KafkaSettings, body: bytes, arrival: Arrival, *, unused_too: bool = True
) -> Sequence[OutgoingRecord]:
    """Return the records for the notifications topic, stamped with where the body came from.

    One, but of what nova says of a host one for each partition, and of what nobody uses none unless
    ``unused_too``. Of what aodh says of its alarms it is the report alone: there are passwords in
    the URLs of their actions.

    Raises UnusableBodyError, and UnusedNotificationError where there is none.
    """
    try:
        decoded = oslo.decode(body)
        if decoded.event_type.startswith(OWN_PREFIX):
            raise UnusableBodyError(f"event types {OWN_PREFIX}* are our own: no cloud sends them")
        is_alarm = decoded.event_type in aodh.EVENT_TYPES
        records = (_alert if is_alarm else _reports)(kafka, decoded, arrival)
        if not is_alarm and (unused_too or is_used(decoded.event_type)):
            notification = oslo.stamp(decoded, **arrival._asdict())
            records.append(notification_record(kafka, notification, decoded.instance_id))
    except _UNUSABLE as error:
        raise UnusableBodyError(str(error)) from None
    if not records:
        raise UnusedNotificationError(decoded.event_type)
    return records


def _alert(
    kafka: KafkaSettings, told: oslo.OsloNotification, arrival: Arrival
) -> list[OutgoingRecord]:
    """Return the record of what aodh says of an alarm. Raises UnreadableAlertError."""
    found = aodh.report_of(told.event_type, bytes(told.payload), arrival.received_at)
    if found is None:
        return []
    report, true_at = found
    notification = alert_notification(
        arrival.vim_id,
        report,
        source="oslo",
        timestamp=true_at,
        received_at=arrival.received_at,
    )
    return [alert_record(kafka, notification, home_key(arrival.vim_id))]


def _reports(
    kafka: KafkaSettings, told: oslo.OsloNotification, arrival: Arrival
) -> list[OutgoingRecord]:
    """Return the records of what nova says of a host. Raises NotAServiceError."""
    if told.event_type not in SERVICE_TYPES:
        return []
    report = read_service(told.event_type, told.payload)
    if report is None:
        return []
    sent = read_time(told.timestamp)
    return report_records(
        kafka,
        arrival.vim_id,
        report,
        source="oslo",
        timestamp=arrival.received_at if sent is None else sent[0],
        received_at=arrival.received_at,
    )
