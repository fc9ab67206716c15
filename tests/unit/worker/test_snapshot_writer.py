"""When a worker writes its part of a snapshot, and when it leaves it to others, or for later."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streams.subscriptions.snapshots import Course, Snapshot, SnapshotBook, SnapshotRequest, Step
from streams.worker import snapshot_writer
from streams.worker.instance_index import InstanceIndex
from streams.worker.snapshot_writer import CHUNK, SnapshotWriter
from vimfed.kafka.appending import Appended
from vimfed.kafka.clients import OutgoingRecord
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key
from vimfed.model.records import InstanceState, encode_row
from vimfed.settings import KafkaSettings

VIM_ID, NAME, PARTITIONS = "Owner_a", "mine", 2
HOME = partition_of(NAME.encode(), PARTITIONS)
AWAY = 1 - HOME
GENERATION = 4


def row(number: int, **fields: Any) -> InstanceState:
    values: dict[str, Any] = {
        "vim_id": VIM_ID,
        "instance_id": f"vm-{number}",
        "vm_state": "active",
        "task_state": "",
        "kind": "POWER_ON",
        "phase": "end",
        "changed_at": "2026-01-01T12:00:00.000000Z",
        "payload": msgspec.Raw(b'{"tenant_id": "t-%d"}' % (number % 2)),
        "revision": number,
    }
    return InstanceState(**{**values, **fields})


class World:
    """A worker that owns both partitions, with all of its rows in one that is not the home."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: Iterable[InstanceState]) -> None:
        monkeypatch.setattr(snapshot_writer, "append_all", self.append_all)
        monkeypatch.setattr(snapshot_writer, "PAUSE", 0.0)
        self.book = SnapshotBook()
        self.written: list[tuple[int, str, dict[str, Any]]] = []
        """Partition, output and event."""
        self.end, self.undone, self.had = 10, 10, 0
        """Where the notifications end, what is not done of them, what the output has."""
        self.behind: list[bool] = []
        self.confirmed = True
        self.on_append: Callable[[], None] = lambda: None
        self.on_known: Callable[[], None] = lambda: None
        self.asked_how_far = 0
        self.rows = {instance_key(each.vim_id, each.instance_id): encode_row(each) for each in rows}
        index = InstanceIndex()
        for partition in range(PARTITIONS):
            index.add_partition(partition)
        for encoded in self.rows.values():
            index.put(AWAY, encoded)
        self.table: Any = SimpleNamespace(
            active={HOME, AWAY},
            generation=GENERATION,
            app=SimpleNamespace(consumer_generation_id=GENERATION),
            partition=lambda _partition: SimpleNamespace(get=self.rows.get),
        )
        self.group: Any = SimpleNamespace(
            is_leaving=False,
            also_wait_for=[],
            undone=lambda _tp: self.undone,
            is_member=self.is_member,
        )
        lock = asyncio.Lock()
        fakes: dict[str, Any] = {
            "table": self.table,
            "consumer": self.group,
            "log": SimpleNamespace(append=self.note, known=self.known, ends=self.ends),
            "writer": SimpleNamespace(lock=lambda _partition: lock),
            "producer": None,
        }
        self.writer = SnapshotWriter(
            kafka=KafkaSettings(partitions=PARTITIONS),
            index=index,
            book=self.book,
            progress=self.progress,
            is_behind=lambda: self.behind.pop() if self.behind else False,
            **fakes,
        )

    async def append_all(
        self, _producer: None, records: list[OutgoingRecord]
    ) -> dict[tuple[str, int], Appended]:
        for record in records:
            output = dict(record.headers)["output"].decode()
            self.written.append((record.partition, output, json.loads(record.value or b"")))
        self.on_append()
        places = {(each.topic, each.partition) for each in records}
        return {place: Appended(0, len(self.written), contiguous=True) for place in places}

    async def is_member(self, generation: int) -> bool:
        return self.confirmed and generation == GENERATION

    async def note(self, key: bytes, value: bytes) -> None:
        self.book.add(key.decode().removeprefix("snapshot/"), value)

    async def known(self, _since: float) -> None:
        self.on_known()

    async def ends(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, self.end)

    async def progress(self, output: str) -> Mapping[int, int]:
        assert output == "onap"
        self.asked_how_far += 1
        return dict.fromkeys(range(PARTITIONS), self.had)

    def ask(self, *steps: str, tenants: tuple[str, ...] = (), name: str = NAME) -> Course:
        """Ask for a snapshot of which some steps are done."""
        asked = SnapshotRequest(output="onap", tenants=tenants)
        made = Snapshot(id="1", asked=asked, clouds=(VIM_ID,), requested_at="2026-01-01")
        self.book.add(name, msgspec.json.encode(made))
        for step in steps:
            self.book.add(f"{name}/{step}", b'{"snapshot": "1"}')
        course = self.book.get(name)
        assert course is not None
        return course

    async def advance(self, course: Course) -> str:
        """Do what is to be done; return the state after it."""
        await self.writer._look()
        return course.state(PARTITIONS)

    def told(self) -> list[str]:
        return [event["instance_id"] or event["phase"] for _place, _output, event in self.written]


