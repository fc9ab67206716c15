"""Measurements for the tests, and how a worker writes them."""

import uuid
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer

from tests.support.vm_events import VIM_ID
from vimfed.kafka.partitions import partition_of
from vimfed.model.keys import home_key
from vimfed.model.samples import Measurement, MeterValue, encode_measurement

BEGIN, END = "2026-01-01T12:00:00.000000Z", "2026-01-01T12:01:00.000000Z"
TENANT = "943ecb804cdf4103976b8a02cea12fdb"
AT = "2026-01-01T12:00:42.000000Z"


def gauge(meter: str, volume: float, unit: str = "", device: str = "") -> MeterValue:
    """Return the value of a meter that stands for itself."""
    return MeterValue(meter=meter, volume=volume, unit=unit, device=device, at=AT)


def counter(
    meter: str, volume: float, delta: float | None = None, unit: str = "B", device: str = "tap1"
) -> MeterValue:
    """Return the value of a meter that counts, half a minute after the one before it."""
    return MeterValue(
        meter=meter,
        volume=volume,
        unit=unit,
        device=device,
        kind="cumulative",
        at=AT,
        delta=delta,
        rate=None if delta is None else delta / 30,
    )


VALUES = (
    counter("cpu", 61e9, 3e9, "ns", ""),
    gauge("cpu_util", 12.5, "%"),
    counter("disk.device.read.bytes", 5000.0, 600.0, "B", "vda"),
    counter("disk.device.read.latency", 8e6, 3e6, "ns", "vda"),
    counter("disk.device.read.requests", 90.0, 30.0, "request", "vda"),
    gauge("disk.device.usage", 1e9, "B", "vda"),
    counter("disk.device.write.bytes", 7000.0, None, "B", "vdb"),
    gauge("memory", 2048.0, "MB"),
    gauge("memory.usage", 512.0, "MB"),
    gauge("memory_util", 25.0, "%"),
    counter("network.incoming.bytes", 9000.0, 900.0),
    counter("network.outgoing.packets.drop", 4.0),
)
"""What libvirt's pollsters tell of an instance."""


def measurement(instance_id: str = "vm-1", number: int = 0, **fields: Any) -> Measurement:
    """Return the ``number``-th measurement of an instance; ``fields`` override."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{instance_id}/{number}")),
        "vim_id": VIM_ID,
        "instance_id": instance_id,
        "host": "compute-1",
        "begin": BEGIN,
        "end": END,
        "tenant_id": TENANT,
        "display_name": f"name of {instance_id}",
        "vm_state": "active",
        "values": VALUES,
        **fields,
    }
    return Measurement(**values)


def host_measurement(*values: MeterValue) -> Measurement:
    """Return what was measured of a host."""
    return measurement("", tenant_id="", display_name="", vm_state="", values=values)


def key_of(told: Measurement) -> bytes:
    """Return the key under which a measurement lies."""
    return home_key(told.vim_id, told.instance_id, told.host)


def write_measurements(
    bootstrap: str, prefix: str, measurements: Iterable[Measurement], *, partitions: int = 8
) -> None:
    """Write measurements as a worker does."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for told in measurements:
        key = key_of(told)
        partition = partition_of(key, partitions)
        producer.produce(f"{prefix}.measurements", encode_measurement(told), key, partition)
        producer.poll(0)
    assert producer.flush(60) == 0
