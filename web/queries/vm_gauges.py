"""What was measured last of each VM, in Prometheus' text format. Decides, and does nothing."""

from collections.abc import Collection, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.worker.instance_index import IndexEntry
from vimfed.model.records import Recorded
from vimfed.model.samples import CPU_UTIL, MEMORY_UTIL

FRESH = 5
"""Intervals for which a value is told, as Prometheus itself goes by the last one for 5 minutes."""
MAX_BYTES = 32 * 1024 * 1024
"""Of an answer: it is held in memory until all of it is found."""

_CPU, _MEMORY = "vimfed_vm_cpu_util_percent", "vimfed_vm_memory_util_percent"
_METER, _RATE = "vimfed_vm_meter", "vimfed_vm_meter_rate"
_MEASURED = "vimfed_vm_measured_timestamp_seconds"

FAMILIES = {
    _CPU: "how busy the virtual CPUs of a VM were, all together",
    _MEMORY: "how much of its memory a VM used",
    _METER: "any other meter of a VM: the newest value, of a delta meter the sum of the interval",
    _RATE: "of a cumulative meter: by how much it grew in a second, in its unit",
    _MEASURED: "end of the interval that the VM's values are of",
}
"""The gauges, and what they say, in the order in which they are told."""

_PERCENT = {CPU_UTIL: _CPU, MEMORY_UTIL: _MEMORY}
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class VmGaugesParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for gauges of VMs; without parameters all are told."""

    vim_id: Annotated[list[str], Meta(description="of these clouds")] = []
    meter: Annotated[
        list[str], Meta(description="of these meters, such as cpu_util and memory_util")
    ] = []


class TooMuchError(Exception):
    """More is asked for than an answer may hold."""


class _Value(msgspec.Struct, frozen=True, gc=False):
    meter: str
    volume: float
    device: str = ""
    unit: str = ""
    rate: float | None = None


class _Measured(Recorded, frozen=True, gc=False, kw_only=True):
    end: str
    host: str = ""
    tenant_id: str = ""
    display_name: str = ""
    values: tuple[_Value, ...]


class _Newest(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of an encoded MetersState as the gauges tell."""

    measured_until: str = ""
    measurements: tuple[_Measured, ...] = ()


_decode_newest = msgspec.json.Decoder(_Newest).decode


class VmGauges:
    """Collects the lines of each gauge: the format wants them together."""

    def __init__(self, since: str, meters: Collection[str] = ()) -> None:
        """``since``: what was measured before is left out; ``meters``: of these alone, or of all.

        Times are ISO 8601, UTC, microseconds, ``Z``.
        """
        self._since = since
        self._meters = frozenset(meters)
        self._pieces: dict[str, list[bytes]] = {family: [] for family in FAMILIES}
        self._size = 0

    def add(self, vim_id: str, instance_id: str, row: bytes, entry: IndexEntry | None) -> None:
        """Add what an encoded row of the meters table says of an instance.

        ``entry`` is what is known now of the instance; None: nothing. Raises TooMuchError.
        """
        newest = _decode_newest(row)
        if not newest.measurements or newest.measured_until < self._since:
            return
        measured = newest.measurements[-1]
        tenant_id = entry.tenant_id if entry else measured.tenant_id
        which = f'vim_id="{_text(vim_id)}",instance_id="{_text(instance_id)}"'
        whose = (
            f'{{{which},name="{_text(measured.display_name)}",tenant_id="{_text(tenant_id)}",'
            f'host="{_text(measured.host)}"}}'
        )
        lines: dict[str, list[str]] = {_MEASURED: [f"{whose} {_seconds(measured.end)}"]}
        for value in measured.values:
            if self._meters and value.meter not in self._meters:
                continue
            family = None if value.device else _PERCENT.get(value.meter)
            if family is not None:
                lines.setdefault(family, []).append(f"{whose} {value.volume}")
                continue
            what = (
                f'{{{which},meter="{_text(value.meter)}",device="{_text(value.device)}",'
                f'unit="{_text(value.unit)}"}}'
            )
            lines.setdefault(_METER, []).append(f"{what} {value.volume}")
            if value.rate is not None:
                lines.setdefault(_RATE, []).append(f"{what} {value.rate}")
        for family, told in lines.items():
            self._put(family, told)

    def _put(self, family: str, lines: list[str]) -> None:
        piece = "".join(f"{family}{line}\n" for line in lines).encode()
        self._size += len(piece)
        if self._size > MAX_BYTES:
            raise TooMuchError
        self._pieces[family].append(piece)

    def pieces(self) -> Iterator[bytes]:
        """Yield the text in pieces of some kilobytes each."""
        for family, text in FAMILIES.items():
            yield f"# HELP {family} {text}\n# TYPE {family} gauge\n".encode()
            yield from self._pieces[family]


def _text(label: str) -> str:
    """Return a label's value as it stands between quotes."""
    return label.translate(_ESCAPED)


@lru_cache(maxsize=64)
def _seconds(time: str) -> float:
    """Return a time in seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()
