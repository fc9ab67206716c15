"""In memory: the newest values of those meters that somebody asks for again and again.

A row of the meters table holds all meters of its instance or host, some 10 kB of JSON. The first
search for a meter reads all rows, chunk by chunk; what it finds is kept, brought up to date as rows
are written, and forgotten when nobody asks for a while, or others need the room.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from sys import intern

import msgspec

from streams.engine.row_table import RowTable
from vimfed.model.records import Recorded
from vimfed.model.samples import MeterKind

CHUNK = 200
"""Rows that are read before others have their turn: some 5 ms."""
KNOWN_CHUNK = 1000
"""The same, of what is known."""
MAX_METERS = 8
MAX_VALUES = 200_000
"""Values of all meters together that are kept: some 100 MB."""
UNUSED = 900.0
"""Seconds after which a meter that nobody has asked for is forgotten."""


class Measured(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Of what the values are, and when; texts as in Measurement."""

    instance_id: str = ""
    host: str = ""
    begin: str
    end: str
    tenant_id: str = ""
    display_name: str = ""
    vm_state: str = ""


class NewestValue(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The newest value of a meter; as in MeterValue."""

    meter: str
    device: str = ""
    unit: str = ""
    kind: MeterKind = "gauge"
    volume: float
    rate: float | None = None
    delta: float | None = None


class Newest(msgspec.Struct, frozen=True, gc=False):
    """What the newest interval of a row says of one meter."""

    of: Measured
    values: tuple[NewestValue, ...]
    """One for each device, in their order."""


class _Measurement(Measured, frozen=True, gc=False, kw_only=True):
    values: tuple[NewestValue, ...]


class _Row(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of an encoded MetersState as is looked at."""

    measurements: tuple[_Measurement, ...] = ()


_decode_row = msgspec.json.Decoder(_Row).decode

Found = tuple[bytes, Newest]
"""With the key of its row."""


def newest_in(row: bytes, meters: Iterable[str]) -> Iterator[tuple[str, Newest]]:
    """Yield what an encoded row says of each of some meters that it has values of."""
    measurements = _decode_row(row).measurements
    if not measurements:
        return
    newest = measurements[-1]
    for meter in meters:
        values = tuple(_interned(each) for each in newest.values if each.meter == meter)
        if values:
            yield meter, Newest(_head(newest), values)


def _head(told: _Measurement) -> Measured:
    """Return what a measurement says but for its values; what many have alike is there once."""
    return Measured(
        instance_id=told.instance_id,
        host=intern(told.host),
        begin=intern(told.begin),
        end=intern(told.end),
        tenant_id=intern(told.tenant_id),
        display_name=told.display_name,
        vm_state=intern(told.vm_state),
    )


def _interned(value: NewestValue) -> NewestValue:
    meter, device, unit = map(intern, (value.meter, value.device, value.unit))
    return msgspec.structs.replace(value, meter=meter, device=device, unit=unit)


class _Known:
    """What is known of a meter in one partition."""

    def __init__(self, taken_in: int) -> None:
        self.taken_in = taken_in
        """The generation of the group in which the partition became ours: what was known of it in
        an earlier one is void."""
        self.found: dict[bytes, Newest] = {}
        self.size = 0
        """Values."""
        self.is_whole = False
        """Whether all rows were read."""
        self.written: set[bytes] = set()
        """While they are: keys of rows that were written meanwhile."""

    def put(self, key: bytes, newest: Newest | None) -> None:
        before = self.found.pop(key, None)
        self.size -= 0 if before is None else len(before.values)
        if newest is not None:
            self.found[key] = newest
            self.size += len(newest.values)


class _Meter:
    """What is known of a meter."""

    def __init__(self) -> None:
        self.asked_at = 0.0
        self.partitions: dict[int, _Known] = {}

    @property
    def size(self) -> int:
        return sum(known.size for known in self.partitions.values())


class NewestValues:
    """The newest values in the partitions of the meters table that this worker owns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._meters: dict[str, _Meter] = {}
        """The one that was asked for last is the last one."""

    def write(self, partition: int, rows: Mapping[bytes, bytes | None]) -> None:
        """Take encoded rows that were written; one that is None was deleted."""
        self._forget_unused()
        known = {
            name: meter.partitions[partition]
            for name, meter in self._meters.items()
            if partition in meter.partitions
        }
        if not known:
            return
        for key, row in rows.items():
            newest = {} if row is None else dict(newest_in(row, known))
            for name, each in known.items():
                each.put(key, newest.get(name))
                if not each.is_whole:
                    each.written.add(key)
        self._make_room()

    async def of(
        self, name: str, table: RowTable, partition: int
    ) -> AsyncIterator[Sequence[Found]]:
        """Yield chunk by chunk what the rows of a partition of ours say of a meter.

        Others have their turn after each chunk. What is written meanwhile may be seen or not. Who
        asks finds out whether the partition is still ours.
        """
        meter, taken_in = self._asked(name), table.taken_in[partition]
        known = meter.partitions.get(partition)
        if known is not None and known.taken_in != taken_in:
            known = None
        if known is not None and known.is_whole:
            items = iter(list(known.found.items()))
            while chunk := list(islice(items, KNOWN_CHUNK)):
                yield chunk
                await asyncio.sleep(0)
            return
        learnt = _Known(taken_in)
        if known is None:  # else another search reads them already
            meter.partitions[partition] = learnt
        try:
            rows = table.partition(partition).items()
            while read := list(islice(rows, CHUNK)):
                chunk = [(key, newest) for key, row in read for _, newest in newest_in(row, {name})]
                if self._keeps(name, partition, learnt):
                    for key, newest in chunk:
                        if key not in learnt.written:
                            learnt.put(key, newest)
                    self._make_room()
                yield chunk
                await asyncio.sleep(0)
            learnt.is_whole = True
            learnt.written.clear()
        finally:
            if not learnt.is_whole and self._keeps(name, partition, learnt):
                del meter.partitions[partition]

    def _keeps(self, name: str, partition: int, known: _Known) -> bool:
        meter = self._meters.get(name)
        return meter is not None and meter.partitions.get(partition) is known

    def _asked(self, name: str) -> _Meter:
        self._forget_unused()
        meter = self._meters.pop(name, _Meter())
        self._meters[name] = meter
        meter.asked_at = self._clock()
        if len(self._meters) > MAX_METERS:
            del self._meters[next(iter(self._meters))]
        return meter

    def _forget_unused(self) -> None:
        before = self._clock() - UNUSED
        for name in [name for name, meter in self._meters.items() if meter.asked_at < before]:
            del self._meters[name]

    def _make_room(self) -> None:
        """Forget what was not asked for for the longest, until the values are not too many."""
        while self._meters and sum(each.size for each in self._meters.values()) > MAX_VALUES:
            del self._meters[next(iter(self._meters))]

    @property
    def size(self) -> int:
        """How many values are kept."""
        return sum(meter.size for meter in self._meters.values())
