"""The audit trail: who changed what, and what was refused to whom, a record each.

``vimfed.audit`` is the one logger that writes it. docs/audit.md tells the form; a program reads it
either as JSON's fields or as ``key=value`` of the line.
"""

import logging
import re
from collections import Counter as Counts
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from vimfed.model.times import utc_text
from vimfed.process.audit_file import AuditFile
from vimfed.process.escaping import escaped, quoted
from vimfed.process.neighbours import network_of
from vimfed.process.windows import Windows

LOGGER = logging.getLogger("vimfed.audit")

FORM = 1
"""Version of the form. Names of events and fields are added, and not taken away, within one."""
MAX_VALUE = 200
"""Characters of a value; the rest is cut."""
MAX_HEADER = 300
"""Bytes of the header ``caller``."""
CALLER_HEADER = "caller"
WINDOW = 60.0
"""Seconds for which records are counted; then what was left out is told, and counting begins."""
MAX_NEIGHBOURS_TOLD = 100
"""Neighbours of whom a window tells one by one how many records it left out."""

Event = Literal[
    "subscription.written",
    "subscription.deleted",
    "snapshot.requested",
    "snapshot.deleted",
    "output.switched",
    "output.replayed",
    "states.pushed",
    "hosts.pushed",
    "alerts.pushed",
    "samples.pushed",
    "topic.created",
    "messages.published",
    "dead_letter.replayed",
    "dead_letter.dropped",
    "settings.reread",
    "request.refused",
    "login.failed",
    "login.ended",
    "records.suppressed",
]
EVENTS: dict[Event, str] = {
    "subscription.written": "a subscription was made or replaced",
    "subscription.deleted": "a subscription was deleted",
    "snapshot.requested": "a snapshot was asked for",
    "snapshot.deleted": "a snapshot was deleted, or cancelled",
    "output.switched": "an output was paused or resumed",
    "output.replayed": "`vimfed output replay` had events sent again",
    "states.pushed": "a plug-in pushed notifications or bare states",
    "hosts.pushed": "a plug-in or a monitor pushed how hosts are",
    "alerts.pushed": "a monitor pushed alerts",
    "samples.pushed": "a plug-in pushed samples of meters",
    "topic.created": "a topic was created through the gateway",
    "messages.published": "messages were published through the gateway",
    "dead_letter.replayed": "`vimfed dead-letter replay` gave one back",
    "dead_letter.dropped": "`vimfed dead-letter drop` settled one",
    "settings.reread": "a bridge or worker read its settings again at SIGHUP",
    "request.refused": "a request was answered 401, 403, 421 or 429",
    "login.failed": "a login was looked at, and is none",
    "login.ended": "live events ended, since their login is none any more",
    "records.suppressed": "so many records were left out",
}
"""What happened, by the name that tells it."""
Result = Literal["done", "refused", "failed"]
"""``failed``: it could not be done, or nobody knows whether it was."""
Field = str | int


class Who(NamedTuple):
    """Who did it."""

    login: str = ""
    """Empty: nobody has logged in."""
    role: str = ""
    address: str = ""
    """Network address of who asks; of a command, this machine's name."""

    def header(self) -> tuple[str, bytes]:
        """Return the Kafka header of a record that they caused: ``login/role@address``."""
        text = f"{self.login or '-'}/{self.role or '-'}@{self.address or '-'}"
        cut = escaped(text[:MAX_HEADER]).encode()[:MAX_HEADER]
        return CALLER_HEADER, cut.decode(errors="ignore").encode()


class Bound(NamedTuple):
    """Maximum records of one event in a window; what comes beyond is counted alone."""

    of_neighbour: int
    in_all: int


_STRANGERS, _CALLERS = Bound(30, 300), Bound(600, 6000)
BOUNDS: dict[Event, Bound] = {
    "request.refused": _STRANGERS,
    "login.failed": _STRANGERS,
    "login.ended": _STRANGERS,
    "subscription.written": _CALLERS,
    "subscription.deleted": _CALLERS,
    "snapshot.requested": _CALLERS,
    "snapshot.deleted": _CALLERS,
    "output.switched": _CALLERS,
    "states.pushed": _CALLERS,
    "hosts.pushed": _CALLERS,
    "alerts.pushed": _CALLERS,
    "samples.pushed": _CALLERS,
    "topic.created": _CALLERS,
    "messages.published": _CALLERS,
}
"""Of what comes over the network; what an operator does here is always told."""


