"""Which samples are followed and when, in which order what follows becomes durable, and fences."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError, KafkaConnectionError
from prometheus_client import CollectorRegistry

from streams.core.metering import Rules, read_resume
from streams.worker import samples_follower
from streams.worker.instance_index import InstanceIndex
from streams.worker.samples_follower import SamplesFollower
from streams.worker.samples_metrics import SampleCounters
from tests.support.folded_table import Record, numbered, record
from tests.support.metered_table import MeteredTable
from tests.support.nova_messages import VIM
from tests.support.sample_log import sample, sample_record, tick, time_text
from vimfed.kafka.aio import (
    KafkaError,
    TopicAuthorizationFailedError,
    TopicPartition,
)
from vimfed.kafka.clients import OutgoingRecord
from vimfed.model.keys import instance_key
from vimfed.model.samples import decode_measurement, decode_meters, decode_samples
from vimfed.settings import KafkaSettings

KAFKA = KafkaSettings(topic_prefix="p", partitions=1)
SOURCE = TopicPartition("p.samples", 0)
VM = instance_key(VIM, "vm-1")


def of_vm(at: float, received: float, vm: str = "vm-1") -> Record:
    return sample_record([sample("m", 1, at)], received, instance_id=vm)


class World:
    """Kafka, the tables and the group, of one worker: what becomes durable, in its order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(samples_follower, "new_consumer", lambda *_args, **_options: self)
        monkeypatch.setattr(samples_follower, "committed_of", self.place)
        monkeypatch.setattr(samples_follower, "append_all", self.append)
        monkeypatch.setattr(samples_follower, "ExpiryWatch", _NothingExpires)
        for pause in ("PAUSE", "RETRY_PAUSE", "COMMIT_EVERY"):
            monkeypatch.setattr(samples_follower, pause, 0)
        self.log: list[Record] = []
        self.durable: list[tuple[str, Any]] = []
        self.rows: dict[bytes, bytes] = {}
        self.committed: tuple[int, str] | None = None
        self.errors: dict[str, KafkaError] = {}
        """By what is tried: what Kafka answers once."""
        self.ends_when_idle = True
        self.is_behind = False
        self.crashed: list[Exception] = []
        self.before: dict[str, Callable[[], object]] = {}
        """What happens just before something becomes durable."""
        self.position = 0
        self.sought: list[int] = []
        self.assigned: list[TopicPartition] = []
        self.fetches = 0
        self.knows_end = True
        self.member = True
        self.takes_rows = True

        # The app, and the tables that it assigns.
        self.app = SimpleNamespace(should_stop=False, consumer_generation_id=3, crash=self._crash)
        table = {"app": self.app, "generation": 3, "active": {0}, "taken_in": {0: 3}}
        self.meters = SimpleNamespace(**table, partition=lambda _number: self)
        self.instances = SimpleNamespace(**table | {"active": {0}})
        # The group's consumer.
        self.is_leaving = False
        self.also_wait_for: list[Any] = []
        self.follower = SamplesFollower(
            kafka=KAFKA,
            rules=Rules(),
            meters=self.meters,  # type: ignore[arg-type]
            instances=self.instances,  # type: ignore[arg-type]
            index=InstanceIndex(),
            writer=self,  # type: ignore[arg-type]
            consumer=self,  # type: ignore[arg-type]
            producer=self,
            counters=SampleCounters(CollectorRegistry()),
            is_behind=lambda: self.is_behind,
        )
        self.follower._index.add_partition(0)

    async def _crash(self, error: Exception) -> None:
        self.crashed.append(error)

    def _try(self, what: str) -> None:
        self.before.pop(what, bool)()
        error = self.errors.pop(what, None)
        if error is not None:
            raise error

    def of(self, *kinds: str) -> list[Any]:
        """Return what has become durable of some kinds."""
        return [value for kind, value in self.durable if kind in kinds]

    def kinds(self) -> list[str]:
        return [kind for kind, _value in self.durable]

    async def run(self) -> None:
        """Follow until all is followed that there is."""
        await asyncio.wait_for(self.follower.run(), 60)

    # -- the group's consumer

    async def is_member(self, _generation: int) -> bool:
        return self.member

    # -- the partition of the table, and its writer

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return iter(list(self.rows.items()))

    def lock(self, _partition: int) -> Any:
        return asyncio.Lock()

    async def put(self, _partition: int, rows: dict[bytes, bytes | None], generation: int) -> bool:
        assert generation == self.meters.generation
        self._try("row")
        if not self.takes_rows:
            return False
        for key, row in rows.items():
            self.durable.append(("row" if row else "tombstone", key))
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row
        return True

    # -- the consumer of samples

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        await asyncio.sleep(0)

    async def place(self, _consumer: Any, tp: TopicPartition) -> Any:
        assert tp == SOURCE
        self._try("committed")
        if self.committed is None:
            return None
        return SimpleNamespace(offset=self.committed[0], metadata=self.committed[1])

    async def beginning_offsets(self, _tps: Any) -> dict[TopicPartition, int]:
        return {SOURCE: self.log[0].offset if self.log else 0}

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self.assigned = list(tps)

    @property
    def end(self) -> int:
        return self.log[-1].offset + 1 if self.log else 0

    def assignment(self) -> Sequence[TopicPartition]:
        return self.assigned

    def seek(self, _tp: TopicPartition, offset: int) -> None:
        self.position = offset
        self.sought.append(offset)

    def highwater(self, _tp: TopicPartition) -> int | None:
        return self.end if self.knows_end else None

    async def getmany(self, **_bounds: Any) -> dict[TopicPartition, list[Record]]:
        self.fetches += 1
        self._try("fetch")
        left = [each for each in self.log if each.offset >= self.position]
        self.position = self.end
        if not left and self.ends_when_idle:
            self.app.should_stop = True
        return {SOURCE: left} if left else {}

    async def commit(self, places: dict[TopicPartition, tuple[int, str]]) -> None:
        self._try("commit")
        self.committed = places[SOURCE]
        self.durable.append(("commit", self.committed[0]))

    # -- the producer

    async def append(self, _producer: Any, records: Sequence[OutgoingRecord]) -> None:
        for each in records:
            kind = each.topic.removeprefix("p.").removesuffix("s")
            self._try(kind)
            self.durable.append((kind, each))


