"""A process that neither goes on nor ends is ended."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import (
    CorruptRecordException,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    UnknownTopicOrPartitionError,
)

from streams.engine import apps
from streams.engine.apps import _is_held_up, _is_stuck, consumer_of, new_app
from streams.engine.batched_transport import TP, Confirmation
from streams.engine.table_recovery import TableManager
from vimfed.kafka.clients import close_undelivered, idempotent_producer
from vimfed.settings import KafkaSettings, Settings

SCRIPT = """
import time
from threading import Thread
from types import SimpleNamespace
from aiokafka.errors import KafkaConnectionError
from streams.engine import apps
from vimfed.errors import OperatorError
from vimfed.process.new_life import pause_before_work
from vimfed.settings import KafkaSettings

if pause_before_work().failures:
    print("begun anew", flush=True)
    raise SystemExit(3)
apps.CRASH_DEADLINE = apps.STOP_DEADLINE = 1.0
conf = SimpleNamespace(broker_session_timeout=10.0, broker_heartbeat_interval=1.0)
app = SimpleNamespace(crashed={crashed}, rebalancing=False, in_recovery=False, conf=conf)
app.crash_reason = {reason}
app._stopped = SimpleNamespace(is_set=lambda: {stopped})
membership = SimpleNamespace(age={age})
apps.consumer_of = lambda _: SimpleNamespace(membership=membership, leaderless=list)
worker = SimpleNamespace(_starting_fut=None, _signal_stop_time={stopped})
work = apps._Work(app, worker, KafkaSettings(), (), time.monotonic())
Thread(target=apps._end_for_sure, args=[work], daemon=True).start()
time.sleep(2.5)
print("went on")
"""
OPERATORS = 'OperatorError("so it is mended")'


def ended(
    *,
    crashed: bool = False,
    reason: str = "None",
    stopped: bool = False,
    age: float = 0.0,
) -> subprocess.CompletedProcess[str]:
    """Return how a process ended that is in this state and hangs."""
    script = SCRIPT.format(crashed=crashed, reason=reason, stopped=stopped, age=age)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("crashed", [True, False])
def test_a_process_ends_some_time_after_a_crash_whatever_still_hangs(crashed: bool) -> None:
    done = ended(crashed=crashed, reason=OPERATORS)
    assert done.returncode == int(crashed)
    assert ("a crash does not end" in done.stderr) == crashed
    assert done.stderr.endswith("vimfed: so it is mended\n") == crashed
    assert ("went on" in done.stdout) != crashed


def test_a_process_begins_anew_where_kafka_is_why_a_crash_hangs() -> None:
    done = ended(crashed=True, reason="KafkaConnectionError()")
    assert (done.stdout, done.returncode) == ("begun anew\n", 3)


def test_a_stop_ends_in_time_though_kafka_does_not_answer() -> None:
    done = ended(stopped=True, age=4.0)
    assert (done.stdout, done.returncode) == ("", 0)
    assert "Kafka does not answer: this process ends now" in done.stderr


@pytest.mark.parametrize(
    ("reason", "stopped", "begins_anew"),
    [
        (LeaderNotAvailableError(), None, True),
        (KafkaTimeoutError(), None, True),
        (LeaderNotAvailableError(), 12.5, False),  # the time of a SIGTERM
        (UnknownTopicOrPartitionError(), None, False),
        (CorruptRecordException(), None, False),
        (ValueError(), None, False),
        (None, None, False),
    ],
)
def test_kafka_alone_is_a_reason_to_begin_anew(
    monkeypatch: pytest.MonkeyPatch,
    reason: Exception | None,
    stopped: float | None,
    begins_anew: bool,
) -> None:
    begun: list[float] = []
    monkeypatch.setattr(apps, "begin_anew", begun.append)
    app = SimpleNamespace(crash_reason=reason)
    worker = SimpleNamespace(_starting_fut=None, _signal_stop_time=stopped)
    apps._begin_anew_without_kafka(
        apps._Work(cast(Any, app), cast(Any, worker), KafkaSettings(), (), 7.0)
    )
    assert begun == [7.0] * begins_anew


async def test_a_stop_is_held_up_by_brokers_that_do_not_answer(tmp_path: Path) -> None:
    app = new_app(Settings(), "group", "source", tmp_path, web_enabled=False)
    consumer = consumer_of(app)
    silence = 0.4 * app.conf.broker_session_timeout
    long_ago = Confirmation(time.monotonic() - silence, 0.0, 0)
    consumer.membership.confirm(long_ago)
    assert not _is_held_up(app)
    app._stopped.set()
    assert _is_held_up(app)
    consumer.membership.confirm(Confirmation(time.monotonic(), 0.0, 0))
    assert not _is_held_up(app)
    consumer.producer = producer = idempotent_producer(KafkaSettings())
    await producer._message_accumulator.add_message(TP("events", 3), b"", b"", 1.0)
    assert consumer.leaderless() == ["events-3"]
    assert _is_held_up(app)
    await close_undelivered(producer)


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
