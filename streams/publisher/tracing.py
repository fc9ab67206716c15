"""The publisher's part of a trace: the delivery to an output, and what goes on from there."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
from opentelemetry.trace import Span, SpanKind

from streams.publisher.delivery import Delivers, GiveUp, Message, Output
from streams.publisher.formats import CLOUDEVENT_HEADERS
from streams.publisher.tracing_hooks import TracingHooks
from vimfed.model.keys import split_instance_key
from vimfed.process.spans import Headers, Tracing, ending, failed
from vimfed.process.trace_carriers import REQUEST_HEADERS, TRACE_HEADERS


class PublisherTracing:
    """A span for each traced message: until the output has it, or it is given up."""

    def __init__(self, tracing: Tracing, output: str, group: str) -> None:
        """``group`` is the consumer group of the output's publishers."""
        self._tracing = tracing
        self._output = output
        self._group = group
        self._open: dict[tuple[int, int], Span] = {}
        """By partition and offset of the record that is told."""

    def hooks(self) -> TracingHooks:
        """Return what makes each part of the publisher a traced one."""
        return TracingHooks(
            output=TracedOutput,
            delivery=partial(TracedDelivery, self),
            give_up=self.give_up,
            exemplar=self._tracing.exemplar,
        )

    def give_up(self, give_up: GiveUp) -> GiveUp:
        """Return a ``give_up`` that notes it in the spans."""

        async def traced(messages: Sequence[Message], reason: str) -> None:
            for message in messages:
                span = self._open.get(_place(message))
                if span is not None:
                    failed(span, reason)
            await give_up(messages, reason)

        return traced

    async def deliver(
        self,
        delivery: Delivers,
        messages: Sequence[Message],
        may_go_on: Callable[[], Awaitable[bool]],
    ) -> None:
        """Deliver messages, each with its trace; raises as ``Delivery.deliver`` does."""
        spans: dict[tuple[int, int], Span] = {}
        carrying = [self._carrying(message, spans) for message in messages]
        self._open |= spans
        try:
            with ending(spans.values()):
                await delivery.deliver(carrying, may_go_on)
        finally:
            for place in spans:
                self._open.pop(place, None)

    def _carrying(self, message: Message, spans: dict[tuple[int, int], Span]) -> Message:
        parent = self._tracing.parent(message.source.headers)
        if parent is None:
            return message
        span = self._tracing.span(
            f"send {self._output}", parent, SpanKind.PRODUCER, self._about(message)
        )
        spans[_place(message)] = span
        return with_trace(message, self._tracing.headers(span))

    def _about(self, message: Message) -> dict[str, str | int]:
        source = message.source
        vim_id, instance_id = split_instance_key(message.key)
        about = {
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": self._output,
            "messaging.consumer.group.name": self._group,
            "vimfed.vim_id": vim_id,
            "vimfed.instance_id": instance_id,
            "vimfed.source.partition": source.partition,
            "vimfed.source.offset": source.offset,
            "messaging.message.id": dict(message.headers).get("ce_id", b"").decode(),
        }
        return {name: value for name, value in about.items() if value != ""}


def _place(message: Message) -> tuple[int, int]:
    return message.source.partition, message.source.offset


class TracedDelivery:
    """``Delivery`` with the spans of PublisherTracing."""

    def __init__(self, tracing: PublisherTracing, delivery: Delivers) -> None:
        self._delivery = delivery
        self._tracing = tracing

    async def deliver(
        self, messages: Sequence[Message], may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        """Deliver messages; raises as ``Delivery.deliver`` does."""
        await self._tracing.deliver(self._delivery, messages, may_go_on)


class TracedOutput:
    """An output whose requests over HTTP carry the trace of their first message that has one."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.request_bytes = output.request_bytes

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Deliver messages; raises as the output does."""
        traced = (
            {name: value.decode() for name, value in message.headers if name in TRACE_HEADERS}
            for message in messages
        )
        REQUEST_HEADERS.set(next(filter(None, traced), {}))
        await self._output.deliver(messages)

    async def close(self) -> None:
        """Close the output."""
        await self._output.close()


def with_trace(message: Message, headers: Headers) -> Message:
    """Return a message that carries its trace.

    In Kafka's headers, and, where it is a CloudEvent, in the attributes of CloudEvents' distributed
    tracing extension: headers in binary mode, keys of the JSON object in structured mode.
    """
    attributes: Headers = ()
    value = message.value
    if any(name.startswith("ce_") for name, _ in message.headers):
        attributes = tuple((f"ce_{name}", value) for name, value in headers)
    elif message.headers[: len(CLOUDEVENT_HEADERS)] == CLOUDEVENT_HEADERS:
        more = msgspec.json.encode({name: value.decode() for name, value in headers})
        value = b"%s,%s" % (value.rstrip()[:-1], more[1:])
    return msgspec.structs.replace(
        message, value=value, headers=(*message.headers, *attributes, *headers)
    )
