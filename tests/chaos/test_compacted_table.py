"""Workers come and go while servers die, tombstones vanish, and topics are made anew."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.engine.partition_stores import PartitionStores
from tests.chaos import LONG
from tests.chaos.instance_load import INSTANCES, MortalLoad
from tests.chaos.test_workers import CLOUD, PARTITIONS, Chaos
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.core_truth import CoreTruth, Record, folded, records_on
from tests.support.topic_changes import BUSY_CLEANER, QUICK_COMPACTION, change_topic, make_anew
from tests.support.vm_events import create_topics
from vimfed.kafka.partitions import partition_of
from vimfed.model.records import decode_row

pytestmark = pytest.mark.timeout(1800 if LONG else 400)

WORKERS = ("one", "two", "three") if LONG else ("one", "two")
SETTINGS = f"deleted_retention = 3\nstandby_replicas = {len(WORKERS) - 2}"
"""Each partition has a worker that does not hold it, but may have its database of before."""
STEPS = 12 if LONG else 0
LIVING = 60


class Scene:
    """Workers under a load, and what the core makes of everything that was ever told."""

    def __init__(self, stack: Stack, chaos: Chaos, load: MortalLoad) -> None:
        self.stack, self.chaos, self.load = stack, chaos, load
        self._earlier: list[Record] = []
        """What lay on notifications topics that are no more."""

    async def told(self) -> list[Record]:
        topic = self.stack.names.notifications
        return self._earlier + await asyncio.to_thread(records_on, self.stack.bootstrap, topic)

    async def check(self) -> CoreTruth:
        """Stop the load, and check that each worker answers what the core makes of it."""
        self.load.stop()
        truth = folded(await self.told())
        rows = map(decode_row, living_rows(truth.rows.items()).values())
        living = {row.instance_id: (row.vm_state, row.changed_at) for row in rows}
        assert LIVING / 2 < len(living) <= LIVING  # some were deleted just now
        for name in self.chaos.answering:
            await eventually(partial(self._answers, name, living), within=60, every=0.5)
        return truth

    async def _answers(self, worker: str, living: dict[str, Any]) -> bool:
        """Return whether a worker answers that these live, and no others."""
        path = f"{INSTANCES}?limit=1000"
        status, answer = await self.stack.get(path, worker)
        if status != 200:
            return False
        found = {
            one["instance_id"]: (one["state"], one["launched_at"])
            for one in answer["instances"]
            if one["state"] != "deleted"
        }
        return found == living

    async def begin_input_anew(self) -> None:
        """Delete the notifications topic, when all of it has been processed, and make it again."""
        await self.check()
        await self._all_done()
        for name in list(self.chaos.answering):
            self.chaos.leave(name)
            self.stack.children[name].stop()
        self._earlier = await self.told()
        topic = self.stack.names.notifications
        await asyncio.to_thread(make_anew, self.stack.bootstrap, topic, PARTITIONS)
        for name in WORKERS:
            await self.chaos.start(name)
        self.load.go_on()

    async def _all_done(self) -> None:
        waiting: dict[str, Any] = {}

        async def nothing_waits() -> bool:
            waiting.clear()
            for name in self.chaos.answering:
                status, answer = await self.stack.get("/api/multicloud/v1/workers", name)
                reports = answer["workers"] if status == 200 else [answer]
                waiting.update((f"{name}: {one.get('url')}", one) for one in reports if _waits(one))
            return not waiting

        try:
            await eventually(nothing_waits, within=60)
        except AssertionError:
            raise AssertionError(f"after 60 s there waits still: {waiting}") from None

    async def disturb(self, chance: random.Random) -> None:
        """Do one thing, whichever, to one of the workers or to the topics."""
        name = chance.choice(WORKERS)
        choices: list[Callable[[], Awaitable[None]]] = [
            partial(self.chaos.kill, name),
            partial(self.chaos.kill, name, wipe=True),
            partial(self.chaos.terminate, name),
            partial(self.chaos.freeze, name),
            self.begin_input_anew,
        ]
        await chance.choice(choices)()


def _waits(report: dict[str, Any]) -> bool:
    """Return whether a worker has notifications to do, or does not say."""
    figures = report.get("figures")
    return figures is None or any(figures["lag"].values())


async def test_the_table_is_what_the_core_makes_of_the_input_at_every_worker(
    tmp_path: Path,
) -> None:
    chance = random.Random(7)
    with new_kafka(tmp_path / "kafka", properties=BUSY_CLEANER) as kafka:
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD], SETTINGS) as stack:
            await create_topics(kafka.bootstrap, stack.prefix, PARTITIONS)
            change_topic(kafka.bootstrap, stack.names.changelog, QUICK_COMPACTION)
            chaos = Chaos(stack, kafka)
            supervision = asyncio.create_task(chaos.supervise())
            load = MortalLoad(
                kafka.bootstrap,
                stack.names.notifications,
                PARTITIONS,
                instances=LIVING,
                rate=200,
                lifetime=15,
            )
            await chaos.start("one")
            load.start()
            scene = Scene(stack, chaos, load)
            for name in WORKERS[1:]:
                await chaos.start(name)
            await chaos.terminate("one")
            await scene.begin_input_anew()
            await chaos.freeze("two")
            for _step in range(STEPS):
                await scene.check()
                load.go_on()
                await scene.disturb(chance)
            truth = await scene.check()
            assert not supervision.done()
            supervision.cancel()
            assert len(truth.rows) > 2 * LIVING  # many have died
        assert_databases_hold(stack, truth)


def assert_databases_hold(stack: Stack, truth: CoreTruth) -> None:
    """Check what lies on the workers' disks where it is as new as the changelog."""
    ends = {
        record.partition: record.offset
        for record in records_on(stack.bootstrap, stack.names.changelog)
    }
    held = set()
    for port in stack.ports.values():
        stores = PartitionStores(stack.folder / "state" / f"worker-{port}")
        for partition in range(PARTITIONS):
            if not stores.path(partition).exists():
                continue
            store = stores.get(partition)
            if store.changelog_offset == ends[partition]:
                held.add((port, partition))
                expected = living_rows(
                    (key, row)
                    for key, row in truth.rows.items()
                    if partition_of(key, PARTITIONS) == partition
                )
                assert living_rows(store.items()) == expected, (port, partition)
        stores.close_all()
    assert {partition for _port, partition in held} == set(range(PARTITIONS))


def living_rows(rows: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """Return the rows of instances that are not deleted; the others are swept sooner or later."""
    return {key: row for key, row in rows if row and decode_row(row).vm_state != "deleted"}
