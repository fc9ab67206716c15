"""What a sample of ceilometer's is about: an instance or one of its devices, a host, or neither."""

import re
from typing import Any, NamedTuple

from msgspec import Struct

from vimfed.alerts.subject import Subject, is_host, is_instance_id

_OF_INSTANCES = re.compile(
    r"(cpu|memory|disk|network\.(incoming|outgoing)|perf|power|compute\.instance)\.|"
    r"(cpu|cpu_util|vcpus|memory|memory_util|instance)$"
)
"""Meters of instances: what their samples are about may be their resource alone."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=-|$)")
_NODE_METERS = "compute.node."
"""Those that ceilometer makes of nova's ``compute.metrics.update``."""
_SENSOR_METERS = "hardware.ipmi."


class Metadata(Struct, gc=False):
    """What of a sample's ``resource_metadata`` is read: each may be anything."""

    instance_id: Any = None
    disk_name: Any = None
    vnic_name: Any = None
    """Names of a device."""
    cpu_number: Any = None
    vcpus: Any = None
    host: Any = None
    """Of a node meter: nova's publisher_id."""
    node: Any = None
    """Of a sensor: the host that has it."""


class About(NamedTuple):
    """An instance or a host, and what of it."""

    subject: Subject
    device: str = ""


def about(meter: str, resource_id: str, metadata: Metadata) -> About | None:
    """Return what a sample is about; None: neither an instance nor a host."""
    if meter.startswith(_NODE_METERS):
        return _host(_node_host(resource_id, _text(metadata.host)))
    if meter.startswith(_SENSOR_METERS):
        node = _text(metadata.node)
        return _host(node, resource_id.removeprefix(f"{node}-"))
    instance_id = _text(metadata.instance_id)
    if not instance_id and _OF_INSTANCES.match(meter):
        found = _UUID.match(resource_id)
        instance_id = found[0] if found else ""
    if not is_instance_id(instance_id):
        return None
    return About(Subject(instance_id=instance_id), _device(resource_id, instance_id, metadata))


def _device(resource_id: str, instance_id: str, metadata: Metadata) -> str:
    """Return the name of the device that a sample is about; empty: the instance itself.

    A disk's or port's own name, else its resource without the instance; of a volume that is its id.
    """
    if resource_id in ("", instance_id):
        return ""
    named = _text(metadata.disk_name) or _text(metadata.vnic_name)
    return named or resource_id.removeprefix(f"{instance_id}-")


def _node_host(resource_id: str, publisher_id: str) -> str:
    """Return nova's host of a node meter, whose resource is ``<host>_<node>``.

    Either may have underscores, so that it takes the node's name, with which nova publishes
    (``compute.<node>``), to part them.
    """
    node = publisher_id.partition(".")[2]
    return resource_id.removesuffix(f"_{node}") if node else resource_id.partition("_")[0]


def _host(name: str, device: str = "") -> About | None:
    return About(Subject(host=name), device) if is_host(name) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
