"""What a test sees of traces: the spans of this process, or those that a collector got."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from tests.support.threaded_server import ThreadedServer
from vimfed.process.spans import Tracing

REQUEST = "req-2ba4b4a6-36ce-4bd5-8c57-3bb8cf6e0f0e"
TRACE_ID = "2ba4b4a636ce4bd58c573bb8cf6e0f0e"


class SpanSeen(NamedTuple):
    """A span as it was exported; ids in hexadecimal digits."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    """Empty: it begins the trace."""
    attributes: Mapping[str, Any]
    error: str
    """Empty: none."""


class RecordedTracing(Tracing):
    """Tracing with the SDK's in-memory exporter."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        super().__init__(ratio, "test", SimpleSpanProcessor(self._exporter))

    def seen(self) -> Sequence[SpanSeen]:
        """Return the spans that have ended, in the order of their ends."""
        return [_seen(span) for span in self._exporter.get_finished_spans()]


def _seen(span: ReadableSpan) -> SpanSeen:
    assert span.context is not None
    return SpanSeen(
        str(span.resource.attributes["service.name"]),
        span.name,
        format_trace_id(span.context.trace_id),
        format_span_id(span.context.span_id),
        "" if span.parent is None else format_span_id(span.parent.span_id),
        dict(span.attributes or {}),
        span.status.description or "",
    )


class Collector(ThreadedServer):
    """A collector that takes OTLP over HTTP, as OpenTelemetry's protocol buffers describe it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[SpanSeen] = []

    async def _application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        for resource in told.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.seen += [
                    SpanSeen(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        _attributes(span.attributes),
                        span.status.message,
                    )
                    for span in scope.spans
                ]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
