"""What a query costs a worker's index of instances, and for how long it holds up the event loop.

    python -m benchmarks.index [--instances 100000]

All instances are of one VIM, in 8 partitions of this process. CPU time of the thread, so that other
programs disturb it little.
"""

import argparse
import asyncio
import json
import time
import uuid

import msgspec
import psutil

from streams.worker.instance_index import InstanceIndex, Selection
from tests.support.nova_messages import spec_example
from vimfed.model.records import InstanceState, encode_row

VIM_ID = "CloudOwner_RegionOne"
PARTITIONS = 8
STATES = ("active", "paused", "stopped", "suspended")

ALL = Selection(VIM_ID, lambda _group: True)
QUERIES = {
    "the newest 100, after all have changed": ALL,
    "the newest 100": ALL,
    "the newest 100 that are paused": ALL._replace(
        matches=lambda group: group.vm_state == "paused"
    ),
    "the newest 100 on one host": ALL._replace(passes=lambda entry: entry.host == "compute001"),
    "the newest 100 of one tenant of 300": ALL._replace(tenants=(f"{7:032x}",)),
    "100 whose name has a part": ALL._replace(
        passes=lambda entry: "99" in entry.display_name.casefold()
    ),
    "the first 100 by name": ALL._replace(sort="display_name", descending=False),
    "the first 1000 by name": ALL._replace(sort="display_name", descending=False, limit=1000),
}


def row(number: int) -> bytes:
    """Return an instance's row."""
    minute, second = divmod(number % 3600, 60)
    payload = {
        **spec_example(),
        "display_name": f"vm-{number:07}",
        "host": f"compute{number % 200:03}",
        "tenant_id": f"{number % 300:032x}",
    }
    return encode_row(
        InstanceState(
            vim_id=VIM_ID,
            instance_id=str(uuid.uuid4()),
            vm_state=STATES[number % len(STATES)],
            task_state="",
            kind="POWER_ON",
            phase="end",
            changed_at=f"2026-01-01T12:{minute:02}:{second:02}.{number % 1_000_000:06}Z",
            payload=msgspec.Raw(json.dumps(payload).encode()),
        )
    )


async def measured(index: InstanceIndex, selection: Selection) -> tuple[float, float]:
    """Return the CPU time of a query, and the longest that others waited, in milliseconds."""
    longest = 0.0

    async def others() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    waiting = asyncio.create_task(others())
    await asyncio.sleep(0)
    began = time.thread_time()
    await index.query(selection)
    took = time.thread_time() - began
    waiting.cancel()
    return took * 1000, longest * 1000


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100_000)
    instances = parser.parse_args().instances
    index = InstanceIndex()
    for partition in range(PARTITIONS):
        index.add_partition(partition, [])
    before = psutil.Process().memory_info().rss
    writing = 0.0
    for number in range(instances):
        encoded = row(number)
        began = time.thread_time()
        index.put(number % PARTITIONS, encoded)
        writing += time.thread_time() - began
    print(f"{writing / instances * 1e6:.1f} µs to note a row that was written\n")
    print("| query | CPU ms | others wait for, ms |\n|---|---|---|")
    for name, selection in QUERIES.items():
        took, longest = asyncio.run(measured(index, selection))
        print(f"| {name} | {took:.1f} | {longest:.1f} |")
    memory = psutil.Process().memory_info().rss - before
    print(f"\n{memory / instances:.0f} bytes of memory an instance")


if __name__ == "__main__":
    main()
