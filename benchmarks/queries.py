"""How fast three workers answer over HTTP while they hold many instances of one VIM.

    python -m benchmarks.queries [--instances 100000] [--seconds 20]

A local Kafka, three ``vimfed worker`` processes, one notification per instance. Then clients ask at
a steady rate, each time another worker: check_vim_status for 100 instances, and single instances.
At last one worker is killed and loses its data directory: how long until it answers again.
"""

import argparse
import asyncio
import json
import math
import random
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
import psutil
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks._measuring import cpu_seconds
from tests.e2e.stack import Stack
from tests.support.brokers import new_kafka
from tests.support.nova_messages import spec_example
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import instance_key
from vimfed.model.records import Notification

OWNER, REGION = "CloudOwner", "RegionOne"
VIM_ID = f"{OWNER}_{REGION}"
PARTITIONS = 8
WORKERS = ("one", "two", "three")
STATES = ("active", "paused", "stopped", "suspended")
SPEC_EXAMPLE = spec_example()
DELAYS = "vimfed_worker_event_loop_delay_seconds"
IDLE = 0.15
"""CPU seconds a second that the workers together take at rest."""
LONG = 0.05
"""Seconds: an event loop that pauses for longer keeps others waiting."""

Ask = Callable[[aiohttp.ClientSession, str], Awaitable[int]]


def fill(stack: Stack, instance_ids: list[str], hosts: int = 0) -> None:
    """Write one notification of each instance; they are spread over so many hosts."""
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap,
            "linger.ms": 20,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )
    for number, instance_id in enumerate(instance_ids):
        state = STATES[number % len(STATES)]
        name = f"vm-{number:07}"
        payload = {
            **SPEC_EXAMPLE,
            "instance_id": instance_id,
            "state": state,
            "display_name": name,
            **({"host": host_name(number % hosts)} if hosts else {}),
        }
        minute, second = divmod(number % 3600, 60)
        told = f"2026-01-01 12:{minute:02}:{second:02}.{number % 1_000_000:06}"
        notification = Notification(
            message_id=str(uuid.uuid4()),
            event_type="compute.instance.power_on.end",
            payload=msgspec.Raw(json.dumps({**payload, "state_description": ""}).encode()),
            timestamp=told,
            request_id=f"req-{number}",
            vim_id=VIM_ID,
            path="benchmark",
            sequence=number,
            received_at=told.replace(" ", "T") + "Z",
        )
        key = instance_key(VIM_ID, instance_id)
        producer.produce(
            stack.names.notifications,
            msgspec.json.encode(notification),
            key,
            partition_of(key, PARTITIONS),
        )
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the notifications could not be written")


def host_name(number: int) -> str:
    """Return the name of a host."""
    return f"compute{number:05}"


async def wait_for(stack: Stack, instances: int) -> float:
    """Return after how many seconds every instance is known."""
    began = time.monotonic()
    body = {"states": list(STATES), "limit": 1}
    while True:
        status, answer = await stack.post(f"/{VIM_ID}/check_vim_status", body, "one")
        if status == 200 and answer["count"] == instances:
            return time.monotonic() - began
        if time.monotonic() - began > 600:
            raise RuntimeError(f"after ten minutes: {answer}")
        await asyncio.sleep(0.2)


async def at_rest(stack: Stack) -> float:
    """Return after how many seconds the workers had nothing to do but to wait."""
    began = time.monotonic()
    while True:
        before = sum(cpu_seconds(stack.children[name].pid) for name in WORKERS)
        await asyncio.sleep(1)
        after = sum(cpu_seconds(stack.children[name].pid) for name in WORKERS)
        took = time.monotonic() - began
        if after - before < IDLE:
            return took
        if took > 120:
            raise RuntimeError("the workers are not at rest after two minutes")


async def at_rate(
    session: aiohttp.ClientSession, urls: list[str], rate: float, seconds: float, ask: Ask
) -> tuple[list[float], int]:
    """Ask at a steady rate, whatever the answers take; return the latencies and the refusals."""
    latencies: list[float] = []
    refused = 0

    async def once(url: str, due: float) -> None:
        nonlocal refused
        status = await ask(session, url)
        latencies.append(time.monotonic() - due)
        refused += status != 200

    began = time.monotonic()
    tasks = []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(once(urls[number % len(urls)], due)))
    await asyncio.gather(*tasks)
    return latencies, refused


