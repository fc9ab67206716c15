"""How fast the pure core reads nova: decode, normalise, transition, encode, and all of it.

    python -m benchmarks.core [--fast] [-o result.json]
    make compiled && cd .cache/compiled && ../../.venv/bin/python -m benchmarks.core

Times are CPU times per notification of the recorded plain run (tests/data/nova-34-trace.jsonl.gz):
what one core needs. ``core`` is what the stream worker does with fetched batches, without Kafka and
RocksDB: an instance's row is decoded when a batch first needs it, and encoded once at its end.
``fold`` is what it calls for that, which takes hosts, alarms and bounds into account as well; with
``one by one`` it gets each record alone, as on an ordinary day.
"""

import inspect
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import pyperf

from streams.core.fold import fold
from streams.core.news import InstanceNews, Passed
from streams.core.normalise import decode_notification, normalise
from streams.core.transition import transition
from tests.support.traces import PLAIN, notifications
from vimfed.model.keys import instance_key
from vimfed.model.records import (
    InstanceState,
    Notification,
    VmEvent,
    decode_row,
    encode_event,
    encode_row,
)
from vimfed.nova.oslo import instance_id_of

BATCH = 500
FORM = "interpreted" if inspect.isfunction(transition) else "compiled"

_Batch = TypeVar("_Batch")


class _Record(NamedTuple):
    """A record of the notifications topic."""

    key: bytes
    value: bytes
    offset: int
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


Written = tuple[dict[str, InstanceState], list[VmEvent]]
"""What a batch makes of its notifications: the rows that it changed, and its events."""


def decode(records: Sequence[bytes]) -> list[Notification]:
    """Read records of the notifications topic."""
    return [decode_notification(record) for record in records]


def normalise_all(read: Sequence[Notification]) -> list[InstanceNews | Passed]:
    """Say what each notification tells."""
    return [normalise(notification) for notification in read]


def change(news: Sequence[InstanceNews | Passed], table: dict[str, bytes]) -> Written:
    """Return what a batch of news changes in ``table``, and tells."""
    rows: dict[str, InstanceState] = {}
    events: list[VmEvent] = []
    for offset, one in enumerate(news):
        if isinstance(one, Passed):
            continue
        row = rows.get(one.instance_id)
        if row is None and one.instance_id in table:
            row = decode_row(table[one.instance_id])
        outcome = transition(row, one, offset)
        if outcome.row is not None:
            rows[one.instance_id] = outcome.row
        events.extend(outcome.events)
    return rows, events


def encode(written: Written, table: dict[str, bytes]) -> list[bytes]:
    """Write rows into ``table`` and return the encoded events."""
    rows, events = written
    for instance_id, row in rows.items():
        table[instance_id] = encode_row(row)
    return [encode_event(event) for event in events]


def fold_all(records: Sequence[_Record], size: int) -> None:
    """Fold batches of ``size`` records, with rows that lie as bytes in a table."""
    table: dict[bytes, bytes | None] = {}

    def read_row(key: bytes) -> InstanceState | None:
        row = table.get(key)
        return None if row is None else decode_row(row)

    for first in range(0, len(records), size):
        table |= fold(records[first : first + size], read_row).rows


def stages(records: Sequence[bytes]) -> dict[str, Callable[[], object]]:
    """Return what to measure, each over all ``records``."""
    batches = [records[first : first + BATCH] for first in range(0, len(records), BATCH)]
    read = [decode(batch) for batch in batches]
    news = [normalise_all(batch) for batch in read]
    keyed = [
        _Record(instance_key(one.vim_id, instance_id_of(one.payload)), record, offset)
        for offset, (one, record) in enumerate(
            zip((one for batch in read for one in batch), records, strict=True)
        )
    ]
    table: dict[str, bytes] = {}
    written = []
    for batch in news:
        written.append(change(batch, table))
        encode(written[-1], table)

    def core() -> None:
        table: dict[str, bytes] = {}
        for batch in batches:
            encode(change(normalise_all(decode(batch)), table), table)

    def only_change() -> None:
        # Rows stay decoded: decoding and encoding them are measured with the rest.
        rows: dict[str, InstanceState] = {}
        for batch in news:
            for offset, one in enumerate(batch):
                if not isinstance(one, Passed):
                    outcome = transition(rows.get(one.instance_id), one, offset)
                    if outcome.row is not None:
                        rows[one.instance_id] = outcome.row

    return {
        "decode": lambda: _for_each(batches, decode),
        "normalise": lambda: _for_each(read, normalise_all),
        "transition": only_change,
        "encode": lambda: _for_each(written, lambda batch: encode(batch, {})),
        "core": core,
        "fold": lambda: fold_all(keyed, BATCH),
        "fold, one by one": lambda: fold_all(keyed, 1),
    }


def _for_each(batches: Sequence[_Batch], stage: Callable[[_Batch], object]) -> None:
    for batch in batches:
        stage(batch)


def main() -> None:
    """Measure each stage."""
    runner = pyperf.Runner(processes=5)
    runner.metadata["core"] = FORM
    if not runner.parse_args().worker:
        print(f"The core is {FORM}.")
    records = [msgspec.json.encode(notification) for notification in notifications(PLAIN)]
    for name, stage in stages(records).items():

        def measure(loops: int, stage: Callable[[], object] = stage) -> float:
            started = time.process_time()
            for _ in range(loops):
                stage()
            return time.process_time() - started

        runner.bench_time_func(name, measure, inner_loops=len(records))


if __name__ == "__main__":
    main()
