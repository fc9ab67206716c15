"""A process that neither goes on nor ends is ended."""

import subprocess
import sys

import pytest

SCRIPT = """
import time
from threading import Thread
from types import SimpleNamespace
from streams import apps

apps.CRASH_DEADLINE = 1.0
conf = SimpleNamespace(broker_session_timeout=10.0)
app = SimpleNamespace(crashed={crashed}, rebalancing=False, in_recovery=False, conf=conf)
Thread(target=apps._end_for_sure, args=(app,), daemon=True).start()
time.sleep(2.5)
print("went on")
"""


@pytest.mark.parametrize(("crashed", "ended"), [(True, True), (False, False)])
def test_a_process_ends_some_time_after_a_crash_whatever_still_hangs(
    crashed: bool, ended: bool
) -> None:
    script = SCRIPT.format(crashed=crashed)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == int(ended)
    assert ("a crash does not end" in done.stderr) == ended
    assert ("went on" in done.stdout) != ended
