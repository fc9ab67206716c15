"""What becomes of one notification body: a record for the notifications topic, or unusable."""

from typing import NamedTuple

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import RecordTooLargeError, notification_record
from vimfed.nova import oslo
from vimfed.nova.event_types import is_used
from vimfed.settings import KafkaSettings


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
) -> OutgoingRecord:
    """Return the record for the notifications topic, stamped with where it came from.

    Raises UnusableBodyError, and UnusedNotificationError unless ``unused_too``.
    """
    try:
        decoded = oslo.decode(body)
        if not (unused_too or is_used(decoded.event_type)):
            raise UnusedNotificationError(decoded.event_type)
        notification = oslo.stamp(decoded, **arrival._asdict())
        return notification_record(kafka, notification, decoded.instance_id)
    except (oslo.NotANotificationError, RecordTooLargeError) as error:
        raise UnusableBodyError(str(error)) from None
