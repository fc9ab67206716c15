"""When only a restart can help a worker, and how notifications are counted."""

import logging
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from streams.core.fold import FoldedBatch, fold
from streams.engine import standstill
from streams.worker.health import MAX_EVENT_TYPES, WorkerCounters, WorkerHealth
from tests.support.bare_states import bare
from tests.support.clock import Clock
from tests.support.nova_messages import INSTANCE, VIM, legacy
from vimfed.model.keys import instance_key


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(standstill, "time", clock)
    return clock


class Worker:
    """As much of a worker as its health looks at: one partition, a position and an end."""

    def __init__(self) -> None:
        self.partitions = {3}
        self.is_processing = True
        self.position, self.end = 10, 10

    def undone(self, _partition: int) -> int:
        return self.position

    def lag(self, _partition: int) -> int:
        return self.end - self.position


def test_a_partition_with_lag_that_stands_still_needs_a_restart(clock: Clock) -> None:
    worker: Any = Worker()
    health = WorkerHealth(worker, stuck_after=60.0)
    worker.end = 15
    assert health.wrong() == {}
    clock.now += 61
    assert health.wrong() == {
        "partition 3": "5 records wait, and none was done for 61 s",
    }


def test_progress_and_idleness_are_no_reason(clock: Clock) -> None:
    worker: Any = Worker()
    health = WorkerHealth(worker, stuck_after=60.0)
    health.wrong()
    clock.now += 1000
    assert health.wrong() == {}, "nothing waits"
    worker.end = 2000
    for _ in range(10):
        clock.now += 50
        worker.position += 1
        assert health.wrong() == {}, "slow, but it goes on"


def test_while_kafka_is_away_or_partitions_move_nothing_is_stuck(clock: Clock) -> None:
    worker: Any = Worker()
    health = WorkerHealth(worker, stuck_after=60.0)
    worker.end = 15
    health.wrong()
    worker.is_processing = False
    clock.now += 1000
    assert health.wrong() == {}
    worker.is_processing = True
    assert health.wrong() == {}, "the time begins anew"
    clock.now += 61
    assert health.wrong() != {}


def test_event_types_are_counted_by_name_up_to_a_bound() -> None:
    registry = CollectorRegistry()
    counters = WorkerCounters(registry)
    made_up = Counter({f"made.up.{number}": 1 for number in range(MAX_EVENT_TYPES + 50)})
    counters.processed(
        len(made_up),
        FoldedBatch(passed=made_up, outcomes=Counter(told=7), reconciled=Counter(A_B=2)),
    )
    value = registry.get_sample_value
    assert value("vimfed_worker_passed_total", {"event_type": "made.up.0"}) == 1
    assert value("vimfed_worker_passed_total", {"event_type": "other"}) == 50
    assert value("vimfed_worker_outcomes_total", {"outcome": "told"}) == 7
    assert value("vimfed_worker_reconciled_total", {"vim_id": "A_B"}) == 2
    assert value("vimfed_worker_records_total") == MAX_EVENT_TYPES + 50


def test_the_time_of_a_batch_and_the_delay_of_its_oldest_notification_are_observed() -> None:
    registry = CollectorRegistry()
    WorkerCounters(registry).took(0.02, 7200.0)
    value = registry.get_sample_value
    assert value("vimfed_worker_batch_seconds_bucket", {"le": "0.025"}) == 1
    assert value("vimfed_worker_delay_seconds_bucket", {"le": "3600.0"}) == 0
    assert value("vimfed_worker_delay_seconds_bucket", {"le": "86400.0"}) == 1


def test_what_a_poller_found_first_is_counted_by_cloud_and_what_was_pushed_or_known_is_not() -> (
    None
):
    notifications = [
        bare("active", at=1, sequence=1, source="poller"),
        bare("paused", at=2, source="ingest", path="ingest"),
        bare("paused", at=3, sequence=2, source="poller"),
        bare("stopped", at=4, sequence=3, source="poller"),
    ]
    key = instance_key(VIM, INSTANCE)
    records: list[Any] = [
        SimpleNamespace(key=key, value=msgspec.json.encode(each), offset=offset)
        for offset, each in enumerate(notifications)
    ]
    folded = fold(records, lambda _key: None)
    assert len(folded.events) == 3
    assert folded.reconciled == {VIM: 2}
    assert folded.repaired == []


def test_what_notifications_lost_is_logged_with_its_instance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = bare("stopped", at=30, since=12, action=("POWER_OFF", "end", "req-1"))
    notifications = [legacy("power_on.end", at=1), lost, lost, bare("paused", at=40, sequence=1)]
    key = instance_key(VIM, INSTANCE)
    records: list[Any] = [
        SimpleNamespace(key=key, value=msgspec.json.encode(each), offset=offset)
        for offset, each in enumerate(notifications)
    ]
    with caplog.at_level(logging.INFO):
        WorkerCounters(CollectorRegistry()).processed(4, fold(records, lambda _key: None))
    assert [line.getMessage() for line in caplog.records] == [
        f"polling found what no notification had told: {VIM}/{INSTANCE}: POWER_OFF end"
    ]