class LeftOut(NamedTuple):
    """What a window did not tell one by one."""

    event: Event
    result: Result
    neighbour: str


class Window:
    """Counts records, and decides which of them are written. Does nothing."""

    def __init__(self) -> None:
        self._written: Counts[tuple[Event, str]] = Counts()
        """By event and neighbour; of all neighbours where that is empty."""
        self.left_out: Counts[LeftOut] = Counts()

    def takes(self, event: Event, result: Result, address: str) -> bool:
        """Return whether a record is to be written; note that it was left out where it is not."""
        bound = BOUNDS.get(event)
        if bound is None:
            return True
        neighbour = network_of(address)
        if (
            self._written[event, ""] < bound.in_all
            and self._written[event, neighbour] < bound.of_neighbour
        ):
            self._written[event, ""] += 1
            self._written[event, neighbour] += 1
            return True
        key = LeftOut(event, result, neighbour)
        if key not in self.left_out and len(self.left_out) >= MAX_NEIGHBOURS_TOLD:
            key = LeftOut(event, result, "others")
        self.left_out[key] += 1
        return False


class Trail:
    """Writes records, from any thread; ``close`` tells what was left out last."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._records = Counter(
            "vimfed_audit_records",
            "records of the audit trail, those that were left out included",
            ["event", "result"],
            registry=registry,
        )
        self._suppressed = Counter(
            "vimfed_audit_suppressed",
            "records that were left out, and are told as a number",
            ["event"],
            registry=registry,
        )
        if registry is not None:
            registry.register(_Unwritten())
        self._counts = Window()
        self._windows = Windows(WINDOW, self._tell_left_out)

    def record(self, event: Event, result: Result, who: Who, **details: Field) -> None:
        """Write a record. ``details`` are further fields; those that are empty are left out."""
        with self._windows.lock:
            self._windows.turn()
            self._records.labels(event, result).inc()
            if self._counts.takes(event, result, who.address):
                _write(event, result, who, details)
            else:
                self._suppressed.labels(event).inc()
                self._windows.watch()

    def close(self) -> None:
        """Tell what was left out."""
        self._windows.end()

    def _tell_left_out(self) -> None:
        since = _text(self._windows.since)
        for left_out, count in self._counts.left_out.items():
            self._records.labels("records.suppressed", left_out.result).inc()
            who = Who(address=left_out.neighbour)
            details: dict[str, Field] = {"of": left_out.event, "count": count, "since": since}
            _write("records.suppressed", left_out.result, who, details)
        self._counts = Window()


class _Fields(dict[str, Any]):
    """A record: JSON's formatter takes its items, and a line's its text."""

    def __str__(self) -> str:
        told = (each for each in self.items() if each[0] != "message")
        return " ".join(f"{key}={_line_value(value)}" for key, value in told)


_BARE = re.compile(r"[A-Za-z0-9._:/@{}*+~-]+")


def _line_value(value: Field) -> str:
    text = str(value)
    if not text:
        return "-"
    return text if text != "-" and _BARE.fullmatch(text) else quoted(text)


def _capped(value: Field) -> Field:
    if isinstance(value, int) or len(value) <= MAX_VALUE:
        return value
    return f"{value[:MAX_VALUE]}…"


def _write(event: Event, result: Result, who: Who, details: dict[str, Field]) -> None:
    told = {name: _capped(value) for name, value in details.items() if value != ""}
    fields = {
        "message": event,
        "form": FORM,
        "at": _text(datetime.now(UTC)),
        "event": event,
        "result": result,
        **{name: _capped(value) for name, value in who._asdict().items()},
        **told,
    }
    LOGGER.log(logging.INFO if result == "done" else logging.WARNING, _Fields(fields))


def _text(moment: datetime) -> str:
    return utc_text(moment, "milliseconds")


class _Unwritten(Collector):
    """Counts what the audit file did not take; it stands in the log instead."""

    def collect(self) -> Iterable[Metric]:
        """Return the counter."""
        failures = sum(each.failures for each in LOGGER.handlers if isinstance(each, AuditFile))
        metric = CounterMetricFamily(
            "vimfed_audit_unwritten", "records that the audit file did not take"
        )
        metric.add_metric([], failures)
        yield metric
