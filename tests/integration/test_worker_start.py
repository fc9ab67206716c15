"""A worker that takes partitions over while the coordinator answers slowly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer

from streams.worker.worker import StreamWorker
from tests.e2e.notifications_topic import PARTITIONS, NotificationsTopic
from tests.e2e.stack import Stack, eventually
from tests.support.vm_events import create_topics
from vimfed.kafka.topics import TopicNames
from vimfed.local.kafka import LocalKafka
from vimfed.process.ports import free_ports
from vimfed.settings import KafkaSettings, Settings, WebSettings, WorkerSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[StreamWorker]:
    worker = StreamWorker(settings)
    worker.app.finalize()
    await worker.app.start()
    try:
        yield worker
    finally:
        await worker.app.stop()


async def has_processed(worker: StreamWorker, records: int) -> bool:
    return worker.registry.get_sample_value("vimfed_worker_records_total") == records


async def test_what_is_fetched_while_the_committed_offsets_are_sought_is_not_lost(
    tmp_path: Path, kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka asks for one partition's offset after the other, and Faust fetches meanwhile."""
    prefix, (port,) = f"t{id(tmp_path)}", free_ports(1)
    await create_topics(kafka.bootstrap, prefix, partitions=PARTITIONS)
    place = SimpleNamespace(names=TopicNames(prefix), bootstrap=kafka.bootstrap)
    topic = NotificationsTopic(cast(Stack, place), "Owner_Region")
    committed = AIOKafkaConsumer.committed

    async def slowly_committed(consumer: AIOKafkaConsumer, partition: Any) -> int | None:
        found: int | None = await committed(consumer, partition)
        await asyncio.sleep(0.2)
        return found

    for folder, count in (("first", 20), ("second", 60)):
        for number in range(count):
            topic.tell(f"vm-{number % 20}")
        settings = Settings(
            kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix),
            worker=WorkerSettings(session_timeout=6.0, standby_replicas=0),
            web=WebSettings(port=port),
            state_dir=tmp_path / folder,  # without the table: it has to be recovered
        )
        async with started(settings) as worker:
            await eventually(partial(has_processed, worker, count), within=20)
        monkeypatch.setattr(AIOKafkaConsumer, "committed", slowly_committed)
