"""Each process of pytest-xdist collects for itself: what is collected depends on files alone."""

import os
import subprocess
import sys
import time
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import InLanes, is_background

IMPORTED_AT = time.monotonic()


def collected_again(request: pytest.FixtureRequest, seed: str) -> list[str]:
    """Return the ids that another process collects from the files of this run."""
    files = dict.fromkeys(str(item.path) for item in request.session.items)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *files],
        cwd=request.config.rootpath,
        env={**environment, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_seconds_later_and_with_another_hash_seed_the_same_is_collected(
    request: pytest.FixtureRequest,
) -> None:
    """All of the tests in ``make test``; alone, those of the files that were named."""
    time.sleep(max(0.0, IMPORTED_AT + 2 - time.monotonic()))
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    ours = [item.nodeid for item in request.session.items]
    chosen = set(ours)  # -k and -m leave some out
    assert [test for test in collected_again(request, seed) if test in chosen] == ours


def test_what_breaks_things_shares_a_lane_and_any_other_file_has_its_own() -> None:
    lane = InLanes.__new__(InLanes)._split_scope
    assert lane("tests/chaos/test_workers.py::test_a") == lane("tests/chaos/test_bridge.py::test_b")
    assert lane("tests/e2e/test_run.py::test_a[x]") == lane("tests/e2e/test_run.py::test_b")
    assert lane("tests/e2e/test_run.py::test_a") != lane("tests/e2e/test_access.py::test_a")


class Process:
    """What the scheduler asks of a process of xdist."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.given += numbers

    def shutdown(self) -> None:
        self.shutting_down = True


def shared_between(count: int, files: list[str]) -> tuple[Any, list[Process]]:
    """Return a scheduler with a test for each of these files, and its processes."""
    lanes: Any = InLanes.__new__(InLanes)
    processes = [Process(f"gw{number}") for number in range(count)]
    lanes.numnodes, lanes.assigned_work = count, {}
    lanes.workqueue = OrderedDict((file, {f"{file}::test": False}) for file in files)
    tests = [f"{file}::test" for file in files]
    lanes.registered_collections = dict.fromkeys(processes, tests)
    return lanes, processes


def test_of_three_processes_the_last_works_in_the_background_until_nothing_patient_is_left() -> (
    None
):
    files = [
        "tests/e2e/a.py",
        "tests/unit/web/b.py",
        "tests/unit/core/c.py",
        "tests/unit/alerts/d.py",
    ]
    lanes, (first, _second, last) = shared_between(3, files)
    lanes._assign_work_unit(first)
    lanes._assign_work_unit(last)
    lanes._assign_work_unit(last)
    assert (first.given, last.given, last.shutting_down) == ([0], [2, 3], False)
    lanes._assign_work_unit(last)
    assert (list(lanes.workqueue), last.shutting_down) == (["tests/unit/web/b.py"], True)


def test_what_the_background_has_not_begun_is_for_whoever_has_nothing_else() -> None:
    lanes, (first, *_others) = shared_between(3, ["tests/e2e/a.py", "tests/unit/core/b.py"])
    lanes._assign_work_unit(first)
    lanes._assign_work_unit(first)
    assert first.given == [0, 1]


def test_one_or_two_processes_have_no_background() -> None:
    named = [(f"gw{number}", count) for count in (1, 2, 3) for number in range(count)]
    assert [each for each in named if is_background(*each)] == [("gw2", 3)]
