"""What becomes of one message of samples: records for the samples topic, or unusable."""

from bridge.forwarding import (
    Arrival,
    Converted,
    Converter,
    UnusableBodyError,
    UnusedNotificationError,
)
from vimfed.kafka.sample_records import sample_records
from vimfed.settings import KafkaSettings, VimSettings
from vimfed.telemetry import ceilometer
from vimfed.telemetry.reading import NoSamplesError


def samples_of(kafka: KafkaSettings, vim: VimSettings) -> Converter:
    """Return how what a cloud's ceilometer sends becomes records."""
    secret = vim.samples.telemetry_secret.reveal()

    def convert(body: bytes, arrival: Arrival) -> Converted:
        try:
            reading = ceilometer.read(body, secret)
        except NoSamplesError as error:
            raise UnusableBodyError(str(error)) from None
        except ceilometer.OtherNotificationError as other:
            raise UnusedNotificationError(str(other)) from None
        if not reading.samples and reading.unread is None:
            raise UnusedNotificationError("samples of neither instances nor hosts")
        records = sample_records(
            kafka,
            arrival.vim_id,
            reading.samples,
            source="oslo",
            received_at=arrival.received_at,
        )
        return Converted(records, reading.unread)

    return Converter(convert, "telemetry")
