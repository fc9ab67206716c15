"""Spans of the way that a notification takes, by OpenTelemetry's SDK.

A trace has the id of nova's request: ``req-4f398943-…`` is trace ``4f398943…``, so that all
notifications of a request are in one trace, whichever bridge got them, and whoever knows the
request knows the trace. The bridge alone begins traces. Which, ``tracing.sample_ratio`` says; what
is not traced carries no header, and whoever gets it leaves it alone.

Spans go through the SDK's bounded queue to a collector, in a thread of its own. While that does not
take them the oldest are dropped: nothing waits for a collector.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vimfed.process.trace_carriers import TRACE_HEADERS, Carrier, Exemplar

Attributes = Mapping[str, str | int]
Headers = tuple[tuple[str, bytes], ...]

CLOSE_TIMEOUT = 2.0
"""Seconds that a process that ends gives to its last spans."""


class _Ratio(TraceIdRatioBased):
    """Looks at the 56 bits of a trace's id that W3C Trace Context 2 calls random.

    Of the 64 that the SDK looks at, the first two are the same in every UUID.
    """

    TRACE_ID_LIMIT = (1 << 56) - 1


class _RequestIds(RandomIdGenerator):
    """Random ids of spans; of a trace the id that this thread was last given for a request."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def begin(self, request_id: str | None) -> int:
        """Return the id of the next trace: a request's of nova's, where that is a UUID's."""
        trace_id = _uuid(request_id or "") or super().generate_trace_id()
        self._of_thread.trace_id = trace_id
        return trace_id

    def generate_trace_id(self) -> int:
        """Return what ``begin`` has returned."""
        trace_id: int = self._of_thread.trace_id
        return trace_id


def _uuid(request_id: str) -> int:
    """Return the UUID in ``req-4f398943-…``; 0 where there is none."""
    try:
        return UUID(request_id.removeprefix("req-")).int
    except ValueError:
        return 0


class Tracing:
    """Begins spans, and reads and writes the headers by which records carry their trace."""

    def __init__(self, ratio: float, service: str, processor: SpanProcessor | None = None) -> None:
        """``processor`` gets the spans; None: a bounded queue before a collector."""
        self._ids = _RequestIds()
        self._ratio = _Ratio(ratio)
        own = Resource.create({"service.name": service})
        self._provider = TracerProvider(
            sampler=ParentBased(self._ratio),
            id_generator=self._ids,
            # What the environment says (OTEL_SERVICE_NAME, …) goes before.
            resource=own.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("vimfed", version("vim-event-federation"))
        self._propagator = TraceContextTextMapPropagator()

    def trace(self, name: str, request_id: str | None, start_time: int) -> Span | None:
        """Begin the trace of what came from a cloud; None where it is not traced.

        ``start_time`` is in nanoseconds since 1970.
        """
        trace_id = self._ids.begin(request_id)
        # Asked before a span is made of what is nearly always left alone.
        if self._ratio.should_sample(None, trace_id, name).decision is Decision.DROP:
            return None
        span = self._tracer.start_span(
            name, Context(), kind=SpanKind.CONSUMER, start_time=start_time
        )
        return span if span.is_recording() else None

    def span(
        self,
        name: str,
        parent: Context,
        kind: SpanKind,
        attributes: Attributes,
        start_time: int | None = None,
    ) -> Span:
        """Begin a span below ``parent``; ``start_time`` as in ``trace``."""
        return self._tracer.start_span(
            name, parent, kind=kind, attributes=attributes, start_time=start_time
        )

    def parent(self, headers: Iterable[tuple[str, bytes]]) -> Context | None:
        """Return the context that headers of a record name; None where it is not traced."""
        found = {name: value.decode("latin-1") for name, value in headers if name in TRACE_HEADERS}
        if not found:
            return None
        context = self._propagator.extract(found, Context())
        return context if get_current_span(context).get_span_context().trace_flags.sampled else None

    def headers(self, span: Span) -> Headers:
        """Return the headers of a record, or a request, that follows from ``span``."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, Context()))
        return tuple((name, value.encode()) for name, value in carrier.items())

    def exemplar(self, records: Sequence[Carrier]) -> Exemplar | None:
        """Return the exemplar of the first of the records that is traced, if any is."""
        for record in records:
            context = self.parent(record.headers)
            if context is not None:
                trace_id = get_current_span(context).get_span_context().trace_id
                return {"trace_id": format_trace_id(trace_id)}
        return None

    def close(self) -> None:
        """Bring the last spans to the collector, within CLOSE_TIMEOUT seconds."""
        # The SDK itself would wait for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT)


@contextlib.contextmanager
def ending(spans: Iterable[Span]) -> Iterator[None]:
    """End spans with the block; an exception is their error."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            failed(span, str(error) or type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def failed(span: Span, why: str) -> None:
    """Note why what a span tells of has failed."""
    span.set_status(Status(StatusCode.ERROR, why))


def now() -> int:
    """Return the time as spans have it: nanoseconds since 1970."""
    return time.time_ns()