class _NothingExpires:
    def __init__(self, *_about: Any) -> None:
        pass

    async def look(self, _fetched: Any) -> None:
        pass


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


CLOSED = [of_vm(10, 11), tick(120)]
"""A sample, and the record that closes its interval."""


# -- the order


async def test_letters_then_rows_then_measurements_then_the_offset(world: World) -> None:
    world.log = numbered([record(b"x", b"none"), *CLOSED])
    await world.run()
    assert world.kinds() == ["dead-letter", "row", "measurement", "commit"]
    (letter, told) = world.of("dead-letter", "measurement")
    assert dict(letter.headers)["origin"] == b"samples"
    assert (told.key, told.partition) == (VM, 0)
    assert decode_measurement(told.value).instance_id == "vm-1"
    assert world.committed is not None
    assert read_resume(*world.committed).told == 3


async def test_an_open_interval_is_read_again_by_the_next_one(world: World) -> None:
    world.log = numbered([*CLOSED, of_vm(130, 131), tick(140)])
    await world.run()
    assert world.committed is not None
    resume = read_resume(*world.committed)
    assert (resume.offset, resume.told) == (2, 4)


async def test_an_offset_is_committed_once(world: World) -> None:
    world.log = numbered(CLOSED)
    rounds = iter(range(3))
    world.ends_when_idle = False

    def stop() -> None:
        world.app.should_stop = next(rounds, None) is None
        if not world.app.should_stop:
            world.before["fetch"] = stop

    world.before["fetch"] = stop
    await world.run()
    assert len(world.of("commit")) == 1


# -- takeover


