"""The meters table and the measurements topic, kept as a worker keeps them, without Kafka."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streams.core.measurement import Facts
from streams.core.metering import Metered, Metering, Rules, read_resume
from tests.support.folded_table import Record
from vimfed.model.samples import Measurement, MetersState, decode_measurement, decode_meters

NOWHERE = 1 << 60
"""Steps of a worker that does not die."""


class CrashError(Exception):
    """The worker has died."""


@dataclass
class MeteredTable:
    """What is durable of a partition: rows, measurements, and what was committed."""

    rules: Rules = field(default_factory=Rules)
    facts_of: Callable[[bytes], Facts | None] = lambda _key: None
    rows: dict[bytes, bytes] = field(default_factory=dict)
    topic: list[tuple[bytes, bytes]] = field(default_factory=list)
    offset: int = 0
    metadata: str = ""
    batches: list[Metered] = field(default_factory=list)
    """All that was folded, also what was not made durable."""
    lives: int = NOWHERE
    """So many steps are made durable; then the worker dies."""

    def follow(
        self, records: Sequence[Record], size: int = 1000, must_pause: Callable[[], bool] = bool
    ) -> Metering:
        """Take the partition over and fold its log, ``size`` records a batch, until the end.

        Raises CrashError where it dies before.
        """
        resume = read_resume(self.offset, self.metadata)
        metering = Metering(self.rules, self.rows.get, self.facts_of, resume)
        for key, row in self.rows.items():
            for told in metering.adopt(key, row):
                self._tell(key, told)
        left = list(records[self.offset :])
        while left:
            metered = Metered()
            batch, done = left[:size], 0
            while done < len(batch) and not metered.is_full:
                done += metering.fold(batch[done:], metered, must_pause)
            left = left[done:]
            self.batches.append(metered)
            self._write(metering, metered)
        return metering

    def _write(self, metering: Metering, metered: Metered) -> None:
        for key, row in metered.rows.items():
            self._step()
            self.rows[key] = row
        for key, measurement in metered.measurements:
            self._tell(key, measurement)
        self._step()
        self.offset, self.metadata = metering.resume.offset, metering.resume.metadata()
        for key in metering.outlived(self.offset):
            self._step()
            del self.rows[key]

    def _tell(self, key: bytes, measurement: bytes) -> None:
        self._step()
        self.topic.append((key, measurement))

    def _step(self) -> None:
        if self.lives <= 0:
            raise CrashError
        self.lives -= 1

    def contents(self) -> list[bytes]:
        """Return what is on the topic, repetitions left out."""
        return list(dict.fromkeys(measurement for _key, measurement in self.topic))

    def measurements(self) -> list[Measurement]:
        """Return the same, decoded."""
        return [decode_measurement(each) for each in self.contents()]

    def row(self, key: bytes) -> MetersState:
        """Return a row."""
        return decode_meters(self.rows[key])
