"""VES messages of the domain measurement, for which 7.2.1 and 7.1 have the same fields.

What VES has a field for stands there, in its unit; every other value stands among the
``additionalMeasurements`` as it is. A message follows from the measurement alone.
"""

import math
from collections.abc import Iterable, Mapping

from streams.publisher.ves_header import (
    Happening,
    Json,
    Subject,
    header,
    host_subject,
    microseconds,
    ves_message_of,
    vm_subject,
)
from vimfed.model.samples import CPU_UTIL, MEMORY_UTIL, Measurement, MeterValue, series_name
from vimfed.settings import DmaapOutput

_Left = dict[tuple[str, str], MeterValue]
"""The values that no field has yet, by meter and device."""

_CPU = {
    CPU_UTIL: "percentUsage",
    "compute.node.cpu.percent": "percentUsage",
    "compute.node.cpu.user.percent": "cpuUsageUser",
    "compute.node.cpu.kernel.percent": "cpuUsageSystem",
    "compute.node.cpu.idle.percent": "cpuIdle",
    "compute.node.cpu.iowait.percent": "cpuWait",
}
_MEMORY = {
    "memory": "memoryConfigured",
    "memory.usage": "memoryUsed",
    "memory.swap.in": "memorySwapInAvg",
    "memory.swap.out": "memorySwapOutAvg",
}
_KIBIBYTES = {"MB": 1024.0, "MiB": 1024.0, "GB": 1024.0**2, "GiB": 1024.0**2, "KiB": 1.0}
"""By the unit of a memory meter; OpenStack's MB are 2**20 bytes, too."""

_DISK_RATES = {
    "disk.device.read.bytes": "diskOctetsReadAvg",
    "disk.device.write.bytes": "diskOctetsWriteAvg",
    "disk.device.read.requests": "diskOpsReadAvg",
    "disk.device.write.requests": "diskOpsWriteAvg",
}
_DISK_LATENCIES = {
    "disk.device.read.latency": ("disk.device.read.requests", "diskTimeReadAvg"),
    "disk.device.write.latency": ("disk.device.write.requests", "diskTimeWriteAvg"),
}
"""How long all operations together took, in ns: the meter that counts them, and VES's field."""

_PORT = {
    f"network.{way}.{what}": f"{told}{packets}"
    for way, told in (("incoming", "received"), ("outgoing", "transmitted"))
    for what, packets in (
        ("bytes", "Octets"),
        ("packets", "TotalPackets"),
        ("packets.drop", "DiscardedPackets"),
        ("packets.error", "ErrorPackets"),
    )
}


def ves_measurement(told: Measurement, output: DmaapOutput) -> bytes:
    """Return the JSON of a measurement's message, ``{"event": ...}``."""
    subject = (
        vm_subject(told.instance_id, told.display_name, told.tenant_id)
        if told.instance_id
        else host_subject(told.vim_id, told.host)
    )
    happening = Happening(told.id, told.vim_id, told.begin, told.end)
    head = header(happening, subject, "measurement", "Normal", output)
    fields = {
        "additionalFields": _about(told),
        "measurementFieldsVersion": "4.0",
        "measurementInterval": (microseconds(told.end) - microseconds(told.begin)) / 1e6,
        **_arrays(told, subject),
    }
    head["eventName"] = f"Measurement_MultiCloud_{subject.word}"
    return ves_message_of({"commonEventHeader": head, "measurementFields": fields})


def _about(told: Measurement) -> dict[str, str]:
    """Return what consumers may want to know beside VES's own fields."""
    about = {
        "vimId": told.vim_id,
        "tenantId": told.tenant_id,
        "vmState": told.vm_state,
        "host": told.host,
    }
    return {name: value for name, value in about.items() if value}


def _arrays(told: Measurement, subject: Subject) -> Json:
    """Return VES's arrays, without those that are empty."""
    left = {(value.meter, value.device): value for value in told.values}
    arrays = {
        "cpuUsageArray": _cpus(left),
        "memoryUsageArray": _memories(left, subject),
        "diskUsageArray": _disks(left),
        "nicPerformanceArray": _ports(left),
        "additionalMeasurements": [_additional(value) for value in left.values()],
    }
    return {name: array for name, array in arrays.items() if array}


