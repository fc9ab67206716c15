"""What is kept of the meters that are asked for: always what the rows say, and not too much."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.engine.row_table import RowTable
from streams.worker import newest_values
from streams.worker.newest_values import NewestValues
from vimfed.model.keys import instance_key
from vimfed.model.samples import Measurement, MetersState, MeterValue, encode_meters

VIM = "Owner_Region"
END = "2026-01-01T12:01:00.000000Z"


def key(name: str) -> bytes:
    return instance_key(VIM, name)


def row(name: str, **volumes: float) -> bytes:
    """Return an instance's row; meters are named like arguments, devices behind ``_``."""
    values = [
        MeterValue(meter=meter, device=device, volume=volume, at=END)
        for meter, _, device, volume in (
            (*told.partition("_"), volume) for told, volume in volumes.items()
        )
    ]
    older, newest = (
        Measurement(id=name, vim_id=VIM, instance_id=name, begin=END, end=END, values=tuple(each))
        for each in ([MeterValue(meter="cpu", volume=-1, at=END)], values)
    )
    return encode_meters(
        MetersState(vim_id=VIM, instance_id=name, measured_until=END, measurements=(older, newest))
    )


class Asked:
    """The values over a table, which counts how often its rows are read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rows: dict[int, dict[bytes, bytes]] = {0: {}, 1: {}}
        self.taken_in = {0: 1, 1: 1}
        self.reads = 0
        self.values = NewestValues(lambda: self.now)

    def partition(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(items=lambda: self._items(number))

    def _items(self, number: int) -> Iterable[tuple[bytes, bytes]]:
        self.reads += 1
        return iter(list(self.rows[number].items()))

    def write(self, partition: int, rows: dict[bytes, bytes | None]) -> None:
        """Write rows as TableWriter does."""
        for each, value in rows.items():
            if value is None:
                del self.rows[partition][each]
            else:
                self.rows[partition][each] = value
        self.values.write(partition, rows)

    def of(self, meter: str, partition: int = 0) -> Any:
        return self.values.of(meter, cast(RowTable, self), partition)

    async def ask(self, meter: str, partition: int = 0) -> dict[str, list[tuple[str, float]]]:
        """Return by instance the devices and volumes of a meter."""
        return {
            newest.of.instance_id: [(each.device, each.volume) for each in newest.values]
            async for chunk in self.of(meter, partition)
            for _key, newest in chunk
        }


@pytest.fixture
def asked() -> Asked:
    made = Asked()
    made.write(0, {key(name): row(name, cpu=number) for number, name in enumerate("abc")})
    return made


async def test_rows_are_read_once_and_what_is_written_is_known(asked: Asked) -> None:
    assert await asked.ask("cpu") == {"a": [("", 0)], "b": [("", 1)], "c": [("", 2)]}
    asked.write(0, {key("a"): row("a", cpu=7, disk_vda=1, disk_vdb=2), key("b"): None})
    asked.write(0, {key("c"): row("c", memory=1), key("d"): row("d", cpu=9)})
    assert await asked.ask("cpu") == {"a": [("", 7)], "d": [("", 9)]}
    assert asked.reads == 1
    assert await asked.ask("disk") == {"a": [("vda", 1), ("vdb", 2)]}
    assert asked.reads == 2
    assert await asked.ask("cpu", 1) == {}
    asked.write(1, {key("e"): row("e", cpu=3)})
    assert await asked.ask("cpu", 1) == {"e": [("", 3)]}
    assert (asked.reads, asked.values.size) == (3, 5)


async def test_what_is_written_while_rows_are_read_is_not_overwritten_by_them(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_values, "CHUNK", 1)
    chunks = asked.of("cpu")
    await anext(chunks)
    asked.write(0, {key("a"): None, key("b"): None, key("c"): row("c", cpu=5)})
    other = await asked.ask("cpu")
    assert other == {"c": [("", 5)]}, "who asks meanwhile reads the rows"
    async for _each in chunks:
        pass
    assert await asked.ask("cpu") == {"c": [("", 5)]}
    assert asked.reads == 2


async def test_a_search_that_is_given_up_leaves_nothing_half_known(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_values, "CHUNK", 1)
    chunks = asked.of("cpu")
    await anext(chunks)
    await chunks.aclose()
    assert asked.values.size == 0
    assert len(await asked.ask("cpu")) == 3


async def test_a_partition_that_was_away_is_read_anew(asked: Asked) -> None:
    await asked.ask("cpu")
    asked.rows[0] = {key("z"): row("z", cpu=1)}  # another worker's doing
    asked.taken_in[0] = 2
    assert await asked.ask("cpu") == {"z": [("", 1)]}
    assert await asked.ask("cpu") == {"z": [("", 1)]}
    assert asked.reads == 2


async def test_what_nobody_asks_for_is_forgotten(asked: Asked) -> None:
    await asked.ask("cpu")
    asked.now = newest_values.UNUSED
    asked.write(0, {key("a"): row("a", cpu=4)})
    assert asked.values.size == 3
    asked.now += 1
    asked.write(0, {key("a"): row("a", cpu=5)})
    assert asked.values.size == 0
    assert (await asked.ask("cpu"))["a"] == [("", 5)]


async def test_of_many_meters_those_asked_for_last_are_kept(asked: Asked) -> None:
    for number in range(newest_values.MAX_METERS):
        await asked.ask(f"m{number}")
    await asked.ask("m0")
    await asked.ask("cpu")
    reads = asked.reads
    for meter in ("m0", "cpu", "m2"):
        await asked.ask(meter)
    assert asked.reads == reads
    await asked.ask("m1")
    assert asked.reads == reads + 1


@pytest.mark.parametrize("most", [0, 2, 3, 4])
async def test_values_are_bounded_and_answers_are_whole(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(newest_values, "MAX_VALUES", most)
    monkeypatch.setattr(newest_values, "CHUNK", 1)
    asked.write(0, {key("a"): row("a", cpu=0, memory=1, disk_vda=1, disk_vdb=2)})
    for _twice in range(2):
        for meter, count in (("cpu", 3), ("memory", 1), ("disk", 1)):
            assert len(await asked.ask(meter)) == count
            assert asked.values.size <= most
    asked.write(0, {key(name): row(name, cpu=1, disk_vda=1) for name in "abcdefg"})
    assert asked.values.size <= most
    assert len(await asked.ask("cpu")) == 7


async def test_others_have_their_turn_after_each_chunk(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_values, "CHUNK", 1)
    monkeypatch.setattr(newest_values, "KNOWN_CHUNK", 2)
    for turns in (3, 2):
        seen: list[int] = []

        async def look(seen: list[int] = seen) -> None:
            while True:
                seen.append(1)
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await asked.ask("cpu")
        looking.cancel()
        assert len(seen) == turns
