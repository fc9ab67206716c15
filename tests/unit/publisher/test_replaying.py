"""What a replay mark makes a publisher send again, and in which order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from streams.engine.batched_transport import RecordBatch
from streams.publisher.health import PublisherCounters
from streams.publisher.publisher import Publisher
from streams.publisher.replaying import Replay, parts_of
from streams.subscriptions.filters import Subscription, SubscriptionHistory
from tests.support.vm_events import vm_event
from vimfed.kafka.replay_mark import replay_mark
from vimfed.model.keys import instance_key
from vimfed.process.metrics import new_registry
from vimfed.settings import DmaapOutput

CALLER = ("caller", b"ada/operator@here")
TAKEN = 60_000


def event(offset: int) -> ConsumerRecord[bytes, bytes]:
    told = vm_event(id=str(offset))
    key = instance_key(told.vim_id, told.instance_id)
    value = msgspec.json.encode(told)
    return ConsumerRecord("events", 0, offset, TAKEN, 1, key, value, None, 0, 0, ())


def mark(offset: int, begin: int, output: str = "mr") -> ConsumerRecord[bytes, bytes]:
    made = replay_mark("events", 0, output, begin, CALLER)
    value, headers = made.value, made.headers
    return ConsumerRecord("events", 0, offset, TAKEN + 1, 1, None, value, None, 0, 0, headers)


def told(records: Sequence[ConsumerRecord[bytes, bytes]]) -> list[tuple[int | None, list[int]]]:
    return [
        (part.replay and part.replay.begin, [record.offset for record in part.records])
        for part in parts_of(records, "mr")
    ]


def test_a_replay_goes_before_what_follows_its_mark() -> None:
    records = [event(5), mark(6, 2), event(7), mark(8, 0), event(9)]
    assert told(records) == [(None, [5]), (2, [7]), (0, [9])]
    assert told([mark(6, 2)]) == [(None, []), (2, [])]


def test_a_mark_for_another_output_or_of_somebody_else_is_passed_over() -> None:
    foreign = [
        ConsumerRecord("events", 0, offset, TAKEN, 1, None, b"", None, 0, 0, headers)
        for offset, headers in (
            (8, (("replay-from", b"soon"), ("output", b"mr"))),
            (9, (("replay-from", b"-3"), ("output", b"mr"))),
            (10, (("replay-from", b"3"), ("output", b"\xff"))),
        )
    ]
    assert told([event(5), mark(6, 2, "another"), *foreign, event(11)]) == [(None, [5, 11])]


@pytest.mark.parametrize("leaves", [False, True])
def test_a_publisher_sends_the_range_again_where_the_mark_lies_or_leaves_the_batch_undone(
    leaves: bool,
) -> None:
    history = SubscriptionHistory(None)
    history.add("all", Subscription(), 0)
    sent: list[tuple[int, int]] = []

    async def deliver(messages: Any, _may_go_on: Any) -> None:
        sent.extend((each.source.offset, each.replayed_at) for each in messages)

    async def known(_since: float) -> None:
        pass

    async def reread(replay: Replay) -> AsyncIterator[list[ConsumerRecord[bytes, bytes]]]:
        for offset in range(replay.begin, replay.mark.offset):
            yield [event(offset)]

    async def owns(_batch: RecordBatch) -> bool:
        return not leaves

    publisher = Publisher(
        output=DmaapOutput(name="mr", url="kafka://a:1/t"),
        counters=PublisherCounters(new_registry(), "mr"),
        app=SimpleNamespace(should_stop=False, rebalancing=False),  # type: ignore[arg-type]
        consumer=SimpleNamespace(owns=owns),  # type: ignore[arg-type]
        subscriptions=SimpleNamespace(known=known, history=history),  # type: ignore[arg-type]
        delivery=SimpleNamespace(deliver=deliver),
        reject=None,  # type: ignore[arg-type]
        reread=reread,
    )
    batch = RecordBatch([event(5), mark(6, 3), event(7)], 1)
    asyncio.run(publisher.publish(batch, 0))
    assert batch.done is not leaves
    again = [] if leaves else [(3, TAKEN + 1), (4, TAKEN + 1), (5, TAKEN + 1), (7, 0)]
    assert sent == [(5, 0), *again]
