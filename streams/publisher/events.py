"""What is read of the events topic, and which message of an event goes to an output."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from streams.core.kinds import HEARTBEAT
from streams.publisher.formats import FORMATS, Content, format_of
from streams.publisher.reading import UnfitRecordError, check_key, instant, outputs_of, reading
from streams.subscriptions.filters import Matcher
from vimfed.kafka.aio import ConsumerRecord
from vimfed.model.decoding import decoded
from vimfed.model.keys import home_key
from vimfed.model.records import VmEvent
from vimfed.nova.host_report import read_heartbeat
from vimfed.settings import DmaapOutput, Format


class _Payload(msgspec.Struct, gc=False):
    """What is read of a payload here and by the formats."""

    instance_id: str = ""
    display_name: str | None = None
    tenant_id: str | None = None


_decode_event = msgspec.json.Decoder(VmEvent).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode


class ReadEvent(NamedTuple):
    """A record of the events topic."""

    event: VmEvent
    tenant_id: str
    outputs: frozenset[str]
    """To which alone it is to go; empty: to every one that somebody subscribed."""

    @property
    def project_id(self) -> str:
        """Whose instance it is of; empty: nobody knows, or it is of none."""
        return self.tenant_id if self.event.instance_id else ""

    def content(self, matchers: Sequence[Matcher], output: DmaapOutput) -> Content | None:
        """Return what is sent of the event; None where nobody wants it."""
        for format_ in self._wanted_formats(matchers, output):
            content = FORMATS[format_](self.event, output)
            if content is not None:
                return content
        return None

    def _wanted_formats(self, matchers: Sequence[Matcher], output: DmaapOutput) -> Iterator[Format]:
        """Yield the formats of the subscriptions that want the event, in their order.

        The first one that has something to say of it is sent. Heartbeats are what VES has a domain
        for; in another format they go to who names their kind.
        """
        for matcher in matchers:
            if matcher.wants(self.event, self.tenant_id):
                format_ = format_of(output, matcher.format)
                if self.event.kind != HEARTBEAT or format_ == "ves" or matcher.kinds is not None:
                    yield format_
        # What is for this output: a dead letter that is played again, a snapshot, a heartbeat.
        if self.outputs or (output.heartbeats and self.event.kind == HEARTBEAT):
            yield format_of(output, None)


def read_event(record: ConsumerRecord) -> ReadEvent:
    """Read a record as a worker writes them. Raises UnfitRecordError, and NewerSchemaError.

    Whoever may write to the topic can write anything; what is made of an event later must not fail.
    """
    with reading("an event", record):
        event = decoded(_decode_event, record.value or b"")
        payload = decoded(_decode_payload, event.payload)
        instant("changed_at", event.changed_at)
        if event.alarm:
            instant("alarm.started_at", event.alarm.started_at)
        if event.kind == HEARTBEAT:
            decoded(read_heartbeat, event.payload)
        outputs = outputs_of(record)
    if event.instance_id and not payload.instance_id:
        raise UnfitRecordError("not an event: the payload of an instance names none")
    check_key(record, home_key(event.vim_id, event.instance_id, event.host or ""))
    return ReadEvent(event, payload.tenant_id or "", outputs)