class LoopWatch:
    """How long the workers' event loops paused since it was asked last."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._before: dict[str, dict[float, float]] = {}

    def forget(self, worker: str) -> None:
        """Begin anew with a worker that was started again."""
        self._before[worker] = {}

    async def told(self) -> str:
        """Return for each worker how many pauses were long, and up to how long they were."""
        return "; ".join([f"{worker}: {await self._told_of(worker)}" for worker in WORKERS])

    async def _told_of(self, worker: str) -> str:
        until = await self._until(worker)
        before = self._before.get(worker, {})
        self._before[worker] = until
        fresh = {bound: count - before.get(bound, 0) for bound, count in until.items()}
        total = fresh[math.inf]
        longest = min(bound for bound, count in fresh.items() if count == total)
        return f"{total - fresh[LONG]:.0f} longer than {LONG * 1000:.0f} ms, {longest:g} s at most"

    async def _until(self, worker: str) -> dict[float, float]:
        """Return how many pauses there were, by the time that they took at most."""
        (family,) = (
            family
            for family in text_string_to_metric_families(await self._stack.text("/metrics", worker))
            if family.name == DELAYS
        )
        return {
            float(sample.labels["le"]): sample.value
            for sample in family.samples
            if "le" in sample.labels
        }


def row(name: str, latencies: list[float], refused: int) -> str:
    """Return a line of the table."""
    cuts = statistics.quantiles(latencies, n=100)
    return f"| {name} | {cuts[49] * 1000:.1f} | {cuts[98] * 1000:.1f} | {refused} |"


async def run(instances: int, seconds: float, folder: Path, bootstrap: str) -> None:
    """Fill, ask, and let one worker recover."""
    instance_ids = [str(uuid.uuid4()) for _ in range(instances)]
    cloud = {"cloud_owner": OWNER, "cloud_region_id": REGION}
    no_quota = "instances_per_cloud = 0"
    async with (
        Stack(folder, bootstrap, [cloud], no_quota) as stack,
        aiohttp.ClientSession() as session,
    ):
        for name in WORKERS:
            stack.start_worker(name)
            await stack.ready(name)
        await stack.serving(*WORKERS)
        loops = LoopWatch(stack)
        print(f"pauses of the event loops at the start: {await loops.told()}")
        fill(stack, instance_ids)
        print(f"{instances} instances known after {await wait_for(stack, instances):.0f} s")
        print(f"pauses of the event loops meanwhile: {await loops.told()}")
        print(f"at rest {await at_rest(stack):.0f} s later")
        urls = [f"http://127.0.0.1:{stack.ports[name]}" for name in WORKERS]

        async def page(session: aiohttp.ClientSession, url: str) -> int:
            body = {"states": [random.choice(STATES)], "limit": 100}
            async with session.post(f"{url}/{VIM_ID}/check_vim_status", json=body) as response:
                await response.read()
                return response.status

        async def single(session: aiohttp.ClientSession, url: str) -> int:
            path = f"/api/multicloud/v1/{OWNER}/{REGION}/instances/{random.choice(instance_ids)}"
            async with session.get(url + path) as response:
                await response.read()
                return response.status

        def listed(query: str) -> Ask:
            async def ask(session: aiohttp.ClientSession, url: str) -> int:
                path = f"/api/multicloud/v1/{OWNER}/{REGION}/instances?{query}"
                async with session.get(url + path) as response:
                    await response.read()
                    return response.status

            return ask

        async def clouds(session: aiohttp.ClientSession, url: str) -> int:
            async with session.get(url + "/api/multicloud/v1/vims") as response:
                await response.read()
                return response.status

        async def healthy(session: aiohttp.ClientSession, url: str) -> int:
            async with session.get(url + "/healthz") as response:
                await response.read()
                return response.status

        print("| query | p50 ms | p99 ms | refused |\n|---|---|---|---|")
        for name, rate, ask in (
            ("check_vim_status, 100 instances", 100, page),
            ("one instance", 100, single),
            ("all clouds with their counts", 100, clouds),
            ("the newest 100 instances", 100, listed("")),
            ("the first 100 by name", 2, listed("sort=display_name")),
            ("100 instances whose name has a part", 2, listed("name=99")),
        ):
            await at_rate(session, urls, rate / 2, 3, ask)  # warm
            asked, beside = await asyncio.gather(
                at_rate(session, urls, rate, seconds, ask),
                at_rate(session, urls, 50, seconds, healthy),
            )
            print(row(f"{name}, {rate}/s", *asked))
            print(f"  beside it /healthz, 50/s: most {max(beside[0]) * 1000:.0f} ms")
            print(f"  pauses of the event loops: {await loops.told()}")
        for name in WORKERS:
            memory = psutil.Process(stack.children[name].pid).memory_info().rss
            print(f"worker {name}: {memory / 1e6:.0f} MB resident")
        stack.children["three"].kill()
        shutil.rmtree(folder / "state" / f"worker-{stack.ports['three']}")
        began = time.monotonic()
        stack.start_worker("three")
        loops.forget("three")
        await stack.ready("three", within=600)
        await stack.serving(*WORKERS, within=600)
        print(f"a wiped worker answers again after {time.monotonic() - began:.1f} s")
        print(f"pauses of the event loops meanwhile: {await loops.told()}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with new_kafka(folder / "kafka") as kafka:
            asyncio.run(run(arguments.instances, arguments.seconds, folder, kafka.bootstrap))


if __name__ == "__main__":
    main()
