"""What becomes of one notification body: a record for the notifications topic, or unusable."""

from typing import NamedTuple

from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.notification_writer import RecordTooLargeError, notification_record
from vimfed.nova import oslo
from vimfed.settings import KafkaSettings


class UnusableBodyError(Exception):
    """A body that belongs on the dead-letter topic; the text is the reason."""


class Arrival(NamedTuple):
    """Where and when a body came; the names are those of ``vimfed.model.records.Notification``."""

    vim_id: str
    path: str
    sequence: int
    received_at: str
    session: str = ""
    redelivered: bool = False


def forwarded(kafka: KafkaSettings, body: bytes, arrival: Arrival) -> OutgoingRecord:
    """Return the record for the notifications topic, stamped with where it came from.

    Raises UnusableBodyError.
    """
    try:
        decoded = oslo.decode(body)
        notification = oslo.stamp(decoded, **arrival._asdict())
        return notification_record(kafka, notification, decoded.instance_id)
    except (oslo.NotANotificationError, RecordTooLargeError) as error:
        raise UnusableBodyError(str(error)) from None
