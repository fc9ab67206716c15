"""How many bare states a second one worker takes over HTTP, and how long each request waits.

    python -m benchmarks.ingest [--seconds 15]

A local Kafka, one ``vimfed worker``, one client that pushes states of 2,000 instances. A request is
answered when Kafka has acknowledged it; the worker handles what was pushed at the same time.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka

CLOUD = {"cloud_owner": "CloudOwner", "cloud_region_id": "RegionOne"}
PATH = "/api/multicloud/v1/CloudOwner/RegionOne/notifications"
INSTANCES = 2000
STATES = ("active", "paused")
RATE = 2000

Push = Callable[[list[dict[str, Any]]], Coroutine[Any, Any, float]]


def states() -> Iterator[dict[str, Any]]:
    """Yield bare states of all instances, round after round, each time in another state."""
    for number in count():
        yield {
            "instance_id": f"instance-{number % INSTANCES}",
            "state": STATES[number // INSTANCES % len(STATES)],
            "timestamp": datetime.now(UTC).isoformat(),
        }


async def steady(push: Push, told: Iterator[Any], size: int, seconds: float) -> list[float]:
    """Push RATE states a second, whatever the answers take; return the latencies."""
    began = time.monotonic()
    tasks = []
    for number in range(int(RATE * seconds / size)):
        await asyncio.sleep(max(0.0, began + number * size / RATE - time.monotonic()))
        tasks.append(asyncio.create_task(push([next(told) for _ in range(size)])))
    return list(await asyncio.gather(*tasks))


async def flat_out(push: Push, told: Iterator[Any], size: int, seconds: float) -> list[float]:
    """Push as fast as four clients can, each waiting for its answers; return the latencies."""
    deadline = time.monotonic() + seconds
    latencies: list[float] = []

    async def client() -> None:
        while time.monotonic() < deadline:
            latencies.append(await push([next(told) for _ in range(size)]))

    await asyncio.gather(*(client() for _ in range(4)))
    return latencies


async def lag(stack: Stack) -> float:
    """Return how many notifications the worker has not handled."""
    metrics = await stack.text("/metrics")
    lines = (line for line in metrics.splitlines() if line.startswith("vimfed_worker_lag{"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def run(seconds: float, folder: Path, bootstrap: str) -> None:
    """Push in several sizes."""
    sections = "[web]\ningest_rate = 1000000"
    async with Stack(folder, bootstrap, [CLOUD], sections) as stack:
        stack.start_worker()
        await stack.ready()
        worker = psutil.Process(stack.children["worker"].pid)
        told = states()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def push(pushed: list[dict[str, Any]]) -> float:
                began = time.monotonic()
                url = f"http://127.0.0.1:{stack.ports['worker']}{PATH}"
                async with session.post(url, json=pushed) as response:
                    answer = await response.json()
                    if response.status != 200:
                        raise RuntimeError(f"{response.status}: {answer}")
                return time.monotonic() - began

            async def is_done() -> bool:
                return await lag(stack) == 0

            print("| push | states/s | p50 ms | p99 ms | worker's CPU | all handled after |")
            print("|---|---|---|---|---|---|")
            await steady(push, told, 100, 3)  # warm
            for name, way, size in (
                (f"{RATE} states/s, one a request", steady, 1),
                (f"{RATE} states/s, 10 a request", steady, 10),
                (f"{RATE} states/s, 100 a request", steady, 100),
                ("four clients flat out, 100 a request", flat_out, 100),
            ):
                before, began = sum(worker.cpu_times()[:2]), time.monotonic()
                latencies = await way(push, told, size, seconds)
                took = time.monotonic() - began
                await eventually(is_done, within=120, every=0.05)
                after = time.monotonic() - began - took
                busy = (sum(worker.cpu_times()[:2]) - before) / took
                cuts = [cut * 1000 for cut in statistics.quantiles(latencies, n=100)]
                rate = len(latencies) * size / took
                print(
                    f"| {name} | {rate:,.0f} | {cuts[49]:.1f} | {cuts[98]:.1f} | {busy:.0%} "
                    f"| {after:.2f} s |"
                )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with new_kafka(folder / "kafka") as kafka:
            asyncio.run(run(arguments.seconds, folder, kafka.bootstrap))


if __name__ == "__main__":
    main()
