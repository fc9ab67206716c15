"""A process that neither goes on nor ends is ended."""

import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from streams.engine.apps import _is_stuck, consumer_of, new_app
from streams.engine.batched_transport import Confirmation
from streams.engine.table_recovery import TableManager
from vimfed.settings import Settings

SCRIPT = """
import time
from threading import Thread
from types import SimpleNamespace
from streams.engine import apps
from vimfed.errors import OperatorError
from vimfed.settings import KafkaSettings

apps.CRASH_DEADLINE = 1.0
conf = SimpleNamespace(broker_session_timeout=10.0)
app = SimpleNamespace(crashed={crashed}, rebalancing=False, in_recovery=False, conf=conf)
app.crash_reason = OperatorError("so it is mended")
Thread(target=apps._end_for_sure, args=(app, KafkaSettings(), ()), daemon=True).start()
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
    assert done.stderr.endswith("vimfed: so it is mended\n") == ended
    assert ("went on" in done.stdout) != ended


async def test_a_rebalance_is_stuck_that_the_coordinator_is_done_with(tmp_path: Path) -> None:
    app = new_app(Settings(), "group", "source", tmp_path, web_enabled=False)
    consumer = consumer_of(app)
    consumer.membership.confirm(Confirmation(time.monotonic(), 0.0, 0))
    assert not _is_stuck(app)
    app.rebalancing = True
    assert _is_stuck(app)
    app.in_recovery = True  # that may take long
    assert not _is_stuck(app)
    app.in_recovery = False
    recovery = cast(TableManager, app.tables).recovery
    recovery.is_handing_over = True  # and so may this, of many rows
    assert not _is_stuck(app)
    recovery.is_handing_over = False
    assert _is_stuck(app)
    old = time.monotonic() - app.conf.broker_session_timeout
    consumer.membership.confirm(Confirmation(old, 0.0, 0))
    assert not _is_stuck(app)
    consumer._thread.thread_loop.close()
