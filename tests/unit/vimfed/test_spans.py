"""Ids and sampling of traces, their headers, and a collector that does not take them."""

import ast
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from tests.support.paths import PROJECT
from tests.support.spans import REQUEST, TRACE_ID, RecordedTracing
from vimfed.errors import UsageError
from vimfed.process import spans
from vimfed.process.spans import Headers, Tracing, ending, now
from vimfed.process.tracing import started_tracing
from vimfed.settings import TracingSettings

TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()


def begun(tracing: Tracing, request_id: str | None = REQUEST) -> Headers | None:
    """Return the headers of what a trace begins with; None where it is not traced."""
    span = tracing.trace("receive", request_id, now())
    if span is None:
        return None
    span.end()
    return tracing.headers(span)


def test_a_trace_has_the_id_of_novas_request() -> None:
    tracing = RecordedTracing()
    for _ in range(2):
        begun(tracing)
    assert [(span.trace_id, span.parent) for span in tracing.seen()] == [(TRACE_ID, "")] * 2
    assert len({span.span_id for span in tracing.seen()}) == 2


@pytest.mark.parametrize("request_id", [None, "", "req-1", "req-" + "0" * 32, "é" * 40])
def test_what_has_no_request_of_that_form_has_a_trace_of_its_own(request_id: str | None) -> None:
    tracing = RecordedTracing()
    begun(tracing)
    for _ in range(2):
        assert begun(tracing, request_id)
    ids = [span.trace_id for span in tracing.seen()]
    assert len(set(ids)) == 3
    assert "0" * 32 not in ids


def test_the_ratio_is_that_of_the_requests_whatever_the_variant_of_their_uuids() -> None:
    chance = random.Random(1)
    requests = [f"req-{UUID(int=chance.getrandbits(128), version=4)}" for _ in range(1000)]
    tracing = RecordedTracing(0.25)
    traced = [request for request in requests if begun(tracing, request)]
    assert 200 < len(traced) < 300
    elsewhere = RecordedTracing(0.25)
    assert [request for request in requests if begun(elsewhere, request)] == traced
    assert not begun(RecordedTracing(0.0))


def test_a_trace_goes_on_from_the_headers_of_a_record() -> None:
    tracing = RecordedTracing(0.0)  # who goes on has no say in it
    parent = tracing.parent([("ce_id", b"1"), ("traceparent", TRACEPARENT), ("tracestate", b"a=b")])
    assert parent is not None
    span = tracing.span("process", parent, SpanKind.CONSUMER, {"a": 1})
    headers = dict(tracing.headers(span))
    span.end()
    (seen,) = tracing.seen()
    assert (seen.trace_id, seen.parent) == (TRACE_ID, "00f067aa0ba902b7")
    assert headers["traceparent"].decode().split("-")[1:3] == [TRACE_ID, seen.span_id]
    assert headers["tracestate"] == b"a=b"
    again = tracing.parent(tuple(headers.items()))
    assert again is not None
    assert get_current_span(again).get_span_context().trace_flags.sampled


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ce_id", b"1")],
        [("traceparent", TRACEPARENT[:-2] + b"00")],
        [("traceparent", b"")],
        [("traceparent", b"\xff\xfe")],
        [("traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01")],
        [("traceparent", b"x" * 100_000)],
        [("tracestate", b"a=b")],
    ],
)
def test_what_carries_no_trace_or_none_that_is_sampled_is_left_alone(
    headers: Sequence[tuple[str, bytes]],
) -> None:
    assert RecordedTracing().parent(headers) is None


def test_an_exception_is_the_error_of_the_spans_and_ends_them() -> None:
    tracing = RecordedTracing()
    span = tracing.trace("receive", REQUEST, now())
    assert span is not None
    with pytest.raises(ConnectionError), ending([span]):
        raise ConnectionError("Kafka is away")
    assert [seen.error for seen in tracing.seen()] == ["Kafka is away"]


def test_spans_that_nobody_takes_hold_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    monkeypatch.setattr(spans, "CLOSE_TIMEOUT", 0.05)
    tracing = Tracing(1.0, "test")
    for _ in range(1000):
        assert begun(tracing)
    tracing.close()


def test_a_process_does_not_wait_long_for_a_collector_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, over = threading.Event(), threading.Event()

    class Hanging(SpanProcessor):
        def shutdown(self) -> None:
            asked.set()
            over.wait()

    monkeypatch.setattr(spans, "CLOSE_TIMEOUT", 0.05)
    tracing = Tracing(1.0, "test", Hanging())
    tracing.close()
    assert asked.is_set()
    over.set()


def test_without_its_packages_tracing_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "vimfed.process.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(UsageError, match=r"pip install 'vim-event-federation\[tracing\]'"):
        started_tracing(TracingSettings(enabled=True), "test")


def test_what_imports_opentelemetry_is_imported_only_where_tracing_is_on() -> None:
    """Nothing of it is imported when a module is: only in functions, behind the switch."""
    imports = dict(_imports_of_modules())
    reached = {"opentelemetry"}
    while more := {name for name, used in imports.items() if used & reached} - reached:
        reached |= more
    assert reached - {"opentelemetry"} == {
        "bridge.tracing",
        "streams.publisher.tracing",
        "streams.worker.tracing",
        "vimfed.kafka.traced_appending",
        "vimfed.process.spans",
    }


def _imports_of_modules() -> Iterator[tuple[str, set[str]]]:
    """Return what each of our modules imports when it is itself imported."""
    for room in ("bridge", "streams", "web", "vimfed"):
        for file in (PROJECT / room).rglob("*.py"):
            used: set[str] = set()
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.Import):
                    used.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    used |= {node.module, node.module.partition(".")[0]}
                    used.update(f"{node.module}.{alias.name}" for alias in node.names)
            name = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), used
