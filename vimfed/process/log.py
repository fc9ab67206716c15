"""Log records on standard error: a line each, for people or as JSON for programs.

The audit trail's records go with them, or to a file of their own.
"""

import logging
import textwrap
import warnings
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from vimfed.model.times import utc_text
from vimfed.process import audit
from vimfed.process.audit_file import AuditFile
from vimfed.process.escaping import echo, escaped
from vimfed.process.windows import Windows
from vimfed.settings import LogSettings

LOG = logging.getLogger(__name__)

_NOISY = (
    "aiokafka",
    "oslo.messaging",
    "oslo_service",
    "amqp",
    "kafka",
    "aiohttp.access",
    "faust",
    "mode",
)
"""Libraries that log every poll below WARNING; producing those records costs more than our work."""


STRANGERS_CAUSE = ("web.", "vimfed.process.connections")
"""How the names of loggers begin whose records anybody can cause by a request."""
LIBRARIES = ("aiokafka", "oslo.messaging", "amqp", "kombu")
"""The same of libraries that tell each attempt while a broker is away."""
MOST_ALIKE, MOST_REPEATED, WINDOW = 100, 10, 60.0
"""Maximum records of one line of code, of the first and of the second, and the seconds in which
they count."""
MOST_OF_LIBRARIES = 40
"""Maximum records of all libraries in a window; the first of each line of code passes anyway."""


class SparingFilter(logging.Filter):
    """Lets pass so many records that strangers or lost brokers cause, and counts the others.

    Neither the requests of one who goes on nor a long outage may fill a disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: Counter[tuple[str, int]] = Counter()
        """By logger and line."""
        self._left_out: Counter[tuple[str, int]] = Counter()
        self._last: dict[tuple[str, int], logging.LogRecord] = {}
        """The last one of those that did not pass."""
        self._windows = Windows(WINDOW, self._tell_left_out)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record passes."""
        most = _most(record.name)
        if most is None or hasattr(record, "left_out"):
            return True
        place = (record.name, record.lineno)
        with self._windows.lock:
            self._windows.turn()
            if self._passed[place] < most and not self._libraries_told_enough(place):
                self._passed[place] += 1
                return True
            self._left_out[place] += 1
            self._last[place] = record
            self._windows.watch()
            return False

    def _libraries_told_enough(self, place: tuple[str, int]) -> bool:
        if not self._passed[place] or not place[0].startswith(LIBRARIES):
            return False
        told = sum(n for (name, _), n in self._passed.items() if name.startswith(LIBRARIES))
        return told >= MOST_OF_LIBRARIES

    def _tell_left_out(self) -> None:
        left_out, self._left_out = self._left_out, Counter()
        last, self._last = self._last, {}
        self._passed.clear()
        for place, record in last.items():
            logging.getLogger(record.name).log(
                record.levelno,
                "%d more like the following were left out: %s",
                left_out[place],
                record.getMessage(),
                extra={"left_out": left_out[place]},
            )


def _most(name: str) -> int | None:
    """Return how many records of one line of code a logger may have in a window; None: any."""
    if name.startswith(STRANGERS_CAUSE):
        return MOST_ALIKE
    return MOST_REPEATED if name.startswith(LIBRARIES) else None


class LineFormatter(logging.Formatter):
    """A line for each record: what others chose neither begins a line nor commands a terminal.

    The lines of a traceback are indented: none of them looks like a record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record's line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Return the stack."""
        return _indented(super().formatStack(stack_info))


class _JsonLines(JsonFormatter):
    """An object for each record, whose time is RFC 3339's, in UTC."""

    def formatTime(self, record: logging.LogRecord, _datefmt: str | None = None) -> str:  # noqa: N802
        """Return the record's time."""
        return utc_text(datetime.fromtimestamp(record.created, UTC), "milliseconds")


def tell_last_words(text: str) -> None:
    """Tell why this process ends, as a record where its log is JSON, else as a line."""
    if any(isinstance(each.formatter, _JsonLines) for each in logging.getLogger().handlers):
        LOG.critical("%s", text)
    else:
        echo(f"vimfed: {text}", err=True)


def _indented(text: str) -> str:
    return textwrap.indent(escaped(text, lines=True), "  ")


def configure_logging(log: LogSettings, process: str) -> None:
    """Send log records to standard error as ``log`` says; ``process`` names this one in each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(log, process))
    handler.addFilter(SparingFilter())
    logging.basicConfig(level=log.level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # oslo.messaging imports eventlet, whichever executor is used, and nobody can do about it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    configure_audit(log, process)


def configure_audit(log: LogSettings, process: str, *, alone: bool = False) -> None:
    """Send the audit trail to ``log.audit_file``, or where there is none, with the log.

    ``alone``: the process, a command, has no log; without a file its records go to standard error.
    ``log.level`` does not hold them back. Raises OperatorError where the file cannot be written.
    """
    release_audit()
    handler: logging.Handler | None = None
    if log.audit_file:
        handler = AuditFile(log.audit_file)
    elif alone:
        handler = logging.StreamHandler()
    if handler is not None:
        handler.setFormatter(_formatter(log, process))
        audit.LOGGER.addHandler(handler)
    audit.LOGGER.propagate = handler is None
    audit.LOGGER.setLevel(logging.INFO)


def release_audit() -> None:
    """Close the audit trail's own file; what comes now goes with the log."""
    for handler in list(audit.LOGGER.handlers):
        audit.LOGGER.removeHandler(handler)
        handler.close()
    audit.LOGGER.propagate = True


def _formatter(log: LogSettings, process: str) -> logging.Formatter:
    if log.format == "json":
        return _JsonLines(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"process": process},
        )
    return LineFormatter(f"%(asctime)s {process} %(levelname)s %(name)s: %(message)s")
