"""What an offset and an acknowledgement mean where one message is a batch of records."""

import asyncio
import gc
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from aiokafka.errors import IllegalStateError
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4
from aiokafka.structs import ConsumerRecord
from faust.types import TP, Message

from streams.engine import batched_transport
from streams.engine.apps import consumer_of, new_app
from streams.engine.batched_transport import (
    FETCH_MAX_WAIT_MS,
    IDLE_FETCH_MAX_WAIT_MS,
    BatchedConsumer,
    Confirmation,
    IdleFetches,
    RecordBatch,
    join,
)
from vimfed.settings import Settings

SOURCE = "source"
PARTITION = TP(SOURCE, 3)


@pytest.fixture
async def consumer(tmp_path: Path) -> BatchedConsumer:
    """The worker's consumer, of an app that was never started."""
    app = new_app(Settings(), "group", SOURCE, tmp_path, web_enabled=False)
    app.topic(SOURCE)
    return consumer_of(app)


def records(first: int, last: int) -> list[ConsumerRecord]:
    return [
        ConsumerRecord(SOURCE, 3, offset, 0, 1, b"key", b"value", None, 3, 5, ())
        for offset in range(first, last + 1)
    ]


def deliver(consumer: BatchedConsumer, first: int, last: int) -> tuple[Message, RecordBatch]:
    consumer._expected.setdefault(PARTITION, first)
    message = message_of(consumer, PARTITION, first, last)
    consumer.track_message(message)
    fetched: Any = message.value
    (batch,) = fetched.batches.values()
    return message, batch


def message_of(consumer: BatchedConsumer, tp: TP, first: int, last: int) -> Message:
    fresh = batched_transport._Fresh(tp, consumer._expected[tp], records(first, last))
    return consumer._message_of([fresh], 1)


def committable(consumer: BatchedConsumer) -> dict[TP, int]:
    return consumer._filter_committable_offsets(consumer._filter_tps_with_pending_acks())


def finish(consumer: BatchedConsumer, message: Message, batch: RecordBatch) -> None:
    batch.done = True
    consumer.ack(message)


