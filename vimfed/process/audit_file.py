"""The audit trail's own file."""

import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import cast

from vimfed.errors import OperatorError


class AuditFile(WatchedFileHandler):
    """A file that only its owner reads, and that is opened anew where another takes its name.

    logrotate needs no signal. What cannot be written goes to standard error, and is counted.
    Raises OperatorError where it cannot be opened at the start.
    """

    def __init__(self, path: str) -> None:
        self.failures = 0
        """Records that it did not take."""
        try:
            super().__init__(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise OperatorError(
                f"cannot write log.audit_file {path}: {error.strerror}: let this user write it, or "
                "choose another one"
            ) from None

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record. Upstream raises, into the caller, where a new file cannot be opened."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Write what the file does not take to standard error, in place of a traceback."""
        self.failures += 1
        sys.stderr.write(f"{self.format(record)}\n")

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        opened = open(  # noqa: SIM115 - the handler closes it
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors=self.errors,
            opener=private,
        )
        return cast("TextIOWrapper", opened)
