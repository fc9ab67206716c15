"""What is read of the measurements topic, and what of a measurement goes to an output."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from streams.publisher.formats import Content, format_of
from streams.publisher.measurement_formats import MEASUREMENT_FORMATS
from streams.publisher.reading import UnfitRecordError, check_key, instant, outputs_of, reading
from streams.subscriptions.filters import Matcher
from vimfed.kafka.aio import ConsumerRecord
from vimfed.model.decoding import decoded
from vimfed.model.keys import home_key
from vimfed.model.samples import Measurement, decode_measurement
from vimfed.settings import DmaapOutput


class ReadMeasurement(NamedTuple):
    """A record of the measurements topic."""

    measurement: Measurement
    outputs: frozenset[str]
    """To which alone it is to go; empty: to every one that somebody subscribed."""

    @property
    def project_id(self) -> str:
        """Whose instance it is of; empty: nobody knows, or it is of none."""
        return self.measurement.tenant_id if self.measurement.instance_id else ""

    def content(self, matchers: Sequence[Matcher], output: DmaapOutput) -> Content | None:
        """Return what is sent of the measurement; None where nobody wants any of its values.

        It has the values that any of the subscriptions wants, in the format of the first of them.
        """
        told = self.measurement
        meters = {value.meter for value in told.values}
        wanting = [
            (matcher.format, meters if matcher.meters is None else meters & matcher.meters)
            for matcher in matchers
            if matcher.wants_measurement(told, told.tenant_id)
        ]
        wanting = [each for each in wanting if each[1]]
        if not wanting and meters and self.outputs:
            wanting = [(None, meters)]  # a dead letter, played again: it was wanted
        if not wanting:
            return None
        wanted = set[str]().union(*(each for _format, each in wanting))
        if wanted != meters:
            values = tuple(value for value in told.values if value.meter in wanted)
            told = msgspec.structs.replace(told, values=values)
        return MEASUREMENT_FORMATS[format_of(output, wanting[0][0])](told, output)


def read_measurement(record: ConsumerRecord) -> ReadMeasurement:
    """Read a record as a worker writes them. Raises UnfitRecordError, and NewerSchemaError.

    Whoever may write to the topic can write anything; what is made of one later must not fail.
    """
    with reading("a measurement", record):
        told = decoded(decode_measurement, record.value or b"")
        begin, end = instant("begin", told.begin), instant("end", told.end)
        outputs = outputs_of(record)
    if begin >= end:
        raise UnfitRecordError("not a measurement: it ends before it begins")
    if not (told.instance_id or told.host):
        raise UnfitRecordError("not a measurement: it names neither an instance nor a host")
    check_key(record, home_key(told.vim_id, told.instance_id, told.host))
    return ReadMeasurement(told, outputs)
