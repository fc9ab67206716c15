"""What carries a trace from one process to the next; without anything of OpenTelemetry."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Protocol

TRACE_HEADERS = ("traceparent", "tracestate")
"""W3C Trace Context's, of records and requests; CloudEvents' attributes have the same names."""

REQUEST_HEADERS: ContextVar[Mapping[str, str]] = ContextVar(
    "REQUEST_HEADERS", default=MappingProxyType({})
)
"""HTTP headers that a request to an output carries beside the output's own."""

Exemplar = dict[str, str]
"""Labels of an exemplar in OpenMetrics: which trace shows a case of what was measured."""


class Carrier(Protocol):
    """A record, as far as traces are concerned."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


def no_exemplar(_records: Sequence[Carrier]) -> Exemplar | None:
    """Return None: there are no traces."""
    return None
