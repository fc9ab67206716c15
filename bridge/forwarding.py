"""What becomes of one notification body: records for the notifications topic, or unusable.

Where a cloud's usage is taken, of what nova notifies of it also records for the samples topic.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vimfed.alerts import aodh
from vimfed.alerts.bounds import UnreadableAlertError
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.dead_letter import Origin
from vimfed.kafka.notification_writer import (
    RecordTooLargeError,
    alert_record,
    notification_record,
    report_records,
)
from vimfed.kafka.sample_records import sample_records
from vimfed.model.keys import home_key, host_of_key, kind_of_key
from vimfed.model.times import read_time
from vimfed.nova import oslo
from vimfed.nova.alert_report import alert_notification
from vimfed.nova.event_types import is_used
from vimfed.nova.host_report import OWN_PREFIX
from vimfed.nova.service_notification import SERVICE_TYPES, NotAServiceError, read_service
from vimfed.settings import KafkaSettings, VimSettings
from vimfed.telemetry.reading import NoSamplesError, Unread
from vimfed.telemetry.usage import USAGE_TYPES, read_usage

_UNUSABLE = (
    oslo.NotANotificationError,
    NotAServiceError,
    UnreadableAlertError,
    RecordTooLargeError,
)


class UnusableBodyError(Exception):
    """A body that belongs on the dead-letter topic; the text is the reason."""


class UnusedNotificationError(Exception):
    """A message that no worker uses; the text is its event type, or says what it is."""


class Arrival(NamedTuple):
    """Where and when a body came; the names are those of ``vimfed.model.records.Notification``."""

    vim_id: str
    path: str
    sequence: int
    received_at: str
    session: str = ""
    redelivered: bool = False


class Converted(NamedTuple):
    """What becomes of one message."""

    records: Sequence[OutgoingRecord]
    unread: Unread | None = None
    """What of it cannot be used, where some of it can."""
    hosts: frozenset[str] = frozenset()
    """Of which hosts it tells how they are."""


class Converter(NamedTuple):
    """How the messages of a source become records."""

    convert: Callable[[bytes, Arrival], Converted]
    """Raises UnusableBodyError, and UnusedNotificationError where there is no record."""
    origin: Origin
    """Of its dead letters."""


class Listened(NamedTuple):
    """What a listener listens to, in the words of OpenTelemetry's messaging conventions."""

    system: str
    """``rabbitmq`` or ``kafka``."""
    destination: str
    """The queue, or the topics."""


Traced = Callable[[Converter, Listened], Converter]
"""Makes a converter whose records carry the trace that begins with their message."""


def untraced(converter: Converter, _listened: Listened) -> Converter:
    """Return the converter as it is: nothing is traced."""
    return converter


def notifications_of(kafka: KafkaSettings, vim: VimSettings) -> Converter:
    """Return how a cloud's notifications become records."""

    def convert(body: bytes, arrival: Arrival) -> Converted:
        return forwarded(
            kafka, body, arrival, unused_too=kafka.retention.unused, usage=vim.samples.usage
        )

    return Converter(convert, "cloud")


def _hosts_of(records: Sequence[OutgoingRecord]) -> frozenset[str]:
    """Return the host that the first record is about."""
    key = (records[0].key or b"") if records else b""
    return frozenset([host_of_key(key)]) if kind_of_key(key) == "host" else frozenset()


def forwarded(
    kafka: KafkaSettings,
    body: bytes,
    arrival: Arrival,
    *,
    unused_too: bool = True,
    usage: bool = False,
) -> Converted:
    """Return the records for the notifications topic, stamped with where the body came from.

    One, but of what nova says of a host one for each partition, and of what nobody uses none unless
    ``unused_too``. Of what aodh says of its alarms it is the report alone: there are passwords in
    the URLs of their actions. With ``usage``, of what nova notifies of usage also one for the
    samples topic; what of it cannot be read costs nothing else.

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
        used = _usage(kafka, decoded, body, arrival) if usage else Converted(())
    except _UNUSABLE as error:
        raise UnusableBodyError(str(error)) from None
    if not records and not used.records and used.unread is None:
        raise UnusedNotificationError(decoded.event_type)
    # A sample of a host says nothing of how it is.
    return Converted([*records, *used.records], used.unread, _hosts_of(records))


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


def _usage(
    kafka: KafkaSettings, told: oslo.OsloNotification, body: bytes, arrival: Arrival
) -> Converted:
    """Return what becomes of what nova says of usage."""
    if told.event_type not in USAGE_TYPES:
        return Converted(())
    sent = read_time(told.timestamp)
    try:
        usage = read_usage(
            told.event_type, told.payload, arrival.received_at if sent is None else sent[0]
        )
    except NoSamplesError as error:
        return Converted((), Unread(body, str(error)))
    if usage is None:
        return Converted(())
    records = sample_records(
        kafka,
        arrival.vim_id,
        {usage.subject: usage.samples},
        source="oslo",
        received_at=arrival.received_at,
    )
    return Converted(records, Unread(body, usage.error) if usage.error else None)
