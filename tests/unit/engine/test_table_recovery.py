"""A recovery applies its changelogs without a hole, and reaches its end or begins again."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.structs import ConsumerRecord
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.types import TP
from mode.utils.queues import ThrowableQueue

from streams.engine.batched_transport import RecordBatch
from streams.engine.table_recovery import Recovery, TableManager
from streams.worker.worker import StreamWorker
from vimfed.settings import Settings, WorkerSettings

CHANGELOG = TP("instances-changelog", 3)
GENERATION = 5


@pytest.fixture
async def worker(tmp_path: Path) -> StreamWorker:
    """A worker that was never started."""
    settings = Settings(state_dir=tmp_path, worker=WorkerSettings(store="memory"))
    return StreamWorker(settings)


@pytest.fixture
async def recovery(worker: StreamWorker) -> Recovery:
    """The recovery service of that worker, which keeps a copy of one partition."""
    worker.app.consumer_generation_id = GENERATION
    recovery = cast(TableManager, worker.app.tables).recovery
    recovery.add_standby(worker.table, CHANGELOG)
    return recovery


@pytest.fixture
def sought(worker: StreamWorker, monkeypatch: pytest.MonkeyPatch) -> list[dict[TP, int]]:
    """The seeks that are asked of the consumer."""
    seeks: list[dict[TP, int]] = []

    async def seek_wait(partitions: dict[TP, int]) -> None:
        seeks.append(partitions)

    monkeypatch.setattr(worker.consumer, "seek_wait", seek_wait)
    return seeks


def change(offset: int) -> ConsumerRecord:
    key, row = f"key-{offset}".encode(), b'{"source_offset":%d}' % offset
    return ConsumerRecord(*CHANGELOG, offset, 0, 1, key, row, None, len(key), len(row), ())


def read(first: int, last: int, *, start: int | None = None, generation: int = GENERATION) -> Any:
    """Return a message of what was read, from ``start`` on where the first offsets are no more."""
    batch = RecordBatch(
        [change(offset) for offset in range(first, last + 1)], generation, start=start
    )
    return SimpleNamespace(tp=CHANGELOG, value=batch)


def applied(worker: StreamWorker) -> list[int]:
    """Return the offsets of the changes that the copy holds, where it stands last."""
    store = worker.table.partition(CHANGELOG.partition)
    offsets = sorted(int(key.removeprefix(b"key-")) for key, _row in store.items())
    return [*offsets, -1 if store.changelog_offset is None else store.changelog_offset]


async def test_what_was_applied_already_is_not_applied_again(
    worker: StreamWorker, recovery: Recovery
) -> None:
    await recovery._apply(read(0, 3))
    await recovery._apply(read(2, 3))
    await recovery._apply(read(3, 5))
    assert applied(worker) == [0, 1, 2, 3, 4, 5, 5]


async def test_others_have_their_turn_between_two_batches(
    worker: StreamWorker, recovery: Recovery
) -> None:
    worker.app.flow_control.resume()
    for first in (0, 2, 4):
        batch = SimpleNamespace(message=read(first, first + 1))
        recovery.tables.changelog_queue.force_put_nowait(batch)
    slurp = cast(Callable[[Recovery], Awaitable[None]], Recovery._slurp_changelogs)
    slurping = asyncio.ensure_future(slurp(recovery))
    seen = [-1]
    while seen[-1] < 5:
        await asyncio.sleep(0)
        if (at := applied(worker)[-1]) != seen[-1]:
            seen.append(at)
    slurping.cancel()
    assert seen == [-1, 1, 3, 5]


async def test_where_changes_were_dropped_reading_begins_again(
    worker: StreamWorker, recovery: Recovery, sought: list[dict[TP, int]]
) -> None:
    await recovery._apply(read(0, 1))
    await recovery._apply(read(3, 4))
    assert applied(worker) == [0, 1, 1]
    assert sought == [{CHANGELOG: 2}]
    await recovery._apply(read(2, 4))
    assert applied(worker) == [0, 1, 2, 3, 4, 4]


async def test_offsets_that_compaction_has_taken_are_no_hole(
    worker: StreamWorker, recovery: Recovery, sought: list[dict[TP, int]]
) -> None:
    await recovery._apply(read(0, 1))
    await recovery._apply(read(7, 8, start=2))
    assert applied(worker) == [0, 1, 7, 8, 8]
    assert sought == []


@pytest.mark.parametrize(
    ("kept", "age", "again"), [(60, 50, False), (60, 70, True), (0, 70, False)]
)
async def test_a_copy_that_fell_back_behind_the_tombstones_is_read_again_from_the_start(
    worker: StreamWorker,
    recovery: Recovery,
    sought: list[dict[TP, int]],
    kept: float,
    age: float,
    again: bool,
) -> None:
    worker.table.stores.tombstones_kept = kept  # 0: nobody knows
    await recovery._apply(read(0, 3))
    worker.table.partition(CHANGELOG.partition).followed.until -= age
    await recovery._apply(read(4, 5))
    if again:
        assert (applied(worker), sought) == ([-1], [{CHANGELOG: 0}])
        await recovery._apply(read(0, 5))
    assert applied(worker) == [0, 1, 2, 3, 4, 5, 5]


async def test_where_a_copy_is_outdated_a_recovery_begins_at_the_start(
    worker: StreamWorker, recovery: Recovery
) -> None:
    worker.table.stores.tombstones_kept = 60
    await recovery._apply(read(0, 3))
    recovery.add_standby(worker.table, CHANGELOG)
    assert recovery.standby_offsets[CHANGELOG] == 3
    worker.table.partition(CHANGELOG.partition).followed.until -= 40
    recovery.add_standby(worker.table, CHANGELOG)
    assert recovery.standby_offsets[CHANGELOG] is None
    assert applied(worker) == [-1]


async def test_an_empty_batch_moves_on_to_the_end_of_the_changelog(
    worker: StreamWorker, recovery: Recovery
) -> None:
    await recovery._apply(read(0, 3))
    marker = RecordBatch((), GENERATION, start=4, next_offset=5)
    await recovery._apply(cast(Any, SimpleNamespace(tp=CHANGELOG, value=marker)))
    assert applied(worker) == [0, 1, 2, 3, 4]
    assert recovery.standby_offsets[CHANGELOG] == 4


async def test_what_was_read_for_an_assignment_that_is_over_is_not_applied(
    worker: StreamWorker, recovery: Recovery
) -> None:
    await recovery._apply(read(0, 1, generation=GENERATION - 1))
    recovery.standby_tps.clear()
    await recovery._apply(read(0, 1))
    assert applied(worker) == [-1]


def queue_of_a_stream(recovery: Recovery) -> ThrowableQueue[Any]:
    channel: Any = recovery.app.stream(recovery.app.topic("source")).channel
    queue: ThrowableQueue[Any] = channel.queue
    return queue


async def test_resuming_the_flow_drops_nothing_that_was_read(recovery: Recovery) -> None:
    app = recovery.app
    queues = [recovery.tables.changelog_queue, queue_of_a_stream(recovery)]
    for queue in queues:
        queue.force_put_nowait("a batch")
    app.flow_control.resume()
    assert [queue.qsize() for queue in queues] == [1, 1]
    assert app.flow_control.is_active()


async def test_what_streams_have_not_taken_is_forgotten_where_partitions_are_taken_away(
    recovery: Recovery,
) -> None:
    app = recovery.app
    queue = queue_of_a_stream(recovery)
    queue.force_put_nowait("a batch")
    app.flow_control.suspend()
    app.flow_control.clear()
    assert (queue.qsize(), app.flow_control.is_active()) == (0, False)


async def never() -> None:
    await asyncio.Event().wait()


async def test_an_end_that_was_told_before_anybody_waited_for_it_is_not_missed(
    recovery: Recovery,
) -> None:
    recovery._set_recovery_started()
    recovery._set_recovery_ended()
    recovery.signal_recovery_end.tell()
    await asyncio.wait_for(recovery._wait(recovery.signal_recovery_end.wait()), 1)


async def test_who_waits_for_the_end_waits_while_the_recovery_goes_on(recovery: Recovery) -> None:
    recovery._set_recovery_started()
    waiting = asyncio.create_task(recovery.signal_recovery_end.wait())
    await asyncio.sleep(0)
    recovery.signal_recovery_end.tell()
    for _turn in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    recovery._set_recovery_ended()
    recovery.signal_recovery_end.tell()
    await asyncio.wait_for(waiting, 1)


async def test_a_step_that_takes_too_long_begins_the_recovery_again(recovery: Recovery) -> None:
    with pytest.raises(RebalanceAgain):
        await recovery._wait(never(), timeout=0.01)
    assert recovery.signal_recovery_start.is_set()


async def test_a_rebalance_begins_the_recovery_again(recovery: Recovery) -> None:
    recovery.signal_recovery_start.set()
    with pytest.raises(RebalanceAgain):
        await recovery._wait(never(), timeout=10)


async def test_the_end_of_the_app_ends_the_recovery(recovery: Recovery) -> None:
    recovery._stopped.set()
    with pytest.raises(ServiceStopped):
        await recovery._wait(never(), timeout=10)
    assert not recovery.signal_recovery_start.is_set()


async def test_the_tables_are_there_as_soon_as_the_app_starts(
    worker: StreamWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = cast(TableManager, worker.app.tables)
    done: list[str] = []

    async def note(what: str) -> None:
        done.append(what)

    monkeypatch.setattr(tables, "sleep", lambda seconds: note(f"slept {seconds} s"))
    monkeypatch.setattr(tables, "_update_channels", lambda: note("registered"))
    monkeypatch.setattr(tables.recovery, "start", lambda: note("recovery started"))
    await tables.on_start()
    assert done == ["registered", "recovery started"]


async def test_a_step_that_a_further_assignment_makes_fail_is_begun_again(
    recovery: Recovery,
) -> None:
    async def seek_what_has_just_been_assigned() -> None:
        recovery.signal_recovery_start.set()
        raise ValueError("Offset must be a positive integer")

    with pytest.raises(RebalanceAgain):
        await recovery._wait(seek_what_has_just_been_assigned())
    recovery.signal_recovery_start.clear()

    async def fail() -> None:
        raise ValueError("for another reason")

    with pytest.raises(ValueError, match="another reason"):
        await recovery._wait(fail())
