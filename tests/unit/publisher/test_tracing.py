"""What an output gets of a trace, and what its publisher tells of the delivery."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord
from cloudevents.kafka import KafkaMessage, from_binary, from_structured

from streams.publisher.delivery import Message
from streams.publisher.formats import FORMATS
from streams.publisher.outputs.message_router import MessageRouterOutput
from streams.publisher.tracing import PublisherTracing
from tests.support.message_router import MessageRouter
from tests.support.spans import TRACE_ID, RecordedTracing
from tests.support.vm_events import vm_event
from vimfed.model.keys import instance_key
from vimfed.process.spans import Headers
from vimfed.settings import DmaapOutput, Format, Settings

TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
TRACED: Headers = (("traceparent", TRACEPARENT.encode()),)
EVENT = vm_event()
KEY = instance_key(EVENT.vim_id, EVENT.instance_id)
OUTPUT = DmaapOutput(name="mr", url="kafka://a:1/t")


def message(offset: int, headers: Headers = (), format_: Format = "payload") -> Message:
    content = FORMATS[format_](EVENT, OUTPUT)
    assert content is not None
    source = ConsumerRecord(
        "p.events", 2, offset, 0, 1, KEY, msgspec.json.encode(EVENT), None, 0, 0, headers
    )
    return Message(KEY, content.value, content.headers, source)


class Sent:
    """A delivery that keeps what it gets; ``then`` is what happens next."""

    def __init__(self, then: Callable[[Sequence[Message]], Awaitable[None]] | None = None) -> None:
        self.messages: Sequence[Message] = []
        self._then = then

    async def deliver(self, messages: Sequence[Message], _may_go_on: Any) -> None:
        self.messages = messages
        if self._then is not None:
            await self._then(messages)


async def may_go_on() -> bool:
    return True


@pytest.mark.parametrize("format_", ["payload", "cloudevents"])
async def test_a_message_carries_its_trace_also_as_cloudevents_extension(format_: Format) -> None:
    tracing, sent = RecordedTracing(), Sent()
    hooks = PublisherTracing(tracing, "mr", "publishers").hooks()
    plain = message(1, format_=format_)
    await hooks.delivery(sent).deliver([plain, message(2, TRACED, format_)], may_go_on)
    (span,) = tracing.seen()
    assert (span.name, span.trace_id, span.parent) == ("send mr", TRACE_ID, "00f067aa0ba902b7")
    untraced, traced = sent.messages
    assert untraced == plain
    carried = dict(traced.headers)["traceparent"].decode()
    assert carried.split("-")[1:3] == [TRACE_ID, span.span_id]
    read: Any = {"payload": from_binary, "cloudevents": from_structured}[format_]
    event = read(KafkaMessage(dict(traced.headers), traced.key, traced.value))
    assert event["traceparent"] == carried
    before = read(KafkaMessage(dict(plain.headers), plain.key, plain.value))
    assert event.get_data() == before.get_data()
    assert {**event.get_attributes(), "time": 0} == {
        **before.get_attributes(),
        "traceparent": carried,
        "time": 0,
    }


async def test_a_span_says_what_is_sent_and_what_was_given_up() -> None:
    tracing = RecordedTracing()
    given_up: list[str] = []

    async def give_up(_messages: Sequence[Message], reason: str) -> None:
        given_up.append(reason)

    hooks = PublisherTracing(tracing, "mr", "publishers").hooks()
    noting = hooks.give_up(give_up)
    sent = Sent(lambda messages: noting(messages[1:], "refused: no"))
    await hooks.delivery(sent).deliver([message(1, TRACED), message(2, TRACED)], may_go_on)
    good, bad = tracing.seen()
    assert (good.error, bad.error, given_up) == ("", "refused: no", ["refused: no"])
    assert good.attributes == {
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": "mr",
        "messaging.consumer.group.name": "publishers",
        "messaging.message.id": EVENT.id,
        "vimfed.vim_id": EVENT.vim_id,
        "vimfed.instance_id": EVENT.instance_id,
        "vimfed.source.partition": 2,
        "vimfed.source.offset": 1,
    }


async def test_a_request_over_http_carries_the_trace_of_its_first_traced_message() -> None:
    async with MessageRouter() as router:
        output = MessageRouterOutput(Settings(), DmaapOutput(name="mr", url=router.url))
        traced = PublisherTracing(RecordedTracing(), "mr", "g").hooks().output(output)
        try:
            carrying = msgspec.structs.replace(message(2), headers=TRACED)
            for messages in ([message(1)], [message(1), carrying], [message(1)]):
                await traced.deliver(messages)
        finally:
            await traced.close()
        assert router.traceparents == ["", TRACEPARENT, ""]
