"""What the table does around a recovery: who answers for a partition, and with which rows."""

import asyncio
import dataclasses
from pathlib import Path

import faust
import msgspec
import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.engine.row_table import RowTable
from streams.engine.table_recovery import TableManager
from streams.worker.row_indexes import RowIndexes
from tests.unit.worker.test_instance_index import found, row
from vimfed.model.keys import instance_key

CHANGELOG = "changelog"
KEY = instance_key("Owner_Region", "vm")


class Scene:
    """A table in memory, its index, and what the app crashed of."""

    def __init__(self, folder: Path) -> None:
        app = faust.App("group", datadir=folder, web_enabled=False, TableManager=TableManager)
        self.indexes = RowIndexes(1)
        self.index = self.indexes.instances
        self.table = RowTable(
            app,
            name="instances",
            changelog_topic=app.topic(CHANGELOG, key_type=bytes, value_type=bytes),
            partitions=1,
            folder=None,
            index=self.indexes,
        )
        self.crashes: list[BaseException] = []

        async def crash(error: BaseException) -> None:
            self.crashes.append(error)

        app.crash = crash  # type: ignore[method-assign, assignment]
        self._recovery = app.tables.recovery  # type: ignore[attr-defined]

    def read(self, offset: int, value: bytes) -> None:
        """Apply a changelog record, as recovery and standbys do."""
        self.table.apply(
            0, [ConsumerRecord(CHANGELOG, 0, offset, 0, 1, KEY, value, None, 0, 0, ())], offset + 1
        )

    async def recovered(self, end: int) -> None:
        """Let a recovery end that has made the partition ours."""
        tp = TP(CHANGELOG, 0)
        self._recovery.active_highwaters[tp] = self._recovery.active_offsets[tp] = end - 1
        await self.table.on_recovery_completed({tp}, set())


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_partition_that_another_wrote_to_meanwhile_is_indexed_anew(scene: Scene) -> None:
    scene.read(0, row("vm", "active", "1"))
    await scene.recovered(1)
    assert await found(scene.index, "active") == (1, ["vm"])
    # Ours before and after a rebalance, but not in between.
    scene.read(1, row("vm", "paused", "2"))
    assert scene.table.active == set()
    await scene.recovered(2)
    assert scene.table.active == {0}
    assert await found(scene.index, "active") == (0, [])
    assert await found(scene.index, "paused") == (1, ["vm"])


async def test_a_row_that_cannot_be_indexed_after_a_recovery_ends_the_process(
    scene: Scene,
) -> None:
    scene.read(0, b'{"source_offset": 1}')
    with pytest.raises(msgspec.ValidationError):  # upstream passes over it
        await scene.recovered(1)
    assert ["vim_id" in str(error) for error in scene.crashes] == [True]


async def test_a_partition_that_is_taken_away_while_it_is_taken_over_is_not_ours(
    scene: Scene,
) -> None:
    scene.table.stores.get(0).write(
        {f"{number}".encode(): row(f"vm-{number}", "active", "1") for number in range(2000)}, 5
    )
    taking = asyncio.create_task(scene.recovered(6))
    for _turn in range(3):
        await asyncio.sleep(0)
    assert not taking.done()  # others have their turn
    scene.table.release(0)
    await taking
    assert scene.table.active == set()
    assert len(scene.index) == 0
    assert scene.crashes == []


@pytest.mark.parametrize("was_ours", [False, True])
async def test_a_partition_that_is_taken_away_while_another_is_taken_over_is_not_ours(
    scene: Scene, was_ours: bool
) -> None:
    for partition in (0, 1):
        rows = {f"{number}".encode(): row(f"vm-{number}", "active", "1") for number in range(2000)}
        scene.table.stores.get(partition).write(rows, 5)
    if was_ours:
        await scene.table.activate({1: 6}, 1)
    taking = asyncio.create_task(scene.table.activate({0: 6, 1: 6}, 2))
    for _turn in range(3):
        await asyncio.sleep(0)
    assert not taking.done()
    scene.table.release(1)
    await taking
    assert scene.table.active == set()
    assert not scene.table.holds(1)
    await scene.table.activate({0: 6}, 3)
    assert scene.table.active == {0}
    assert len(scene.index) == 2000


async def test_others_have_their_turn_between_two_databases(scene: Scene) -> None:
    mine = {TP(CHANGELOG, number) for number in range(3)}
    for assigned, revoked, counts in ((mine, set[TP](), [1, 2, 3]), (set[TP](), mine, [2, 1, 0])):
        moving = asyncio.create_task(scene.table.on_rebalance(assigned, revoked, assigned))
        seen = list[int]()
        while not moving.done():
            await asyncio.sleep(0)
            held = len(scene.table.stores.open_partitions())
            if held not in (len(revoked), *seen):
                seen.append(held)
        await moving
        assert seen == counts


async def test_an_assignment_that_is_over_takes_nothing_over(scene: Scene) -> None:
    scene.read(0, row("vm", "active", "1"))
    scene.table.app.consumer_generation_id = 9
    await scene.recovered(1)
    assert scene.table.active == set()


async def test_a_stale_tombstone_deletes_nothing_and_is_mended(scene: Scene) -> None:
    newest = b'{"schema_version":1,"revision":9}'
    scene.read(0, newest)
    tombstone = ConsumerRecord(CHANGELOG, 0, 1, 0, 1, KEY, None, None, 0, 0, (("revision", b"8"),))
    scene.table.apply(0, [tombstone], 2)
    assert scene.table.partition(0).get(KEY) == newest
    assert scene.table.partition(0).overwritten == {KEY}
    current = dataclasses.replace(tombstone, offset=2, headers=(("revision", b"9"),))
    scene.table.apply(0, [current], 3)
    assert scene.table.partition(0).get(KEY) is None
    assert scene.table.partition(0).overwritten == set()
