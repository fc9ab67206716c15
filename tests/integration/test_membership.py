"""What the group's coordinator confirms, and what it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.engine.apps import consume, consumer_of, new_app
from streams.engine.batched_transport import RecordBatch
from tests.support.vm_events import create_topics
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.settings import KafkaSettings, Settings, WorkerSettings

SESSION = 6.0
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Member:
    """A member of a consumer group, which takes batches and works on them for ever, if told so."""

    def __init__(
        self, settings: Settings, source: str, folder: Path, *, works_for_ever: bool
    ) -> None:
        self.app = new_app(settings, "group", source, folder, web_enabled=False)
        self.taken: asyncio.Future[RecordBatch] = asyncio.get_running_loop().create_future()
        self._works_for_ever = works_for_ever
        consume(self.app, source, settings.kafka, self._new_handler)

    async def _new_handler(self, _producer: Any) -> Any:
        return self._handle

    async def _handle(self, batch: RecordBatch, _partition: int) -> None:
        if not self.taken.done():
            self.taken.set_result(batch)
        if self._works_for_ever:
            await asyncio.Event().wait()
        batch.done = True

    async def owns(self, batch: RecordBatch) -> bool:
        return await consumer_of(self.app).owns(batch)


@asynccontextmanager
async def started(member: Member) -> AsyncIterator[Member]:
    app = member.app
    app.finalize()
    await app.start()
    try:
        yield member
    finally:
        consumer_of(app)._in_flight.clear()
        consumer_of(app)._unacked_messages.clear()
        await app.stop()


async def test_who_is_left_out_because_it_did_not_join_again_in_time_owns_nothing(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    prefix = f"t{id(tmp_path)}"
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix, partitions=1),
        worker=WorkerSettings(session_timeout=SESSION),
    )
    await create_topics(kafka.bootstrap, prefix, partitions=1)
    source = TopicNames(prefix).events
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    producer.produce(source, b"value", b"key", 0)
    assert producer.flush(30) == 0
    async with AsyncExitStack() as stack:
        slow = Member(settings, source, tmp_path / "slow", works_for_ever=True)
        await stack.enter_async_context(started(slow))
        batch = await asyncio.wait_for(slow.taken, 30)
        assert await slow.owns(batch)
        # The coordinator waits for the slow one, who waits for its batch, and then goes on without.
        other = Member(settings, source, tmp_path / "other", works_for_ever=False)
        await stack.enter_async_context(started(other))
        await asyncio.wait_for(other.taken, 60)
        assert not await slow.owns(batch)
