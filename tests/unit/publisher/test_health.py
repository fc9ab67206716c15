"""When a publisher needs a restart: not while an output takes a batch bit by bit."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from streams.engine import standstill
from streams.engine.batched_transport import TP
from streams.publisher.health import PublisherCounters, PublisherHealth
from vimfed.kafka.aio import TopicPartition
from vimfed.settings import WorkerSettings

EVENTS = TP("events", 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(standstill, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def health_of(delivery: Any) -> PublisherHealth:
    """Return the health of a publisher whose batch begins at offset 5, of 500 records."""
    consumer: Any = SimpleNamespace(
        sources={"events"},
        assignment=lambda: {EVENTS},
        undone=lambda _tp: 5,
        leaderless=set,
    )
    counters = PublisherCounters(CollectorRegistry(), "hook")
    gate: Any = SimpleNamespace(paused_at="")
    health = PublisherHealth("hook", consumer, delivery, counters, gate, WorkerSettings(), 3600)
    health._ends = {TopicPartition("events", 0): 505}
    return health


@pytest.mark.parametrize("takes", [True, False])
def test_a_batch_that_takes_long_is_no_standstill_while_some_of_it_is_taken(
    clock: SimpleNamespace, takes: bool
) -> None:
    delivery: Any = SimpleNamespace(failing_since=None, reached={}, handled=0, under_way=set())
    health = health_of(delivery)
    for offset in range(5, 20):
        clock.now += WorkerSettings().stuck_after / 2
        if takes:
            delivery.reached[0] = offset
        told = health.wrong()
    assert bool(told) != takes


@pytest.mark.parametrize("under_way", [True, False])
def test_a_partition_that_waits_while_the_output_takes_from_others_needs_no_restart(
    clock: SimpleNamespace, under_way: bool
) -> None:
    delivery: Any = SimpleNamespace(
        failing_since=None, reached={}, handled=0, under_way={0} if under_way else set()
    )
    health = health_of(delivery)
    for _ in range(15):
        clock.now += WorkerSettings().stuck_after / 2
        delivery.handled += 1
        told = health.wrong()
    assert bool(told) != under_way
