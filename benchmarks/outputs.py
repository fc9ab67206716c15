"""How fast one publisher is, by kind of output.

    python -m benchmarks.outputs [--events 100000]

A publisher that was not running finds all events waiting. Rates count from the first arrival to the
last; the publisher's CPU time includes its start. The outputs: DMaaP's Kafka (here the job's own);
a stand-in for the Message Router that parses each message and keeps it, in this process; and
``vimfed gateway`` in front of Kafka, in a process of its own. All share the machine.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.latency import arrived, create_dmaap_topic
from tests.e2e.stack import Stack, eventually
from tests.support.brokers import new_kafka
from tests.support.message_router import MessageRouter
from tests.support.topics import read_topic
from tests.support.vm_events import create_topics, vm_event, write_events
from vimfed.process.ports import free_ports

INSTANCES = 1000


class Rate(NamedTuple):
    """Events per second, and per second of the publisher's CPU time."""

    per_second: float
    per_cpu_second: float


async def publish(
    stack: Stack, count: int, all_there: Callable[[], Awaitable[float]], *options: str
) -> Rate:
    """Write events, start a publisher, and measure; ``all_there`` returns the seconds they took."""
    await create_topics(stack.bootstrap, stack.prefix)
    events = (vm_event(f"vm-{number % INSTANCES}") for number in range(count))
    await asyncio.to_thread(write_events, stack.bootstrap, stack.prefix, events)
    publisher = stack.start("publisher", "publisher", "--port", "0", *options)
    seconds = await all_there()
    cpu = sum(psutil.Process(publisher.pid).cpu_times()[:2])
    return Rate(count / seconds, count / cpu)


async def seconds_on_kafka(stack: Stack, count: int) -> float:
    """Wait for all events on DMaaP's topic; return how long they took, by the broker's clock."""
    await arrived(stack, count, 600)
    stamps = [r.timestamp()[1] for r in read_topic(stack.bootstrap, stack.dmaap_topic)]
    return (max(stamps) - min(stamps)) / 1000


async def to_kafka(folder: Path, bootstrap: str, count: int) -> Rate:
    """Measure the output to Kafka."""
    async with Stack(folder, bootstrap, []) as stack:
        create_dmaap_topic(stack)
        return await publish(
            stack, count, lambda: seconds_on_kafka(stack, count), "--output", "dmaap"
        )


def output(url: str, *, gzip: bool) -> str:
    """Return the settings of a Message Router output."""
    zipped = str(gzip).lower()
    return f'[[dmaap.outputs]]\nname = "mr"\nurl = "{url}"\ngzip = {zipped}\n'


async def to_message_router(folder: Path, bootstrap: str, count: int, *, gzip: bool) -> Rate:
    """Measure the output to the stand-in."""
    async with (
        MessageRouter() as router,
        Stack(folder, bootstrap, [], output(router.url, gzip=gzip)) as stack,
    ):

        async def all_there() -> float:
            async def enough() -> bool:
                return len(router.messages) >= count

            await eventually(enough, within=600)
            return router.requests[-1][0] - router.requests[0][0]

        return await publish(stack, count, all_there, "--output", "mr")


async def to_gateway(folder: Path, bootstrap: str, count: int, *, gzip: bool) -> Rate:
    """Measure the output to our own gateway, until the events are on its Kafka."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/events/"
    async with Stack(folder, bootstrap, [], f"[gateway]\nport = {port}\n") as stack:
        config = folder / "vimfed.toml"
        config.write_text(config.read_text() + output(url + stack.dmaap_topic, gzip=gzip))
        create_dmaap_topic(stack)
        stack.start("gateway")  # it listens by the time that the events are written
        return await publish(stack, count, lambda: seconds_on_kafka(stack, count), "--output", "mr")


async def measure(folder: Path, count: int) -> None:
    """Run everything and print the table."""
    jobs: dict[str, Callable[[Path, str], Awaitable[Rate]]] = {
        "Kafka": lambda folder, kafka: to_kafka(folder, kafka, count),
        "Message Router stand-in, application/cambria": lambda folder, kafka: to_message_router(
            folder, kafka, count, gzip=False
        ),
        "Message Router stand-in, application/cambria-zip": lambda folder, kafka: to_message_router(
            folder, kafka, count, gzip=True
        ),
        "vimfed gateway, application/cambria": lambda folder, kafka: to_gateway(
            folder, kafka, count, gzip=False
        ),
        "vimfed gateway, application/cambria-zip": lambda folder, kafka: to_gateway(
            folder, kafka, count, gzip=True
        ),
    }
    began = time.monotonic()
    print("| output | events/s | events per CPU second of the publisher |\n|---|---|---|")
    for number, (name, job) in enumerate(jobs.items()):
        place = folder / str(number)
        place.mkdir()
        with new_kafka(place / "kafka") as kafka:
            rate = await job(place, kafka.bootstrap)
        print(f"| {name} | {rate.per_second:,.0f} | {rate.per_cpu_second:,.0f} |", flush=True)
    print(f"\n{count:,} events each; {time.monotonic() - began:.0f} s in all")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(measure(Path(name), chosen.events))


if __name__ == "__main__":
    main()
