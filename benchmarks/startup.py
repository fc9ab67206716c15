"""How long a worker takes from its start until it answers, by what it waits for.

    python -m benchmarks.startup [--instances 100000] [--rounds 3]

One worker with RocksDB, alone in its group, which knows the instances already. It is stopped
(SIGTERM) and started again, with its disk and without it; and killed (kill -9) and started again,
once its session has ended. From each start on /readyz is asked every 20 ms, and the time until it
is 200 divided by what it said: nothing yet (imports, settings, the check of Kafka's topics), that
Kafka has not confirmed the membership, that partitions are being assigned, and that the table is
being recovered (databases opened, what they lack read from the changelog, the index built). What
the imports alone take is measured beside it.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import aiohttp
import msgspec

from tests.chaos.instance_load import Load
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.topics import count_records

PARTITIONS = 8
ASKED_EVERY = 0.02
SESSION = 6
"""Seconds, as the settings of Stack say."""
CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
STAGES = ("no answer", "kafka", "partitions", "table")
"""All but the first are the parts that /readyz names."""

Stages = dict[str, float]
"""Seconds by stage."""


async def started(stack: Stack) -> Stages:
    """Start the worker; return how long it was in which stage until it was ready."""
    took = dict.fromkeys(STAGES, 0.0)
    stack.start_worker()
    since = begun = time.monotonic()
    url = f"http://127.0.0.1:{stack.ports['worker']}/readyz"
    async with aiohttp.ClientSession() as session:
        while stage := await _stage(session, url):
            await asyncio.sleep(ASKED_EVERY)
            now = time.monotonic()
            took[stage] += now - since
            since = now
    return {"to ready": time.monotonic() - begun, **took}


async def _stage(session: aiohttp.ClientSession, url: str) -> str:
    """Return what the worker waits for; empty where it is ready."""
    try:
        async with session.get(url) as answer:
            if answer.status == 200:
                return ""
            wrong: dict[str, str] = msgspec.json.decode(await answer.read())["wrong"]
            return next(iter(wrong))
    except aiohttp.ClientError:
        return "no answer"


async def import_seconds() -> float:
    """Return what a worker's imports take in a process of their own."""
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import web.service")
    if await process.wait():
        raise RuntimeError("a worker cannot be imported")
    return time.monotonic() - begun


class Drill:
    """One worker that ends and starts again."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def with_disk(self) -> Stages:
        """Stop it in order."""
        self._stop()
        return await started(self._stack)

    async def without_disk(self) -> Stages:
        """Stop it in order, and take its data away."""
        self._stop()
        for folder in (self._stack.folder / "state").glob("worker-*"):
            shutil.rmtree(folder)
        return await started(self._stack)

    async def killed(self) -> Stages:
        """Kill it, and wait until Kafka has given it up."""
        self._stack.children["worker"].kill()
        await asyncio.sleep(SESSION + 1)
        return await started(self._stack)

    def _stop(self) -> None:
        worker = self._stack.children["worker"]
        worker.terminate()
        if not worker.wait(30):
            raise RuntimeError("the worker did not end within 30 s")


async def fill(stack: Stack, instances: int) -> None:
    """Let the worker know so many instances."""
    load = Load(stack.bootstrap, stack.names.notifications, PARTITIONS, instances=instances, rate=1)
    await asyncio.to_thread(load.fill)

    async def all_told() -> bool:
        there = await asyncio.to_thread(count_records, stack.bootstrap, stack.names.events)
        return there >= load.count

    await eventually(all_told, within=300, every=0.5)


async def run(folder: Path, instances: int, rounds: int) -> None:
    """Run everything and print the table."""
    found: dict[str, list[Stages]] = {}
    imports = []
    with new_kafka(folder / "kafka") as kafka:
        async with Stack(folder, kafka.bootstrap, [CLOUD]) as stack:
            first = await started(stack)
            await fill(stack, instances)
            drill = Drill(stack)
            ways: dict[str, Callable[[], Awaitable[Stages]]] = {
                "stopped, disk kept": drill.with_disk,
                "stopped, disk lost": drill.without_disk,
                "killed, disk kept": drill.killed,
            }
            for _ in range(rounds):
                imports.append(await import_seconds())
                for way, start in ways.items():
                    found.setdefault(way, []).append(await start())
    print(f"imports alone: {median(imports):.2f} s")
    columns = list(first)
    print(f"| {instances:,} instances | {' | '.join(f'{each}, s' for each in columns)} |")
    print(f"|{'---|' * (len(columns) + 1)}")
    for way, each in {"the first start, none yet": [first], **found}.items():
        cells = [median(one[column] for one in each) for column in columns]
        print(f"| {way} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    # Where Python may not keep what it compiles, each start would compile the project anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name), chosen.instances, chosen.rounds))


if __name__ == "__main__":
    main()