def _cpus(left: _Left) -> list[Json]:
    """Return how busy all virtual CPUs, or those of the host, are together."""
    fields: Json = {}
    for meter, field in _CPU.items():  # percentUsage, without which VES takes none, is the first
        is_usage = field == "percentUsage"
        if (meter, "") in left and is_usage != ("percentUsage" in fields):
            fields[field] = left.pop((meter, "")).volume
    return [{"cpuIdentifier": "all", **fields}] if fields else []


def _memories(left: _Left, subject: Subject) -> list[Json]:
    """Return how full the memory is, in KiB, where both its size and its use are known.

    OpenStack tells the size once an hour at most; in other intervals it follows from the share that
    is used.
    """
    placed = [
        meter for meter in _MEMORY if (meter, "") in left and left[meter, ""].unit in _KIBIBYTES
    ]
    fields = {
        _MEMORY[meter]: left[meter, ""].volume * _KIBIBYTES[left[meter, ""].unit]
        for meter in placed
    }
    share = left.get((MEMORY_UTIL, ""))
    if share is not None and share.volume > 0 and "memoryUsed" in fields:
        fields.setdefault("memoryConfigured", fields["memoryUsed"] / share.volume * 100)
    if not {"memoryConfigured", "memoryUsed"} <= fields.keys() or not _are_finite(fields):
        return []
    fields["memoryFree"] = max(0.0, fields["memoryConfigured"] - fields["memoryUsed"])
    if share is not None:
        placed.append(MEMORY_UTIL)
        fields["percentMemoryUsage"] = share.volume
    for meter in placed:
        del left[meter, ""]
    return [{"vmIdentifier": subject.id, **fields}]


def _disks(left: _Left) -> list[Json]:
    """Return octets and operations a second of each disk, and how long an operation took, in ms."""
    disks: dict[str, Json] = {}
    # First the times, which need the operations of the same disk.
    for (meter, device), value in list(left.items()):
        operations, field = _DISK_LATENCIES.get(meter, ("", ""))
        counted = left.get((operations, device))
        if device and value.unit == "ns" and value.delta is not None and counted and counted.delta:
            took = {field: value.delta / counted.delta / 1e6}
            if _are_finite(took):
                disks.setdefault(device, {}).update(took)
                del left[meter, device]
    for (meter, device), value in list(left.items()):
        if device and meter in _DISK_RATES and value.rate is not None:
            disks.setdefault(device, {})[_DISK_RATES[meter]] = value.rate
            del left[meter, device]
    return [{"diskIdentifier": device, **fields} for device, fields in sorted(disks.items())]


def _ports(left: _Left) -> list[Json]:
    """Return what came and went through each port: counted in all, and in the interval."""
    ports: dict[str, Json] = {}
    for (meter, device), value in list(left.items()):
        if device and meter in _PORT and value.kind == "cumulative":
            port = ports.setdefault(device, {"valuesAreSuspect": "false"})
            port[f"{_PORT[meter]}Accumulated"] = value.volume
            if value.delta is not None:
                port[f"{_PORT[meter]}Delta"] = value.delta
            del left[meter, device]
    return [{"nicIdentifier": device, **fields} for device, fields in sorted(ports.items())]


def _are_finite(fields: Mapping[str, float]) -> bool:
    """Return whether numbers that were computed can be written as JSON."""
    return all(map(math.isfinite, fields.values()))


def _additional(value: MeterValue) -> Json:
    """Return a value as VES's named map of texts."""
    told: Iterable[tuple[str, str | float | None]] = (
        ("meter", value.meter),
        ("device", value.device),
        ("kind", value.kind),
        ("unit", value.unit),
        ("volume", value.volume),
        ("at", value.at),
        ("rate", value.rate),
        ("delta", value.delta),
    )
    texts = {name: str(each) for name, each in told if each is not None and each != ""}
    return {"name": series_name(value.meter, value.device), "hashMap": texts}
