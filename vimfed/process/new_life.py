"""A process that begins anew in its place, by exec: same id, arguments and output, nothing else.

Whoever started it, a supervisor or a container's engine, does not notice: there is no pause of
theirs, which grows with each restart.
"""

import contextlib
import os
import sys
import time
from typing import NamedTuple, NoReturn

STEADY_AFTER = 60.0
"""A life of so many seconds was a good one: failures before it do not count."""
FIRST_PAUSE, LAST_PAUSE = 5.0, 60.0
"""Seconds before the work of a process that has failed twice in a row, and the most there are."""
_FAILURES = "FEDERATION_FAILURES"
"""Environment variable: how often this process has failed in a row. VIMFED_ is for settings."""


class Pause(NamedTuple):
    """What a process waits before it works, since it has failed before."""

    seconds: float
    failures: int
    """In a row, each after less than STEADY_AFTER of work."""


NO_PAUSE = Pause(0.0, 0)


def pause_before_work() -> Pause:
    """Return how long this process is to wait: not at all after a first failure."""
    failures = _failures()
    if failures < 2:
        return Pause(0.0, failures)
    return Pause(min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 2)), failures)


def begin_anew(worked_since: float) -> NoReturn:
    """Become the same command again, with the settings and the program as they are by now.

    ``worked_since``: when this life's work began, by the monotonic clock. From any thread: the
    others end where they are, as by SIGKILL. Files close, as they do whenever we start a command.
    Raises OSError where the program is not there any more.
    """
    is_steady = time.monotonic() - worked_since > STEADY_AFTER
    environment = {**os.environ, _FAILURES: str(1 if is_steady else _failures() + 1)}
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def _failures() -> int:
    failures = os.environ.get(_FAILURES, "")
    return int(failures) if failures.isdecimal() else 0
