"""A process that begins anew in its place."""

import os
import subprocess
import sys
import time

import pytest

from vimfed.process.new_life import Pause, begin_anew, pause_before_work

SCRIPT = """
import os, sys, time
from vimfed.process.new_life import STEADY_AFTER, begin_anew, pause_before_work

pause = pause_before_work()
print(os.getpid(), sys.argv[1:], sys.flags.no_site, sys.flags.dont_write_bytecode, *pause)
if pause.failures < 3:
    begin_anew(time.monotonic() - {worked})
"""


class ReplacedError(Exception):
    """The process would be another one from here on."""


def test_it_keeps_its_id_its_arguments_and_its_flags_and_counts_its_failures() -> None:
    command = [sys.executable, "-B", "-c", SCRIPT.format(worked=1.0), "--an", "argument"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told, _ = process.communicate(timeout=20)
    same = f"{process.pid} ['--an', 'argument'] 0 1"
    assert told.splitlines() == [
        f"{same} 0.0 0",
        f"{same} 0.0 1",
        f"{same} 5.0 2",
        f"{same} 10.0 3",
    ]


def test_failures_before_a_good_life_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDERATION_FAILURES", "7")
    assert pause_before_work() == Pause(60.0, 7)
    told: list[str] = []

    def execve(_path: str, _arguments: list[str], environment: dict[str, str]) -> None:
        told.append(environment["FEDERATION_FAILURES"])
        raise ReplacedError

    monkeypatch.setattr(os, "execve", execve)
    for worked in (61, 59):
        with pytest.raises(ReplacedError):
            begin_anew(time.monotonic() - worked)
    assert told == ["1", "8"]