@pytest.fixture
def sought(consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The seeks that the consumer asks of its thread."""
    seeks: list[Any] = []

    async def seek_wait(partitions: Any) -> None:
        seeks.append(dict(partitions))

    monkeypatch.setattr(consumer._thread, "seek_wait", seek_wait)
    return seeks


async def test_the_end_of_a_batch_is_committed_and_not_its_beginning(
    consumer: BatchedConsumer,
) -> None:
    finish(consumer, *deliver(consumer, 10, 19))
    assert committable(consumer) == {PARTITION: 20}
    assert committable(consumer) == {}


async def test_nothing_behind_a_batch_that_is_not_done_is_committed(
    consumer: BatchedConsumer,
) -> None:
    first = deliver(consumer, 10, 19)
    finish(consumer, *deliver(consumer, 20, 29))
    assert committable(consumer) == {}
    finish(consumer, *first)
    assert committable(consumer) == {PARTITION: 30}


async def test_a_batch_that_the_stream_lets_go_undone_is_not_committed(
    consumer: BatchedConsumer,
) -> None:
    message, _batch = deliver(consumer, 10, 19)
    assert not consumer.ack(message)
    assert message not in consumer.unacked
    finish(consumer, *deliver(consumer, 20, 29))
    assert committable(consumer) == {}


async def test_lag_and_progress_count_from_the_first_record_that_is_not_done(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "highwater", lambda _tp: 50)
    monkeypatch.setattr(consumer, "is_assigned", {PARTITION}.__contains__)
    assert consumer.undone(PARTITION) is None
    assert consumer.lag(PARTITION) == 0
    first = deliver(consumer, 10, 19)
    deliver(consumer, 20, 29)
    assert (consumer.undone(PARTITION), consumer.lag(PARTITION)) == (10, 40)
    finish(consumer, *first)
    committable(consumer)
    assert (consumer.undone(PARTITION), consumer.lag(PARTITION)) == (20, 30)
    # aiokafka tells the end of no partition that is not assigned.
    monkeypatch.setattr(consumer, "is_assigned", set().__contains__)
    assert consumer.lag(PARTITION) == 0


async def test_the_lag_of_a_partition_does_not_cost_more_the_more_partitions_there_are(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = 0

    def copied() -> set[TP]:
        nonlocal copies
        copies += 1
        return partitions

    partitions = {TP(SOURCE, number) for number in range(256)}
    monkeypatch.setattr(consumer, "assignment", copied)
    for each in partitions:
        consumer.lag(each)
    assert copies == 0


async def test_what_is_passed_over_without_a_record_is_no_lag_but_what_was_fetched_is(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "highwater", lambda _tp: 50)
    monkeypatch.setattr(consumer, "is_assigned", {PARTITION}.__contains__)
    monkeypatch.setattr(consumer._thread, "position_now", lambda _tp: 50)
    consumer._expected[PARTITION] = 20
    assert (consumer.undone(PARTITION), consumer.lag(PARTITION)) == (50, 0)
    consumer.handed_out[PARTITION] = 50  # fetched, and not delivered yet, or never
    assert (consumer.undone(PARTITION), consumer.lag(PARTITION)) == (20, 30)


async def test_what_a_fetch_brings_of_a_partition_that_was_not_active_is_read_again(
    consumer: BatchedConsumer, sought: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch_of_before(_timeout: float) -> tuple[dict[TP, list[ConsumerRecord]], set[TP]]:
        consumer.handed_out[PARTITION] = 20
        return {PARTITION: records(10, 19)}, set()

    monkeypatch.setattr(consumer, "flow_active", True)
    monkeypatch.setattr(consumer, "_wait_next_records", fetch_of_before)
    consumer._expected[PARTITION] = 10
    assert [tp async for tp, _message in consumer.getmany(1.0)] == []
    assert sought == [{PARTITION: 10}]


async def test_what_one_fetch_brings_of_the_source_is_one_message(
    consumer: BatchedConsumer, sought: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, moved, changelog = TP(SOURCE, 4), TP(SOURCE, 5), TP("some-changelog", 3)
    brought = {
        PARTITION: records(10, 19),
        moved: records(10, 19),
        changelog: records(7, 8),
        other: records(30, 31),
    }

    async def fetch(_timeout: float) -> tuple[dict[TP, list[ConsumerRecord]], set[TP]]:
        return brought, set(brought)

    monkeypatch.setattr(consumer, "flow_active", True)
    monkeypatch.setattr(consumer, "_wait_next_records", fetch)
    monkeypatch.setattr(consumer, "highwater", lambda _tp: 50)
    consumer._expected.update({PARTITION: 10, moved: 12, changelog: 7, other: 30})
    (tp, message), (of_changelog, change) = [each async for each in consumer.getmany(1.0)]
    fetched: Any = message.value
    assert (tp, message.tp) == (PARTITION, PARTITION)
    assert {at: batch.next_offset for at, batch in fetched.batches.items()} == {3: 20, 4: 32}
    assert (of_changelog, change.value.next_offset) == (changelog, 9)  # type: ignore[union-attr]
    assert sought == [{moved: 12}]
    for each in fetched.batches.values():
        each.done = each.next_offset == 32
    assert not consumer.ack(message)
    assert committable(consumer) == {other: 32}


async def test_what_is_sought_while_a_fetch_is_looked_at_is_not_delivered(
    consumer: BatchedConsumer, sought: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TP(SOURCE, 4)

    async def fetch(_timeout: float) -> tuple[dict[TP, list[ConsumerRecord]], set[TP]]:
        return {PARTITION: records(10, 19), other: records(40, 49)}, {PARTITION, other}

    async def is_next(tp: TP, _offset: int, _begun_at: int | None) -> bool:
        if tp == other:  # a recovery seeks the first meanwhile
            await consumer.seek_wait({PARTITION: 5})
        return True

    monkeypatch.setattr(consumer, "flow_active", True)
    monkeypatch.setattr(consumer, "_wait_next_records", fetch)
    monkeypatch.setattr(consumer, "highwater", lambda _tp: 50)
    monkeypatch.setattr(consumer, "_is_next", is_next)
    consumer._expected.update({PARTITION: 10, other: 40})
    ((tp, message),) = [each async for each in consumer.getmany(1.0)]
    fetched: Any = message.value
    assert (tp, list(fetched.batches)) == (other, [4])
    assert consumer._expected == {PARTITION: 5, other: 50}


async def test_no_partition_waits_a_second_because_the_stream_has_much_to_do(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(consumer.app), "in_recovery", False)
    consumer._active_partitions = {PARTITION}
    consumer.on_buffer_full(PARTITION)
    assert consumer._active_partitions == {PARTITION}


async def test_a_seek_in_a_partition_that_was_just_taken_away_ends_nothing(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seek_wait(_partitions: Any) -> None:
        raise IllegalStateError("not assigned")

    monkeypatch.setattr(consumer._thread, "seek_wait", seek_wait)
    consumer._expected[PARTITION] = 10
    assert not await consumer._is_next(PARTITION, 20, begun_at=20)


async def test_what_was_passed_over_is_read_again_before_it_is_committed(
    consumer: BatchedConsumer, sought: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begins(*partitions: TP) -> dict[TP, int]:
        return dict.fromkeys(partitions, 0)

    monkeypatch.setattr(consumer, "flow_active", True)
    monkeypatch.setattr(consumer, "assignment", lambda: {PARTITION})
    monkeypatch.setattr(consumer, "highwater", lambda _tp: 30)
    monkeypatch.setattr(consumer._thread, "position_now", lambda _tp: 30)
    monkeypatch.setattr(consumer, "earliest_offsets", begins)
    consumer._expected[PARTITION] = 20  # the position is behind it, and nothing was delivered
    await consumer.look_for_ranges_without_records()
    assert (sought, committable(consumer)) == ([{PARTITION: 20}], {})
    await consumer.look_for_ranges_without_records()
    assert committable(consumer) == {PARTITION: 30}, "it was passed over again: nothing is there"
    assert len(sought) == 1


@pytest.mark.parametrize("tp", [PARTITION, TP("some-changelog", 3)])
async def test_before_a_seek_nothing_is_delivered(consumer: BatchedConsumer, tp: TP) -> None:
    assert not await consumer._is_next(tp, 0)


async def test_a_batch_knows_from_where_on_it_was_read(
    consumer: BatchedConsumer, sought: list[Any]
) -> None:
    await consumer.seek_wait({PARTITION: 100})
    for _again in range(2):
        await consumer._is_next(PARTITION, 120)  # a hole that is real
    _message, batch = deliver(consumer, 120, 129)
    assert (batch.start, batch.next_offset) == (100, 130)


async def test_of_a_changelog_nothing_is_kept_and_committed(consumer: BatchedConsumer) -> None:
    changelog = TP("some-changelog", 3)
    consumer._expected[changelog] = 10
    message = message_of(consumer, changelog, 10, 19)
    batch: Any = message.value
    batch.done = True
    assert committable(consumer) == {}
    assert consumer._expected[changelog] == 20


async def test_a_changelog_that_is_only_written_is_no_stream_that_hangs(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_after: list[TP] = []
    monkeypatch.setattr(
        consumer._thread, "verify_event_path", lambda _now, tp: looked_after.append(tp)
    )
    monkeypatch.setattr(consumer, "assignment", lambda: [TP("some-changelog", 3), PARTITION])
    await consumer.verify_all_partitions_active()
    assert looked_after == [PARTITION]


async def test_what_was_fetched_before_a_seek_is_read_again_from_where_it_should_be(
    consumer: BatchedConsumer, sought: list[Any]
) -> None:
    await consumer.seek_wait({PARTITION: 100})
    assert not await consumer._is_next(PARTITION, 400)
    assert sought == [{PARTITION: 100}, {PARTITION: 100}]
    assert await consumer._is_next(PARTITION, 100)


async def test_what_was_fetched_while_committed_offsets_were_sought_is_read_again(
    consumer: BatchedConsumer, sought: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TP(SOURCE, 4)
    monkeypatch.setattr(consumer, "assignment", lambda: {PARTITION, other})
    message, batch = deliver(consumer, 20, 29)

    async def seek_to_committed() -> dict[TP, int]:
        # The first partition has been sought, and the second one's offset is not there yet.
        consumer.handed_out[PARTITION] = 30
        await consumer._is_next(PARTITION, 10, begun_at=10)
        finish(consumer, message, batch)
        return {PARTITION: 10, other: 5}

    monkeypatch.setattr(consumer._thread, "seek_to_committed", seek_to_committed)
    await consumer.perform_seek()
    assert sought[-1] == {PARTITION: 10, other: 5}
    assert consumer.undone(PARTITION) == 10
    assert committable(consumer) == {}, "what is read again is committed when it is done again"


async def test_a_partition_assigned_while_committed_offsets_were_asked_for_is_not_read_from_0(
    consumer: BatchedConsumer, sought: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "assignment", lambda: {PARTITION, TP(SOURCE, 4)})
    monkeypatch.setattr(consumer, "earliest_offsets", None)

    async def seek_to_committed() -> dict[TP, int]:
        return {PARTITION: 10}

    monkeypatch.setattr(consumer._thread, "seek_to_committed", seek_to_committed)
    await consumer.perform_seek()
    assert sought == [{PARTITION: 10}]


async def test_no_hole_is_real_before_where_the_fetch_was_begun(
    consumer: BatchedConsumer, sought: list[Any]
) -> None:
    await consumer.seek_wait({PARTITION: 100})
    for _again in range(2):
        assert not await consumer._is_next(PARTITION, 120, begun_at=120)
    assert await consumer._is_next(PARTITION, 120, begun_at=100)


async def test_a_hole_that_is_there_again_is_real(
    consumer: BatchedConsumer, sought: list[Any]
) -> None:
    await consumer.seek_wait({PARTITION: 100})
    assert not await consumer._is_next(PARTITION, 120)
    assert await consumer._is_next(PARTITION, 120)


async def test_what_a_compacted_log_has_left_is_not_read_twice(
    consumer: BatchedConsumer, sought: list[Any]
) -> None:
    changelog = TP("some-changelog", 3)
    await consumer.seek_wait({changelog: 100})
    sought.clear()
    for start, first, last in ((100, 150, 199), (200, 320, 399), (400, 400, 450)):
        assert await consumer._is_next(changelog, first, begun_at=start)
        message_of(consumer, changelog, first, last)
    assert sought == []


async def test_a_stale_generation_owns_nothing(consumer: BatchedConsumer) -> None:
    consumer.membership.confirm(Confirmation(float("inf"), 0.0, 0))
    consumer.app.consumer_generation_id = 7
    assert await consumer.owns(RecordBatch(records(0, 1), generation=7))
    assert not await consumer.owns(RecordBatch(records(0, 1), generation=6))


async def waiting_for_membership(consumer: BatchedConsumer) -> asyncio.Task[bool]:
    """Return a task that asks whether a batch is ours, while the coordinator does not answer."""
    asked = asyncio.create_task(consumer.owns(RecordBatch(records(0, 1), generation=0)))
    await asyncio.sleep(0)
    assert not asked.done()
    return asked


async def test_without_a_confirmed_membership_a_revocation_ends_the_waiting(
    consumer: BatchedConsumer,
) -> None:
    asked = await waiting_for_membership(consumer)

    async def wait_for_batches(_revoked: set[TP]) -> None:
        await consumer.wait_empty()  # as the app does, which has no assignment here

    consumer._on_partitions_revoked = wait_for_batches
    consumer.app.rebalancing = False  # the end of the rebalance before may come after the beginning
    await consumer.on_partitions_revoked({PARTITION})
    assert not await asyncio.wait_for(asked, 1)


async def test_without_a_confirmed_membership_the_end_of_the_app_ends_the_waiting(
    consumer: BatchedConsumer,
) -> None:
    asked = await waiting_for_membership(consumer)
    cast(faust.App, consumer.app)._stopped.set()
    await consumer.wait_empty()
    assert not await asyncio.wait_for(asked, 1)


async def test_after_a_crash_nothing_is_waited_for(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def commit_that_never_ends(**_options: Any) -> None:
        await asyncio.Event().wait()

    deliver(consumer, 10, 19)
    monkeypatch.setattr(consumer, "commit", commit_that_never_ends)
    cast(faust.App, consumer.app)._crashed.set()
    await asyncio.wait_for(consumer.wait_empty(), 1)


async def test_no_garbage_is_collected_while_what_is_in_flight_is_acknowledged(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[None] = []
    committed: list[dict[TP, int]] = []

    async def commit(**_options: Any) -> bool:
        committed.append(committable(consumer))
        return True

    monkeypatch.setattr(gc, "collect", lambda: collected.append(None))
    monkeypatch.setattr(consumer, "commit", commit)
    in_flight = [deliver(consumer, 10, 19), deliver(consumer, 20, 29)]
    waiting = asyncio.create_task(consumer.wait_empty())
    for message, batch in in_flight:
        await asyncio.sleep(0)
        assert not waiting.done()
        finish(consumer, message, batch)
    await asyncio.wait_for(waiting, 10)
    assert (collected, committed) == ([], [{PARTITION: 30}])


async def test_what_nobody_refers_to_any_more_is_not_waited_for(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def commit(**_options: Any) -> bool:
        return True

    monkeypatch.setattr(consumer, "commit", commit)
    monkeypatch.setattr(batched_transport, "ACK_TIMEOUT", 0.01)
    message, _batch = deliver(consumer, 10, 19)
    message.value = message  # type: ignore[assignment]  # a cycle: only a collection finds it
    del message
    await asyncio.wait_for(consumer.wait_empty(), 10)


async def membership_of(consumer: BatchedConsumer, generation: int) -> asyncio.Task[bool]:
    """Return a task that asks whether we are a member, from now on."""
    asked = asyncio.create_task(consumer.is_member_since(time.monotonic(), generation))
    await asyncio.sleep(0)
    return asked


async def test_only_an_answer_to_a_later_question_confirms_a_member_since(
    consumer: BatchedConsumer,
) -> None:
    consumer.app.consumer_generation_id = 7
    before = time.monotonic()
    asked = await membership_of(consumer, 7)
    consumer.membership.confirm(Confirmation(before, 0.0, 7))
    await asyncio.sleep(0.01)
    assert not asked.done()
    consumer.membership.confirm(Confirmation(time.monotonic(), 0.0, 7))
    assert await asyncio.wait_for(asked, 1)
    asked = await membership_of(consumer, 7)
    consumer.membership.confirm(Confirmation(time.monotonic(), 0.0, 6))
    assert not await asyncio.wait_for(asked, 1)


class _Closing:
    """aiokafka's consumer, of which only the end is seen."""

    def __init__(self) -> None:
        self.stopped_in: list[asyncio.AbstractEventLoop] = []
        self.closed: list[str] = []
        self._closed = False
        self._client = SimpleNamespace(close=partial(self._close, "client"))
        self._coordinator = SimpleNamespace(close=partial(self._close, "coordinator"))

    async def _close(self, what: str) -> None:
        self.closed.append(what)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped_in.append(asyncio.get_running_loop())


async def test_the_consumer_lives_in_the_loop_of_the_app_and_is_closed_once(
    consumer: BatchedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, closing, threads = consumer._thread, _Closing(), threading.active_count()

    async def begin() -> None:
        service._consumer = cast(Any, closing)

    monkeypatch.setattr(service, "on_start", begin)
    await service.start()
    assert threading.active_count() == threads
    here = asyncio.get_running_loop()

    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert await service.call_thread(where) is here
    assert await service.call_thread(cast(Any, lambda: 5)) == 5
    await asyncio.wait_for(service.stop(), 5)
    await asyncio.wait_for(service.stop(), 5)
    assert closing.stopped_in == [here]


async def test_a_rebalance_of_an_app_that_ends_leaves_the_closing_to_its_stop(
    consumer: BatchedConsumer,
) -> None:
    closing = _Closing()
    consumer._thread._consumer = cast(Any, closing)
    cast(faust.App, consumer.app)._stopped.set()
    await consumer.on_partitions_revoked({PARTITION})
    await asyncio.sleep(0)
    assert (closing._closed, closing.closed) == (False, [])


async def test_a_rebalance_goes_on_after_a_crash(consumer: BatchedConsumer) -> None:
    await consumer._method_queue.start()
    await consumer.crash(RuntimeError("as a handler's"))
    listener = consumer._thread._rebalance_listener
    await asyncio.wait_for(listener.on_partitions_revoked([PARTITION]), 5)


def test_batches_that_waited_are_joined_and_done_together() -> None:
    first, second, third = (RecordBatch(records(n, n + 3), generation=1) for n in (0, 4, 8))
    one, two = join([first, second, third], most=8)
    assert [record.offset for record in one.records] == list(range(8))
    assert (one.next_offset, two) == (8, third)
    one.done = True
    assert (first.done, second.done, third.done) == (True, True, False)


def test_batches_of_two_generations_are_not_joined() -> None:
    old, new = RecordBatch(records(0, 3), generation=1), RecordBatch(records(4, 7), generation=2)
    assert list(join([old, new], most=100)) == [old, new]


def test_a_batch_larger_than_the_bound_stays_whole() -> None:
    small, large = RecordBatch(records(0, 1), generation=1), RecordBatch(records(2, 99), 1)
    assert list(join([small, large], most=10)) == [small, large]


async def test_commits_are_paced_by_records_and_not_by_batches(consumer: BatchedConsumer) -> None:
    finish(consumer, *deliver(consumer, 10, 19))
    finish(consumer, *deliver(consumer, 20, 20))
    assert consumer._n_acked == 11


@pytest.mark.parametrize(
    ("records", "resets", "is_leaderless", "after", "wait"),
    [
        ({}, {}, False, 0.0, IDLE_FETCH_MAX_WAIT_MS),
        ({PARTITION: "not taken"}, {}, False, 0.0, FETCH_MAX_WAIT_MS),
        ({}, {2: [PARTITION]}, False, 0.0, FETCH_MAX_WAIT_MS),
        ({}, {}, True, 0.0, FETCH_MAX_WAIT_MS),
        ({}, {}, False, 60.0, FETCH_MAX_WAIT_MS),
    ],
)
def test_the_broker_holds_for_longer_what_asks_for_every_partition(
    records: Any, resets: Any, is_leaderless: bool, after: float, wait: int
) -> None:
    request = FetchRequest(FETCH_MAX_WAIT_MS, 1, 1, 0, [(SOURCE, [(3, 0, 1)])])
    actions: Any = [(1, request)], resets, 1.0, is_leaderless, []
    fetcher = SimpleNamespace(_records=records, _get_actions_per_node=lambda _assignment: actions)
    IdleFetches(fetcher, after)
    assert fetcher._get_actions_per_node(object()) is actions
    built: Any = request.build(FetchRequest_v4)
    assert built.max_wait_time == wait
