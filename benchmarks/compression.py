"""What compressing the recorded notifications saves, and costs.

CPU time and size of aiokafka's record batches, written and read again, without a broker.
"""

import gzip
import json
import time
from collections.abc import Iterator, Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from vimfed.process.project_files import project_file

TRACE = project_file("tests/data/nova-34-trace.jsonl.gz")
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Kafka's numbers."""
KEY = b"CloudOwner_RegionOne/4f398943-7d39-4119-8058-0123456789ab"
BATCHES = (1, 10, 100, 500)


def bodies() -> list[bytes]:
    """Return the bodies of the recorded notifications."""
    with gzip.open(TRACE) as lines:
        return [json.loads(line)["body"].encode() for line in lines]


def written(values: Sequence[bytes], size: int, codec: int) -> Iterator[bytes]:
    """Yield the values as record batches of ``size`` records."""
    for begin in range(0, len(values), size):
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=100_000_000,
        )
        for offset, value in enumerate(values[begin : begin + size]):
            builder.append(offset, 0, KEY, value, [])
        yield bytes(builder.build())


def read(batches: Sequence[bytes]) -> int:
    """Read the batches; return how many records they hold."""
    count = 0
    for batch in batches:
        records = MemoryRecords(batch)
        while records.has_next():
            count += sum(1 for _record in records.next_batch())
    return count


def main() -> None:
    """Print a row for each size of batch and codec."""
    values = bodies()
    print(
        "| records a batch | codec | bytes a record | write, µs | read, µs |\n|---|---|---|---|---|"
    )
    for size in BATCHES:
        for name, codec in CODECS.items():
            begun = time.process_time()
            batches = list(written(values, size, codec))
            between = time.process_time()
            assert read(batches) == len(values)
            ended = time.process_time()
            share = len(values) / 1e6
            print(
                f"| {size} | {name} | {sum(map(len, batches)) / len(values):.0f} "
                f"| {(between - begun) / share:.1f} | {(ended - between) / share:.1f} |"
            )


if __name__ == "__main__":
    main()
