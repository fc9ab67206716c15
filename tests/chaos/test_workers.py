"""Workers come, go, freeze and lose their data under load, while clients ask all the time."""

import asyncio
import math
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.core.revision import is_older
from streams.engine.partition_stores import PartitionStores
from tests.chaos import LONG
from tests.chaos.instance_load import ENDED, STATUS, Client, Load, outages
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.core_truth import core_truth, newest_values, records_on
from vimfed.local.kafka import LocalKafka
from vimfed.model.records import decode_event

pytestmark = pytest.mark.timeout(1200 if LONG else 300)

SESSION = 6.0
PARTITIONS = 8
AFTER_KILL = SESSION + 10
"""Seconds that queries may be refused after a worker has ended without a word."""
AFTER_PLANNED = 5.0
"""The same where a worker leaves or joins in order."""
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
AFTER_KAFKA = SESSION + 20
"""The same after Kafka is back; it ends and starts as fast as the machine lets it."""


class Disturbance(NamedTuple):
    """Something that was done to the workers, from when to when, and how long it may hurt."""

    what: str
    begin: float
    end: float
    allowed: float


class Chaos:
    """Disturbs workers one by one, and waits each time until all is well again."""

    def __init__(self, stack: Stack, kafka: LocalKafka) -> None:
        self.done: list[Disturbance] = []
        self.answering: dict[str, int] = {}
        """The workers that are meant to answer, with their ports."""
        self.clients: list[Client] = []
        self._supervised: set[str] = set()
        self._stack, self._kafka = stack, kafka

    @asynccontextmanager
    async def _disturb(
        self, what: str, allowed: float, *, counts_from_its_end: bool = False
    ) -> AsyncIterator[None]:
        begin = time.monotonic()
        yield
        if counts_from_its_end:
            allowed += time.monotonic() - begin
        await self._stack.serving(*self.answering)
        await eventually(partial(self._all_answered_since, time.monotonic()), within=30)
        self.done.append(Disturbance(what, begin, time.monotonic(), allowed))

    async def _all_answered_since(self, moment: float) -> bool:
        return all(client.is_answered_since(moment) for client in self.clients)

    async def supervise(self) -> None:
        """Start workers again that have ended themselves, as `vimfed run` does."""
        while True:
            for name in self._supervised:
                if not self._stack.children[name].running:
                    self._stack.start_worker(name)
            await asyncio.sleep(0.2)

    async def start(self, name: str) -> None:
        """Start a worker; from when it answers it is asked."""
        async with self._disturb(f"{name} starts", AFTER_PLANNED):
            self._stack.start_worker(name)
            self._supervised.add(name)
            await self._answers(name)

    async def _answers(self, name: str) -> None:
        await eventually(partial(self._is_ready, name), within=60)
        self.answering[name] = self._stack.ports[name]

    async def _is_ready(self, name: str) -> bool:
        return (await self._stack.get("/readyz", name))[0] == 200

    def leave(self, name: str) -> None:
        """Expect no answers of a worker any more, nor start it again."""
        self._supervised.discard(name)
        del self.answering[name]

    async def kill(self, name: str, *, wipe: bool = False) -> None:
        """Kill a worker, with its data if ``wipe``; when the others go on, start it again."""
        async with self._disturb(f"{name} killed", AFTER_KILL):
            self.leave(name)
            self._stack.children[name].kill()
        if wipe:
            shutil.rmtree(self._stack.folder / "state" / f"worker-{self._stack.ports[name]}")
        await self.start(name)

    async def terminate(self, name: str) -> None:
        """Stop a worker in order; when the others go on, start it again."""
        async with self._disturb(f"{name} stopped", AFTER_PLANNED):
            self.leave(name)
            self._stack.children[name].stop()
        assert self._stack.children[name].returncode == 0
        await self.start(name)

    async def freeze(self, name: str) -> None:
        """Stop a worker in its tracks for longer than its session, and let it go on."""
        child = self._stack.children[name]
        async with self._disturb(f"{name} frozen", AFTER_KILL):
            del self.answering[name]
            child.freeze()
        # It may have been stopped in the middle of a write, which the new owner mends then.
        async with self._disturb(f"{name} goes on", AFTER_KILL):
            child.thaw()
            await self._answers(name)

    async def restart_kafka(self) -> None:
        """Take Kafka away for longer than a session. A worker may end itself, and is restarted."""
        async with self._disturb("Kafka restarts", AFTER_KAFKA, counts_from_its_end=True):
            self._kafka.stop()
            await asyncio.sleep(SESSION + 3)
            self._kafka.start()