async def test_begin_and_end_wait_for_what_the_output_has(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [row(1), row(2, vm_state="deleted"), row(3)])
    course = world.ask()
    assert await world.advance(course) == "begun"
    assert await world.advance(course) == "begun"
    world.had = 1
    assert await world.advance(course) == "running"
    assert await world.advance(course) == "delivering"
    assert (world.told(), course.ends[AWAY]) == (["start", "vm-1", "vm-3"], 3)
    assert await world.advance(course) == "delivering"
    world.had = 3
    assert await world.advance(course) == "ended"
    assert world.told() == ["start", "vm-1", "vm-3", "end"]
    assert {(place, output) for place, output, _event in world.written} == {
        (HOME, "onap"),
        (AWAY, "onap"),
    }
    assert json.dumps(world.written[-1][2]["payload"]) == '{"snapshot": "mine", "told": 2}'
    assert await world.advance(course) == "ended"
    assert len(world.written) == 4


async def test_rows_wait_until_they_are_as_new_as_the_events_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, [row(1)])
    course = world.ask("begun", "open")
    world.undone = 9  # an earlier owner may have told what follows from the last one
    assert await world.advance(course) == "running"
    assert world.told() == []
    world.end = 12  # what has come since is nobody's but ours
    world.undone = 10
    assert await world.advance(course) == "delivering"
    assert world.told() == ["vm-1"]


@pytest.mark.parametrize("how", ["not ours", "leaving", "another generation", "cancelled"])
async def test_who_may_not_write_any_more_leaves_the_partition_to_others(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    world = World(monkeypatch, map(row, range(CHUNK + 1)))
    course = world.ask("begun", "open", str(HOME))

    def happen() -> None:
        if how == "not ours":
            world.table.active.discard(AWAY)
        elif how == "leaving":
            world.group.is_leaving = True
        elif how == "another generation":
            world.table.app.consumer_generation_id += 1
        else:
            world.book.add(NAME, None)

    world.on_append = happen
    assert await world.advance(course) == "running"
    assert len(world.told()) == CHUNK
    assert await world.advance(course) == "running"
    assert len(world.told()) == CHUNK


async def test_events_go_first_and_only_tenants_that_are_asked_for_are_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, map(row, range(4)))
    world.behind = [True, True]
    course = world.ask("begun", "open", tenants=("t-1",))
    assert await world.advance(course) == "delivering"
    assert (world.told(), world.behind) == (["vm-1", "vm-3"], [])
    assert course.told == {VIM_ID: 2}


async def test_who_was_stopped_while_it_wrote_leaves_the_partition_to_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it has written may lie behind newer events: the owner has to tell the rows again."""
    world = World(monkeypatch, [row(1)])
    course = world.ask("begun", "open", str(HOME))
    world.on_append = lambda: setattr(world, "confirmed", False)
    assert await world.advance(course) == "running"
    assert world.told() == ["vm-1"]


@pytest.mark.parametrize("steps", [(), ("begun", "open"), ("begun", "open", "0", "1")])
async def test_a_snapshot_that_another_worker_deleted_is_sent_no_further(
    monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...]
) -> None:
    """Its caller has the answer; what we know of the topic may be some seconds old."""
    world = World(monkeypatch, [row(1)])
    course = world.ask(*steps)
    world.on_known = lambda: world.book.add(NAME, None)
    await world.advance(course)
    assert world.told() == []


async def test_an_output_is_asked_once_for_all_snapshots_that_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, [])
    names = (f"at-{number}" for number in range(100))
    at_home = [name for name in names if partition_of(name.encode(), PARTITIONS) == HOME]
    world.had = -1
    courses = [world.ask("begun", "open", "0", "1", name=name) for name in at_home]
    for course in courses:
        course.steps["begun"] = Step(snapshot="1", ends={HOME: 1})
    await world.advance(courses[0])
    assert (world.asked_how_far, world.told()) == (1, [])
    world.had = 1
    await world.advance(courses[0])
    assert {course.state(PARTITIONS) for course in courses} == {"ended"}