async def test_a_new_group_begins_with_what_is_there(world: World) -> None:
    world.log = [replace(each, offset=each.offset + 7) for each in numbered(CLOSED)]
    await world.run()
    assert world.sought == [7]
    assert world.kinds() == ["row", "measurement", "commit"]


@pytest.mark.parametrize("lost", ["measurement", "commit"])
async def test_what_a_crash_has_not_told_is_told_first_by_the_next_one(
    world: World, lost: str
) -> None:
    world.log = numbered([*CLOSED, of_vm(130, 131), tick(300)])
    world.committed = (0, "")
    world.errors[lost] = TopicAuthorizationFailedError()
    with pytest.raises(TopicAuthorizationFailedError):
        await world.run()
    assert [type(each) for each in world.crashed] == [TopicAuthorizationFailedError]
    kept = decode_meters(world.rows[VM]).measurements
    before = {each.value for each in world.of("measurement")}

    world.follower._followed.clear()
    world.follower._is_in_place = False
    world.durable.clear()
    await world.run()
    first = [decode_measurement(each.value) for each in world.of("measurement")[: len(kept)]]
    assert first == list(kept), "word for word what the row has"
    told = before | {each.value for each in world.of("measurement")}
    assert {decode_measurement(each).begin for each in told} == {time_text(0), time_text(120)}
    assert world.kinds()[0] == "measurement"


# -- fences


def not_a_member(world: World) -> None:
    world.member = False


def another_generation(world: World) -> None:
    world.app.consumer_generation_id = 4


def taken_in_anew(world: World) -> None:
    world.meters.taken_in = {0: 4}


def is_leaving(world: World) -> None:
    world.is_leaving = True


def without_instances(world: World) -> None:
    world.instances.active = set()


LOSSES = [not_a_member, another_generation, taken_in_anew, is_leaving, without_instances]


@pytest.mark.parametrize("lose", LOSSES)
async def test_who_may_have_lost_the_partition_after_the_rows_tells_and_commits_nothing(
    world: World, lose: Callable[[World], None]
) -> None:
    world.log = numbered(CLOSED)

    def then_stop() -> None:
        lose(world)
        world.app.should_stop = True

    world.before["row"] = then_stop
    await world.run()
    assert world.kinds() == ["row"]
    assert world.follower.lags() == {}, "it is followed no more"


@pytest.mark.parametrize("lose", LOSSES)
async def test_who_may_have_lost_the_partition_before_the_rows_writes_nothing(
    world: World, lose: Callable[[World], None]
) -> None:
    world.log = numbered([record(b"x", b"none"), *CLOSED])

    def then_stop() -> None:
        lose(world)
        world.app.should_stop = True

    world.before["fetch"] = then_stop
    await world.run()
    assert world.durable == []


async def test_rows_that_another_worker_may_have_written_end_the_following(world: World) -> None:
    world.log = numbered(CLOSED)
    world.takes_rows = False
    world.before["row"] = lambda: setattr(world.app, "should_stop", True)
    await world.run()
    assert world.durable == []
    assert world.follower.lags() == {}


async def test_a_partition_that_is_ours_again_is_read_from_where_it_was_committed(
    world: World,
) -> None:
    world.log = numbered([*CLOSED, of_vm(130, 131), tick(300)])
    world.before["measurement"] = lambda: taken_in_anew(world)
    await world.run()
    assert world.sought == [0, 0]
    begins = [decode_measurement(each.value).begin for each in world.of("measurement")]
    assert set(begins) == {time_text(0), time_text(120)}
    assert len(world.rows) == 1


@pytest.mark.parametrize("lose", LOSSES)
async def test_nothing_is_taken_over_by_who_may_not_own_it(
    world: World, lose: Callable[[World], None]
) -> None:
    world.log = numbered(CLOSED)
    before = MeteredTable()
    before.follow(world.log)
    world.rows = before.rows  # with a measurement that may not have been told

    def then_stop() -> None:
        lose(world)
        world.app.should_stop = True

    world.before["committed"] = then_stop
    await world.run()
    assert world.durable == []
    assert world.fetches <= 1
    assert world.follower.lags() == {}


