"""Which alarms a cloud has, kept up to date row by row."""

import pytest

from streams.worker import alarm_index
from streams.worker.alarm_index import AlarmIndex, AlarmPage, AlarmSelection, AlarmSource
from vimfed.model.keys import alerts_key, host_key, instance_key
from vimfed.model.records import Alarm

VIM = "Owner_Region"


def alarm(name: str, at: int, condition: str = "vm_error", cleared: str = "") -> Alarm:
    started = f"2026-01-01T00:00:{at:02}.000000Z"
    return Alarm(
        id=name, condition=condition, started_at=started, changed_at=started, cleared_at=cleared
    )


def put(index: AlarmIndex, partition: int, instance: str, *alarms: Alarm) -> None:
    index.put(partition, VIM, instance_key(VIM, instance), AlarmSource(instance), alarms)


async def asked(index: AlarmIndex, vim_id: str = VIM, **options: object) -> AlarmPage:
    return await index.query(AlarmSelection(vim_id, lambda _each: True, **options))  # type: ignore[arg-type]


def ids(page: AlarmPage) -> list[str]:
    return [placed.alarm.id for _position, placed in page.found]


@pytest.fixture
def index() -> AlarmIndex:
    index = AlarmIndex()
    index.add_partition(0)
    index.add_partition(1)
    return index


async def test_the_newest_come_first_over_all_partitions(
    index: AlarmIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_index, "CHUNK", 2)
    put(index, 0, "a", alarm("1", 1), alarm("4", 4, "vm_unavailable"))
    put(index, 1, "b", alarm("2", 2, cleared="2026-01-01T00:00:09.000000Z"), alarm("3", 3))
    put(index, 1, "c", alarm("5", 4))
    page = await asked(index)
    assert (page.total, ids(page), page.more) == (5, ["5", "4", "3", "2", "1"], False)
    page = await asked(index, limit=2)
    assert (page.total, ids(page), page.more) == (5, ["5", "4"], True)
    page = await asked(index, limit=2, after=page.found[-1][0])
    assert (page.total, ids(page), page.more) == (5, ["3", "2"], True)
    page = await asked(index, limit=2, after=page.found[-1][0])
    assert (ids(page), page.more) == (["1"], False)


async def test_an_alarm_is_found_with_those_of_its_source_and_condition(
    index: AlarmIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_index, "CHUNK", 1)
    put(index, 1, "a", alarm("1", 1, cleared="2026-01-01T00:00:02.000000Z"), alarm("2", 3))
    put(index, 1, "b", alarm("3", 1))
    key = alerts_key(VIM, "a")
    index.put(1, VIM, key, AlarmSource("a"), (alarm("4", 4, "alert/x"),))
    assert [each.alarm.id for each in await index.like(VIM, "1")] == ["2", "1"]
    assert [each.alarm.id for each in await index.like(VIM, "4")] == ["4"]
    assert await index.like(VIM, "5") == []
    assert await index.like("Owner_Elsewhere", "1") == []


async def test_a_row_has_its_newest_alarms_alone(index: AlarmIndex) -> None:
    put(index, 0, "a", alarm("1", 1))
    assert index.counts() == {VIM: {"vm_error": 1}}
    put(index, 0, "a", alarm("1", 1, cleared="2026-01-01T00:00:02.000000Z"), alarm("2", 3))
    assert (ids(await asked(index)), index.counts()) == (["2", "1"], {VIM: {"vm_error": 1}})
    put(index, 0, "a")
    assert (ids(await asked(index)), index.counts(), index.knows(VIM)) == ([], {}, False)
    put(index, 0, "b")
    assert not index.knows(VIM)


async def test_active_alarms_are_counted_by_few_classes(index: AlarmIndex) -> None:
    put(index, 0, "a", alarm("1", 1, "action_failed/MIGRATE"), alarm("2", 1, "alert/abc"))
    put(index, 1, "b", alarm("3", 1, "action_failed/RESIZE"), alarm("4", 1, "of a later version"))
    key = host_key(VIM, "compute01")
    index.put(1, VIM, key, AlarmSource(host="compute01"), (alarm("5", 1, "host_down"),))
    assert index.counts() == {VIM: {"action_failed": 2, "alert": 1, "other": 1, "host_down": 1}}
    index.remove(1, VIM, key)
    index.remove(1, VIM, key)
    index.remove(1, "Owner_Elsewhere", key)
    index.drop_partition(0)
    assert index.counts() == {VIM: {"action_failed": 1, "other": 1}}
