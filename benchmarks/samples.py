"""How fast the pure core makes measurements of samples.

    python -m benchmarks.samples [--instances 1000] [--intervals 6] [--rounds 5]

Each instance has a record of 30 samples an interval, as ceilometer's pollsters send them of a
server with two disks and one port. Times are CPU times of one core, records encoded before: what a
worker does with fetched records, without Kafka and RocksDB. Rows are read and written as bytes.
"""

import argparse
import statistics
import time
from typing import NamedTuple

import psutil

from streams.core.measurement import Facts
from streams.core.metering import Metered, Metering, Resume, Rules
from tests.support.folded_table import Record, numbered
from tests.support.sample_log import sample, sample_record
from vimfed.model.samples import MeterKind, Sample

INTERVAL = 60
FETCHED = 500
"""Records of one fetch."""
MANY = 5000
"""Instances with so many samples that their memory can be told from everything else's."""
FACTS = Facts("7e8f2b1c9d0a4e5f", "web-1", "compute-17", "active")
DISK = ("read.bytes", "write.bytes", "read.requests", "write.requests", "read.latency")
SIZES = ("capacity", "allocation", "usage")
PORT = ("bytes", "packets", "packets.drop", "packets.error")


def meters() -> list[tuple[str, str, MeterKind]]:
    """Return meter, device and kind of each of the 30 samples."""
    counters = [
        *((f"disk.device.{name}", disk) for disk in ("vda", "vdb") for name in DISK),
        *((f"network.{way}.{name}", "tap0") for way in ("incoming", "outgoing") for name in PORT),
        ("power.state.changes", ""),
        ("cpu", ""),
    ]
    sizes = [(f"disk.device.{name}", disk) for disk in ("vda", "vdb") for name in SIZES]
    gauges = [("memory", ""), ("memory.usage", ""), ("memory.resident", ""), ("vcpus", ""), *sizes]
    return [*((*each, "cumulative") for each in counters), *((*each, "gauge") for each in gauges)]


METERS = meters()


def log(instances: int, intervals: int) -> list[Record]:
    """Return the records of all intervals, in the order in which they come."""
    return numbered(
        sample_record(samples(instance, at), at + 1, instance_id=f"{instance:08x}-0000-4000-8000")
        for begin in range(0, intervals * INTERVAL, INTERVAL)
        for instance in range(instances)
        for at in (begin + instance % (INTERVAL - 1) + 0.25,)
    )


def samples(instance: int, at: float) -> list[Sample]:
    """Return the samples of an instance at a time."""
    return [
        sample(meter, instance + at * 1000, at, device, kind=kind, unit="B", vcpus=2)
        for meter, device, kind in METERS
    ]


class Folded(NamedTuple):
    """What has become of a log."""

    seconds: float
    """CPU time."""
    measurements: int
    row_bytes: int
    """Of a row at the end."""


def fold(records: list[Record]) -> Folded:
    """Fold a log as a worker does."""
    rows: dict[bytes, bytes] = {}
    metering = Metering(Rules(), rows.get, lambda _key: FACTS, Resume(0))
    done = measurements = 0
    started = time.process_time()
    while done < len(records):
        metered = Metered()
        done += metering.fold(records[done : done + FETCHED], metered)
        rows |= metered.rows
        measurements += len(metered.measurements)
    seconds = time.process_time() - started
    return Folded(seconds, measurements, len(max(rows.values(), key=len)))


def held_bytes(records: list[Record]) -> float:
    """Return how much memory a sample of an open interval takes, in bytes."""
    process = psutil.Process()
    metering = Metering(Rules(grace=3600), lambda _key: None, lambda _key: FACTS, Resume(0))
    before = process.memory_info().rss
    metering.fold(records, Metered())
    return (process.memory_info().rss - before) / (len(records) * len(METERS))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--intervals", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    # First, while there is no memory that was freed and can be used again.
    held = held_bytes(log(MANY, 2))
    records = log(asked.instances, asked.intervals)
    taken = len(records) * len(METERS)
    folded = [fold(records) for _round in range(asked.rounds)]
    rates = sorted(taken / each.seconds for each in folded)
    size = statistics.mean(len(each.value or b"") for each in records)
    print(f"{taken} samples, {len(METERS)} a record of {size:.0f} bytes, rounds: {asked.rounds}")
    print(f"{folded[0].measurements} measurements, a row has {folded[0].row_bytes} bytes")
    print(
        f"samples/s of one core: median {statistics.median(rates):,.0f}, "
        f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
    )
    print(f"memory of a sample in an open interval: {held:.0f} bytes")


if __name__ == "__main__":
    main()