async def test_partitions_are_taken_away_when_nothing_is_being_written(world: World) -> None:
    world.log = numbered(CLOSED)
    (quiet,) = world.also_wait_for
    waits: list[asyncio.Task[None]] = []
    world.before["row"] = lambda: waits.append(asyncio.ensure_future(quiet()))
    done_at: list[int] = []
    world.before["measurement"] = lambda: done_at.append(waits[0].done())
    await world.run()
    assert done_at == [False]
    await asyncio.wait_for(waits[0], 10)


# -- events go first


async def test_nothing_is_read_while_notifications_wait(world: World) -> None:
    world.log = numbered(CLOSED)
    world.is_behind = True
    following = asyncio.ensure_future(world.run())
    for _turn in range(20):
        await asyncio.sleep(0)
    assert (world.fetches, world.durable) == (0, [])
    world.is_behind = False
    await following
    assert world.kinds() == ["row", "measurement", "commit"]


# -- what Kafka refuses


@pytest.mark.parametrize("what", ["fetch", "committed", "commit"])
async def test_a_kafka_that_is_away_is_asked_again(world: World, what: str) -> None:
    world.log = numbered(CLOSED)
    world.errors[what] = KafkaConnectionError()
    rounds = iter(range(4))
    world.ends_when_idle = False

    def stop() -> None:
        world.app.should_stop = next(rounds, None) is None
        if not world.app.should_stop:
            world.before["fetch"] = stop

    world.before["fetch"] = stop
    await world.run()
    assert world.kinds() == ["row", "measurement", "commit"]
    assert world.crashed == []


@pytest.mark.parametrize("what", ["fetch", "committed", "row", "measurement", "commit"])
async def test_what_kafka_refuses_for_good_ends_the_worker(world: World, what: str) -> None:
    world.log = numbered(CLOSED)
    world.errors[what] = IllegalStateError("no")
    with pytest.raises(IllegalStateError):
        await world.run()
    assert [str(each) for each in world.crashed] == [str(IllegalStateError("no"))]
    assert "commit" not in world.kinds()


# -- now and then


async def test_a_partition_in_which_something_is_due_is_told_the_time_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time_text(119)]
    monkeypatch.setattr(samples_follower, "arrival_time", lambda: now[0])
    await world.follower.look(0)  # it is not followed yet
    world.log = numbered([of_vm(10, 11)])
    await world.run()
    world.durable.clear()
    await world.follower.look(0)
    assert world.durable == [], "nothing is due"
    now[0] = time_text(120)
    world.knows_end = False
    await world.follower.look(0)
    assert world.durable == [], "there may be more"
    world.knows_end = True
    world.log = numbered([*world.log, tick(130)])
    await world.follower.look(0)
    assert world.durable == [], "there is more, which tells the time"
    world.log.pop()
    await world.follower.look(0)
    await world.follower.look(0)
    (told,) = world.of("sample")
    assert (told.topic, told.partition) == ("p.samples", 0)
    assert decode_samples(told.value).received_at == time_text(120)


async def test_a_kafka_that_does_not_take_the_time_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_follower, "arrival_time", lambda: time_text(500))
    world.log = numbered([of_vm(10, 11)])
    await world.run()
    world.errors["sample"] = KafkaConnectionError()
    await world.follower.look(0)
    assert world.of("sample") == []


async def test_a_row_that_has_outlived_its_time_is_deleted(
    world: World,
) -> None:
    world.log = numbered([*CLOSED, tick(5000)])
    await world.run()
    assert world.kinds() == ["row", "measurement", "commit", "tombstone"]
    assert world.rows == {}


async def test_a_row_is_not_deleted_by_who_may_have_lost_the_partition(world: World) -> None:
    world.log = numbered([*CLOSED, tick(5000)])

    def lose() -> None:
        not_a_member(world)
        world.app.should_stop = True

    world.before["commit"] = lose
    await world.run()
    assert world.kinds() == ["row", "measurement", "commit"]
    assert world.rows.keys() == {VM}
