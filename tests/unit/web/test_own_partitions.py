"""When a worker answers for its partitions while they are being assigned anew."""

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest

from streams.engine.batched_transport import TP, BatchedConsumer, Confirmation
from streams.worker.worker import StreamWorker
from vimfed.settings import Settings
from web.http.errors import UnavailableError
from web.queries import own_partitions
from web.queries.own_partitions import OwnPartitions

SOURCE = {TP("source", 0)}


@pytest.fixture
async def worker(tmp_path: Path) -> StreamWorker:
    """A worker that owns all partitions since generation 7, of an app that was never started."""
    worker = StreamWorker(Settings(state_dir=tmp_path))
    app = worker.app
    app._started.set()
    await member_of(worker, 7)
    return worker


async def member_of(worker: StreamWorker, generation: int) -> None:
    """Let the worker be assigned all partitions, which it has recovered."""
    app = worker.app
    app.consumer_generation_id = generation
    app.rebalancing = False
    partitions = range(worker.settings.kafka.partitions)
    topic = worker.table.changelog_topic_name
    owners = {OwnPartitions(worker).url: {topic: list(partitions)}}
    cast(Any, app.assignor).changelog_distribution = owners
    confirm(worker, generation)
    await worker.table.activate(dict.fromkeys(partitions, 0), generation)


def confirm(worker: StreamWorker, generation: int, age: float = 0.0) -> None:
    asked = Confirmation(time.monotonic() - age, time.time() - age, generation)
    worker.consumer.membership.confirm(asked)


@pytest.fixture
def revocation(worker: StreamWorker, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """What was in flight when partitions are taken away is done once this is set."""
    done = asyncio.Event()

    async def wait_empty(_consumer: BatchedConsumer) -> None:
        await done.wait()

    async def revoked(_self: object, _revoked: set[TP]) -> None:
        worker.app.rebalancing = True
        await wait_empty(worker.consumer)

    monkeypatch.setattr("faust.transport.consumer.Consumer.on_partitions_revoked", revoked)
    return done


async def test_it_answers_until_it_asks_for_a_place_in_the_next_generation(
    worker: StreamWorker, revocation: asyncio.Event
) -> None:
    own = OwnPartitions(worker)
    task = asyncio.create_task(worker.consumer.on_partitions_revoked(SOURCE))
    await asyncio.sleep(0)
    assert worker.app.rebalancing
    own.check_ready()
    revocation.set()
    await task
    with pytest.raises(UnavailableError, match="being assigned"):
        own.check_ready()


async def test_it_answers_once_it_has_recovered_and_before_the_stream_goes_on(
    worker: StreamWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def assigned(_self: object, _assigned: set[TP], _generation: int = 0) -> None:
        return

    monkeypatch.setattr("faust.transport.consumer.Consumer.on_partitions_assigned", assigned)
    own, app = OwnPartitions(worker), worker.app
    app.rebalancing = True
    app.consumer_generation_id = 8
    await worker.consumer.on_partitions_assigned(SOURCE, 8)
    with pytest.raises(UnavailableError, match="being recovered"):
        own.check_ready()
    confirm(worker, 8)
    await worker.table.activate(dict.fromkeys(range(8), 0), 8)
    assert app.rebalancing
    own.check_ready()


async def test_it_is_ready_while_a_query_is_answered_after_a_moment(
    worker: StreamWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OwnPartitions(worker)
    assert own.not_ready() == {}
    worker.consumer.is_joining = True
    assert own.not_ready() == {}
    assert own.what_is_wrong().keys() == {"partitions"}
    monkeypatch.setattr(own_partitions, "PATIENCE", 0)
    assert own.not_ready().keys() == {"partitions"}


async def test_it_is_not_ready_before_it_was_and_when_it_is_being_stopped(
    worker: StreamWorker,
) -> None:
    own = OwnPartitions(worker)
    worker.consumer.is_joining = True
    assert own.not_ready().keys() == {"partitions"}
    worker.consumer.is_joining = False
    assert own.not_ready() == {}
    worker.app._stopped.set()
    assert own.not_ready().keys() == {"worker"}
