"""How long queries are refused, and events late, while workers come, go and die.

    python -m benchmarks.failover [--rate 500] [--instances 1000] [--session 6]
                                  [--steps scale kill roll] [--keep FOLDER]

Three workers on a Kafka of its own with 8 partitions. Notifications are written at a steady rate,
as the bridge writes them. Two clients ask 20 times a second each, one check_vim_status over all
instances, one for an instance: a round robin over the workers whose last /readyz was 200, asked
every 0.2 s, as a proxy does it, each time by a new connection. Nobody asks a second time. A fourth
worker starts; it is stopped (SIGTERM); one is killed (kill -9) and started again; each of the three
is stopped and started again. For each of these, until all is well again:

- refused: answers other than 200, time-outs after 5 s, connections that were refused or cut;
- gap: the longest time from a first refusal to the next answer;
- slowest: the longest that a complete answer took;
- late: the most that lay between Kafka's taking of a notification and of its event.
"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from tests.chaos.instance_load import INSTANCES, STATUS, Load
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.topics import read_topic
from vimfed.local.child import Child
from vimfed.model.records import decode_event, decode_notification

PARTITIONS = 8
STEPS = ("scale", "kill", "roll")
ASKED_EVERY = 0.05
PROBED_EVERY = 0.2
CALM = 4.0
"""Seconds between what is done, and of the undisturbed run that is measured beside it."""
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}


class Asked(NamedTuple):
    """One request: when it began and ended, and what it got; 200 or why not."""

    begun: float
    ended: float
    got: str


class Balancer:
    """Knows which workers are ready, as the last probe of each said."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.ready: list[str] = []
        self._turn = itertools.count()

    async def probe(self) -> None:
        """Ask all workers again and again."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
            while True:
                names = [name for name in self._stack.ports if name.startswith("w")]
                are = await asyncio.gather(*(self._is_ready(session, name) for name in names))
                self.ready = [name for name, is_ready in zip(names, are, strict=True) if is_ready]
                await asyncio.sleep(PROBED_EVERY)

    async def _is_ready(self, session: aiohttp.ClientSession, name: str) -> bool:
        try:
            async with session.get(self._url(name) + "/readyz") as answer:
                return answer.status == 200
        except (TimeoutError, aiohttp.ClientError):
            return False

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._stack.ports[name]}"

    def next_url(self) -> str | None:
        """Return the URL of the worker whose turn it is; None where none is ready."""
        ready = self.ready
        return self._url(ready[next(self._turn) % len(ready)]) if ready else None


class Client:
    """Asks at a steady rate, whether or not it has been answered."""

    def __init__(self, balancer: Balancer, load: Load, *, one: bool) -> None:
        self.asked: list[Asked] = []
        self._balancer, self._load, self._one = balancer, load, one
        self._chance = random.Random(1)

    async def run(self) -> None:
        """Ask until cancelled."""
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            tasks: set[asyncio.Task[None]] = set()
            while True:
                tasks.add(task := asyncio.create_task(self._ask(session)))
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(ASKED_EVERY)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        begun = time.time()
        got = await self._answer(session)
        self.asked.append(Asked(begun, time.time(), got))

    async def _answer(self, session: aiohttp.ClientSession) -> str:
        url = self._balancer.next_url()
        if url is None:
            return "no worker is ready"
        try:
            if self._one:
                instance_id = self._chance.choice(self._load.instance_ids)
                async with session.get(f"{url}{INSTANCES}/{instance_id}") as answer:
                    body = await answer.read()
            else:
                search = {"states": ["ACTIVE", "PAUSED"], "limit": 100}
                async with session.post(url + STATUS, json=search) as answer:
                    body = await answer.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            return type(error).__name__
        if answer.status == 200:
            return "200"
        return f"{answer.status} {msgspec.json.decode(body).get('reason', body[:80])}"


def longest_gap(asked: list[Asked]) -> float:
    """Return the longest time from a first refusal to the next answer."""
    longest, since = 0.0, None
    for each in sorted(asked, key=lambda one: one.ended):
        if each.got == "200":
            longest = max(longest, each.ended - since if since else 0.0)
            since = None
        elif since is None:
            since = each.ended
    return longest


class Span(NamedTuple):
    """What was done, from when to when (s since 1970)."""

    what: str
    begun: float
    ended: float


class Drill:
    """Does to the workers what the table tells of."""

    def __init__(self, stack: Stack, clients: list[Client]) -> None:
        self._stack, self._clients = stack, clients
        self.spans: list[Span] = []

    async def during(self, what: str, step: Callable[[], Awaitable[None]], *serving: str) -> None:
        """Take a step, and wait until these workers serve and everybody is answered."""
        begun = time.time()
        await step()
        if serving:
            await self._stack.serving(*serving)
        await asyncio.sleep(CALM)
        self.spans.append(Span(what, begun, time.time()))

    async def start(self, name: str) -> None:
        """Start a worker and wait until it is ready."""
        self._stack.start_worker(name)
        await self._stack.ready(name)

    async def stop(self, name: str) -> None:
        """Stop a worker in order."""
        child = self._stack.children[name]
        child.terminate()
        await eventually(lambda: _ended(child), within=40, every=0.05)

    async def kill(self, name: str) -> None:
        """Kill a worker."""
        self._stack.children[name].kill()

    async def roll(self) -> None:
        """Stop and start each of the three, one after the other."""
        for name in ("w1", "w2", "w3"):
            await self.stop(name)
            await self.start(name)
            await self._stack.serving("w1", "w2", "w3")
            await asyncio.sleep(1)


async def _ended(child: Child) -> bool:
    return not child.running


def delays(stack: Stack) -> list[tuple[float, float]]:
    """Return of each event when its notification was taken (s since 1970), and its delay."""
    taken = {}
    for record in read_topic(stack.bootstrap, stack.names.notifications):
        notification = decode_notification(record.value() or b"")
        about = msgspec.json.decode(notification.payload)["instance_id"]
        taken[about, notification.received_at] = record.timestamp()[1] / 1000
    found: dict[str, tuple[float, float]] = {}
    for record in read_topic(stack.bootstrap, stack.names.events):
        event = decode_event(record.value() or b"")
        at = taken[event.instance_id, event.changed_at]
        found.setdefault(event.id, (at, record.timestamp()[1] / 1000 - at))
    if len(found) != len(taken):
        raise RuntimeError(f"{len(found)} events of {len(taken)} notifications")
    return list(found.values())


def report(drill: Drill, clients: dict[str, Client], late: list[tuple[float, float]]) -> None:
    """Print the table."""
    print("| what | s | client | asked | refused | gap, s | slowest, s | event late, s |")
    print("|---|---|---|---|---|---|---|---|")
    for span in drill.spans:
        during = [delay for at, delay in late if span.begun <= at <= span.ended]
        for name, client in clients.items():
            asked = [one for one in client.asked if span.begun <= one.begun <= span.ended]
            refused = [one for one in asked if one.got != "200"]
            slowest = max((one.ended - one.begun for one in asked if one.got == "200"), default=0)
            print(
                f"| {span.what} | {span.ended - span.begun:.1f} | {name} | {len(asked)} "
                f"| {len(refused)} | {longest_gap(asked):.2f} | {slowest:.2f} "
                f"| {max(during, default=0):.2f} |"
            )
            why: dict[str, int] = {}
            for one in refused:
                why[one.got] = why.get(one.got, 0) + 1
            for got, count in sorted(why.items()):
                print(f"    {count} x {got}")


async def run(
    folder: Path, rate: float, instances: int, session: float, steps: Sequence[str]
) -> None:
    """Run the drill and print the table."""
    sections = ""
    with new_kafka(folder / "kafka") as kafka:
        async with Stack(folder, kafka.bootstrap, [CLOUD], sections) as stack:
            config = folder / "vimfed.toml"
            text = config.read_text().replace("session_timeout = 6", f"session_timeout = {session}")
            config.write_text(text)
            for name in ("w1", "w2", "w3"):
                stack.start_worker(name)
            await stack.serving("w1", "w2", "w3", within=120)
            load = Load(
                kafka.bootstrap,
                stack.names.notifications,
                PARTITIONS,
                instances=instances,
                rate=rate,
            )
            load.start()
            balancer = Balancer(stack)
            clients = {
                "status": Client(balancer, load, one=False),
                "instance": Client(balancer, load, one=True),
            }
            await asyncio.sleep(3)
            tasks = [asyncio.create_task(balancer.probe())]
            await asyncio.sleep(1)
            tasks += [asyncio.create_task(client.run()) for client in clients.values()]
            await asyncio.sleep(2)
            drill = Drill(stack, list(clients.values()))
            three = ("w1", "w2", "w3")
            await drill.during("nothing", lambda: asyncio.sleep(0))
            if "scale" in steps:
                await drill.during("3 to 4", lambda: drill.start("w4"), *three, "w4")
                await drill.during("4 to 3, SIGTERM", lambda: drill.stop("w4"), *three)
            if "kill" in steps:
                await drill.during("kill -9", lambda: drill.kill("w2"), "w1", "w3")
                await drill.during("it is back", lambda: drill.start("w2"), *three)
            if "roll" in steps:
                await drill.during("each of 3 restarted", drill.roll, *three)
            await asyncio.sleep(2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            load.stop()
            await asyncio.sleep(2)
            report(drill, clients, delays(stack))


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--session", type=float, default=6)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--keep", type=Path, help="a new folder for logs and data")
    arguments = parser.parse_args()
    options = arguments.rate, arguments.instances, arguments.session, arguments.steps
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
        asyncio.run(run(arguments.keep, *options))
        return
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name), *options))


if __name__ == "__main__":
    main()