async def test_answers_are_right_or_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    chance = random.Random(11)
    with new_kafka(tmp_path / "kafka") as kafka:
        async with Stack(tmp_path, kafka.bootstrap, [CLOUD]) as stack:
            chaos = Chaos(stack, kafka)
            supervision = asyncio.create_task(chaos.supervise())
            await chaos.start("one")
            load = Load(
                kafka.bootstrap, stack.names.notifications, PARTITIONS, instances=100, rate=500
            )
            load.start()

            async def all_known() -> bool:
                _, answer = await stack.post(STATUS, {"states": ["active", "paused"]}, "one")
                return bool(answer["count"] == len(load.instance_ids))

            await eventually(all_known, within=30)
            clients = chaos.clients = [Client(load, chaos.answering, seed) for seed in (1, 2)]
            with clients[0], clients[1]:
                await chaos.start("two")
                await chaos.start("three")
                await chaos.kill("two", wipe=True)
                await chaos.terminate("three")
                await chaos.freeze("one")
                await chaos.restart_kafka()
                for _ in range(10 if LONG else 0):
                    name = chance.choice(list(chaos.answering))
                    await chance.choice([chaos.kill, chaos.terminate, chaos.freeze])(name)
            load.stop()
            assert not supervision.done()
            supervision.cancel()
            await assert_nothing_was_lost(stack)
        assert_copies_have_no_hole(stack)
    assert_answers(clients, chaos.done)


async def assert_nothing_was_lost(stack: Stack) -> None:
    """Check that table and events are what the core makes of the notifications topic."""
    truth = await asyncio.to_thread(core_truth, stack.bootstrap, stack.names)

    async def table_is_right() -> bool:
        table = await asyncio.to_thread(newest_values, stack.bootstrap, stack.names.changelog)
        return table == truth.rows

    await eventually(table_is_right, within=60, every=1.0)
    told = {
        event.id: (record.partition, record.offset, event)
        for record in await asyncio.to_thread(records_on, stack.bootstrap, stack.names.events)
        for event in [decode_event(record.value)]
    }
    missing = [event for event_id, event in truth.events.items() if event_id not in told]
    unknown = [told[event_id] for event_id in told.keys() - truth.events.keys()]
    assert (len(missing), len(unknown)) == (0, 0), (
        f"of {len(truth.events)} events {len(missing)} are missing, {len(unknown)} are unknown: "
        f"{missing[:2]} {unknown[:2]}"
    )


def assert_copies_have_no_hole(stack: Stack) -> None:
    """Check that what lies on the disk of each worker, owner or standby, is the changelog."""
    changes = records_on(stack.bootstrap, stack.names.changelog)
    copies = 0
    for port in stack.ports.values():
        stores = PartitionStores(stack.folder / "state" / f"worker-{port}")
        for partition in range(PARTITIONS):
            if not stores.path(partition).exists():
                continue
            copy = stores.get(partition)
            assert copy.changelog_offset is not None
            rows: dict[bytes, bytes] = {}
            later: set[bytes] = set()
            for change in changes:
                if change.partition != partition:
                    continue
                if change.offset > copy.changelog_offset:
                    later.add(change.key)
                    continue
                known = rows.get(change.key)
                if known is None or not is_older(change.value, known):
                    rows[change.key] = change.value
            held = dict(copy.items())
            # Compaction removes rows only behind which a later one stands.
            assert held.keys() - rows.keys() <= later, (port, partition, copy.changelog_offset)
            same = {key: held.get(key) for key in rows}
            assert same == rows, (port, partition, copy.changelog_offset)
            copies += 1
        stores.close_all()
    assert copies >= 2 * PARTITIONS  # an owner and a standby at least


def assert_answers(clients: list[Client], done: list[Disturbance]) -> None:
    """Check that every answer was right, and that none was refused for too long."""
    assert [wrong for client in clients for wrong in client.wrong] == []
    for client in clients:
        # However fast the machine is: each client was answered by each worker.
        answering = {answer.worker for answer in client.answers if not answer.refusal}
        assert answering == {"one", "two", "three"}
    answers = [answer for client in clients for answer in client.answers]
    unexplained = 0
    for client in clients:
        for outage in outages(client.answers):
            causes = [one for one in done if one.begin <= outage.begin <= one.end]
            if causes:
                longest = max(one.allowed for one in causes)
                assert outage.end - outage.begin <= longest, (outage, causes)
        unexplained += sum(
            answer.refusal not in ("", ENDED)
            and not any(one.begin <= answer.at <= one.end for one in done)
            for answer in client.answers
        )
    print(f"{len(answers)} answers, {unexplained} refused without cause")
    for what in done:
        hurt = [
            outage.end - outage.begin
            for client in clients
            for outage in outages(client.answers)
            if what.begin <= outage.begin <= what.end
        ]
        print(f"{what.what}: refused for {max(hurt, default=0):.1f} s at most")
    assert unexplained <= math.ceil(0.001 * len(answers))
