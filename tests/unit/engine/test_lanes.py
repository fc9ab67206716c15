"""What happens to the batches of one partition that come one after the other."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from streams.engine.batched_transport import FetchedBatches, RecordBatch
from streams.engine.lanes import MAX_WAITING, MAX_WAITING_BYTES, Lanes

FULL = 10


class Handler:
    """Notes (partition, offsets) of what it is given, and lets the test decide the rest."""

    def __init__(self) -> None:
        self.handled: list[tuple[int, list[int]]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.abandons: set[int] = set()
        """Offsets: a batch that begins with one is not done."""
        self.crashed: list[BaseException] = []
        self.is_leaving = False

    async def handle(self, batch: RecordBatch, partition: int) -> None:
        offsets = [record.offset for record in batch.records]
        self.handled.append((partition, offsets))
        await self.go_on.wait()
        batch.done = offsets[0] not in self.abandons

    async def crash(self, error: BaseException) -> None:
        self.crashed.append(error)


@pytest.fixture
async def handler() -> Handler:
    return Handler()


@pytest.fixture
async def lanes(handler: Handler) -> AsyncIterator[Lanes]:
    made = Lanes(handler.handle, FULL, handler.crash, lambda: handler.is_leaving)
    yield made
    made.close()


def event(
    first: int, count: int = 1, *, partition: int = 0, generation: int = 1, value: bytes = b""
) -> Any:
    """Return an event of a batch, which counts how often it was let go."""
    records = [
        ConsumerRecord("source", partition, offset, 0, 1, b"", value, None, 0, 0, ())
        for offset in range(first, first + count)
    ]
    return event_of({partition: RecordBatch(records, generation)})


def event_of(batches: dict[int, RecordBatch]) -> Any:
    made = SimpleNamespace(acked=0)
    made.message = SimpleNamespace(value=FetchedBatches(batches))

    def ack() -> None:
        made.acked += 1

    made.ack = ack
    return made


def is_done(each: Any) -> bool:
    return all(batch.done for batch in each.message.value.batches.values())


async def settle() -> None:
    """Let every task run that can."""
    for _turn in range(20):
        await asyncio.sleep(0)


async def test_what_had_to_wait_is_handled_together(handler: Handler, lanes: Lanes) -> None:
    handler.go_on.clear()
    events = [event(offset) for offset in range(4)]
    for each in events:
        await lanes.put(each)
        await settle()
    handler.go_on.set()
    await settle()
    assert handler.handled == [(0, [0]), (0, [1, 2, 3])]
    assert [(is_done(each), each.acked) for each in events] == [(True, 1)] * 4


async def test_what_has_yet_to_begin_when_partitions_are_taken_away_is_left_to_the_next_owner(
    handler: Handler, lanes: Lanes
) -> None:
    handler.go_on.clear()
    events = [event(0), event(1), event(2, FULL)]
    for each in events:
        await lanes.put(each)
        await settle()
    handler.is_leaving = True
    handler.go_on.set()
    await settle()
    handler.is_leaving = False
    await lanes.put(event(12))  # of the same generation: behind what was left out
    await lanes.put(event(1, generation=2))
    await settle()
    assert handler.handled == [(0, [0]), (0, [1])]
    assert [(is_done(each), each.acked) for each in events] == [
        (True, 1),
        (False, 1),
        (False, 1),
    ]


async def test_a_partition_that_waits_does_not_hold_another_back(
    handler: Handler, lanes: Lanes
) -> None:
    handler.go_on.clear()
    await lanes.put(event(0, partition=1))
    await lanes.put(event(0, partition=2))
    await settle()
    assert handler.handled == [(1, [0]), (2, [0])]


async def test_the_batches_of_a_fetch_begin_together_and_its_event_goes_with_the_last(
    handler: Handler, lanes: Lanes
) -> None:
    handler.go_on.clear()
    batches = {
        at: RecordBatch(event(7, partition=at).message.value.batches[at].records, 1)
        for at in (0, 1)
    }
    several = event_of(dict(batches))
    await lanes.put(event(6, partition=1))
    await settle()
    await lanes.put(several)
    await settle()
    assert handler.handled == [(1, [6]), (0, [7])]
    handler.abandons = {6}
    handler.go_on.set()
    await settle()
    assert several.acked == 1
    assert {at: each.done for at, each in batches.items()} == {0: True, 1: False}


async def test_a_partition_that_waits_keeps_no_records_of_another_in_memory(
    handler: Handler, lanes: Lanes
) -> None:
    blocked, done = event(0, partition=0), event(0, partition=1)
    several = event_of({**blocked.message.value.batches, **done.message.value.batches})

    async def handle(batch: RecordBatch, partition: int) -> None:
        if partition == 0:
            await handler.go_on.wait()
        batch.done = True

    lanes._handle = handle
    handler.go_on.clear()
    await lanes.put(several)
    await settle()
    assert (several.acked, list(several.message.value.batches)) == (0, [0])
    handler.go_on.set()
    await settle()
    assert (several.acked, several.message.value.batches) == (1, {})
    assert several.message.value.count == 2


async def test_nothing_behind_an_abandoned_batch_of_its_generation_is_handled(
    handler: Handler, lanes: Lanes
) -> None:
    handler.abandons = {0}
    handler.go_on.clear()
    behind = [event(1), event(2, FULL)]
    await lanes.put(event(0))
    await settle()
    for each in behind:
        await lanes.put(each)
    handler.go_on.set()
    await settle()
    last = event(12)
    await lanes.put(last)
    await lanes.put(event(1, partition=5))
    await settle()
    assert handler.handled == [(0, [0]), (5, [1])]
    assert not any(is_done(each) for each in [*behind, last])
    assert [each.acked for each in [*behind, last]] == [1, 1, 1]


async def test_what_is_read_again_in_the_next_generation_is_handled(
    handler: Handler, lanes: Lanes
) -> None:
    handler.abandons = {0}
    await lanes.put(event(0))
    await lanes.put(event(1))
    await settle()
    handler.abandons.clear()
    await lanes.put(event(2))
    await lanes.put(event(0, 3, generation=2))
    await settle()
    assert handler.handled == [(0, [0, 1]), (0, [0, 1, 2])]


async def test_many_small_batches_have_room_where_a_few_full_ones_have(
    handler: Handler, lanes: Lanes
) -> None:
    handler.go_on.clear()
    for offset in range(MAX_WAITING * FULL):
        await asyncio.wait_for(lanes.put(event(offset)), 1)
    one_more = asyncio.create_task(lanes.put(event(MAX_WAITING * FULL)))
    await settle()
    assert not one_more.done()
    handler.go_on.set()
    await asyncio.wait_for(one_more, 1)


async def test_what_waits_is_bounded_by_its_bytes_too(handler: Handler, lanes: Lanes) -> None:
    handler.go_on.clear()
    large = b"x" * 1_000_000
    fitting = MAX_WAITING_BYTES // len(large)
    assert fitting < MAX_WAITING * FULL
    for offset in range(fitting):
        await asyncio.wait_for(lanes.put(event(offset, value=large)), 1)
    one_more = asyncio.create_task(lanes.put(event(fitting, value=large)))
    await settle()
    assert not one_more.done()
    handler.go_on.set()
    await asyncio.wait_for(one_more, 1)


async def test_an_error_of_the_handler_ends_the_process(handler: Handler) -> None:
    async def fail(_batch: RecordBatch, _partition: int) -> None:
        raise OSError("no Kafka")

    lanes = Lanes(fail, FULL, handler.crash, lambda: False)
    events = [event(0), event(1), event(2, partition=7)]
    for each in events:
        await lanes.put(each)
    await settle()
    assert [str(error) for error in handler.crashed] == ["no Kafka", "no Kafka"]
    # Let go, or the process would wait for them; but not done, so that they are read again.
    events.append(event(3))
    await lanes.put(events[-1])
    assert [(is_done(each), each.acked) for each in events] == [(False, 1)] * 4
    for task in lanes._tasks:
        with pytest.raises(OSError, match="no Kafka"):
            await task


async def test_what_was_not_handled_before_the_end_is_let_go_and_not_done(
    handler: Handler, lanes: Lanes
) -> None:
    handler.go_on.clear()
    events = [event(offset) for offset in range(3)]
    for each in events:
        await lanes.put(each)
        await settle()
    lanes.close()
    await settle()
    assert handler.handled == [(0, [0])]
    assert [(is_done(each), each.acked) for each in events] == [(False, 1)] * 3
