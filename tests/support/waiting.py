"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable

import psutil


def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Return as soon as ``condition`` holds. AssertionError after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.02)


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, be it between two looks at it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
