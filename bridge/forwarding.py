"""What becomes of one notification body: a record for the notifications topic, or unusable."""

from vimfed import oslo
from vimfed.kafka import OutgoingRecord
from vimfed.notification_writer import RecordTooLargeError, notification_record
from vimfed.settings import KafkaSettings


class UnusableBodyError(Exception):
    """A body that belongs on the dead-letter topic; the text is the reason."""


def forwarded(
    kafka: KafkaSettings, body: bytes, *, vim_id: str, path: str, sequence: int, received_at: str
) -> OutgoingRecord:
    """Return the record for the notifications topic, stamped with where it came from.

    ``path`` names one listener's session on one queue, or one partition of a cloud's topic;
    ``sequence`` grows along it. Raises UnusableBodyError.
    """
    try:
        decoded = oslo.decode(body)
        notification = oslo.stamp(
            decoded, vim_id=vim_id, path=path, sequence=sequence, received_at=received_at
        )
        return notification_record(kafka, notification, decoded.instance_id)
    except (oslo.NotANotificationError, RecordTooLargeError) as error:
        raise UnusableBodyError(str(error)) from None
