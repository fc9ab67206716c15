"""Each process of pytest-xdist collects for itself: what is collected depends on files alone."""

import os
import subprocess
import sys
import time

import pytest

from tests.conftest import InLanes

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
