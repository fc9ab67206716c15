"""Children of ours: they end with us, and say what they said last."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import eventually, has_ended
from vimfed.local.child import Child

SLEEP = ("sleep", "60")


def test_a_child_runs_until_it_is_stopped_and_can_be_started_again() -> None:
    child = Child(SLEEP)
    for _ in range(2):
        child.spawn()
        running = [child.running]
        child.stop()
        running.append(child.running)
        assert running == [True, False]
        assert child.returncode == -signal.SIGTERM


def test_a_frozen_child_does_nothing_until_it_is_thawed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(["sh", "-c", "while :; do echo tick; sleep 0.01; done"], log=log)
    child.spawn()
    eventually(log.exists)
    child.freeze()
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    child.thaw()
    eventually(lambda: psutil.Process(child.pid).status() != psutil.STATUS_STOPPED)
    child.kill()
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_does_not_heed_is_killed_in_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"], log=log)
    child.spawn()
    eventually(lambda: child.last_log_line() == "deaf")
    child.stop(timeout=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import pathlib, sys, time; from vimfed.local.child import Child; "
        "child = Child(['sleep', '60']); child.spawn(); "
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(pid_file)]) as parent:
        eventually(lambda: pid_file.exists() and pid_file.read_text() != "")
        orphan = psutil.Process(int(pid_file.read_text()))
        eventually(lambda: orphan.name() == "sleep")
        parent.kill()
    eventually(lambda: has_ended(orphan))


def test_ctrl_c_in_the_terminal_does_not_reach_a_child() -> None:
    child = Child(SLEEP)
    child.spawn()
    assert os.getpgid(child.pid) != os.getpgid(0)
    child.kill()


def test_a_child_is_refused_off_the_main_thread_with_which_it_would_end() -> None:
    errors: list[RuntimeError] = []

    def spawn() -> None:
        try:
            Child(SLEEP).spawn()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=spawn)
    thread.start()
    thread.join()
    assert str(errors[0]) == "start child processes from the main thread"


def test_a_running_child_is_not_started_twice() -> None:
    child = Child(SLEEP)
    child.spawn()
    with pytest.raises(RuntimeError, match="already running: sleep"):
        child.spawn()
    child.kill()


def test_before_its_start_a_child_has_no_pid_and_ends_at_once() -> None:
    child = Child(SLEEP)
    with pytest.raises(RuntimeError, match="not started: sleep"):
        assert child.pid
    child.kill()
    assert child.wait(0)
    assert child.returncode is None


@pytest.mark.parametrize(
    ("written", "last"),
    [
        ("one\ntwo\n", "two"),
        ("one\ntwo\n\n", "two"),
        ("RuntimeError: why\n\tat Main.main\n", "RuntimeError: why"),
        ("", ""),
    ],
)
def test_the_last_line_is_the_last_that_says_something(
    tmp_path: Path, written: str, last: str
) -> None:
    log = tmp_path / "log"
    child = Child(["printf", "%b", written.replace("\n", "\\n").replace("\t", "\\t")], log=log)
    child.spawn()
    child.wait(10)
    assert child.last_log_line() == last


def test_without_a_log_there_is_no_last_line(tmp_path: Path) -> None:
    assert Child(SLEEP).last_log_line() == ""
    assert Child(SLEEP, log=tmp_path / "never").last_log_line() == ""


def test_output_of_an_earlier_life_stays_in_the_log(tmp_path: Path) -> None:
    child = Child(["echo", "alive"], log=tmp_path / "log")
    for _ in range(2):
        child.spawn()
        child.wait(10)
    assert (tmp_path / "log").read_text() == "alive\nalive\n"
