"""The specification's flat payload, and how nova's payloads become one.

Legacy payloads are flat already: their fields pass through as they came, most of them unread.
Versioned payloads are nested objects; docs/notifications.md shows field by field what becomes of
them. What only some notifications carry (``fixed_ips``, ``old_state``, ...) does not belong to the
specification's payload and is left out, whichever format told it.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

_NULL, _EMPTY, _ZERO, _OBJECT = Raw(b"null"), Raw(b'""'), Raw(b"0"), Raw(b"{}")

Text = str | None
Gigabytes = Annotated[int, Meta(ge=0, le=2**53)] | None


class FlatPayload(Struct, gc=False):
    """The specification's payload: all of its fields, absent ones as its empty values.

    What decides is typed; the rest is JSON text that is only passed on.
    """

    state_description: Text = ""
    availability_zone: Raw = _NULL
    terminated_at: Text = ""
    ephemeral_gb: Gigabytes = 0
    instance_type_id: Raw = _NULL
    deleted_at: Text = ""
    reservation_id: Raw = _EMPTY
    memory_mb: Raw = _ZERO
    display_name: Raw = _EMPTY
    hostname: Raw = _EMPTY
    state: Text = ""
    progress: Raw = _EMPTY
    launched_at: Text = ""
    metadata: Raw = _OBJECT
    node: Raw = _NULL
    ramdisk_id: Raw = _EMPTY
    access_ip_v6: Raw = _NULL
    disk_gb: Gigabytes = 0
    access_ip_v4: Raw = _NULL
    kernel_id: Raw = _EMPTY
    host: Text = None
    user_id: Raw = _EMPTY
    image_ref_url: Text = ""
    cell_name: Raw = _EMPTY
    root_gb: Gigabytes = 0
    tenant_id: Text = ""
    created_at: Text = ""
    instance_id: str = ""
    instance_type: Raw = _EMPTY
    vcpus: Raw = _ZERO
    image_meta: Raw = _OBJECT
    architecture: Raw = _NULL
    os_type: Raw = _NULL
    instance_flavor_id: Raw = _EMPTY


class LegacyPayload(FlatPayload, gc=False):
    """A legacy payload: flat, with the old states beside it in an update."""

    old_state: Text | UnsetType = UNSET
    old_task_state: Text | UnsetType = UNSET

    def take_old_states(self) -> tuple[str, str]:
        """Return (old_state, old_task_state) and leave the flat payload alone."""
        old = (self.old_state or "", self.old_task_state or "")
        self.old_state = self.old_task_state = UNSET
        return old


class Flavor(Struct, gc=False):
    """What a versioned FlavorPayload shares with the flat payload."""

    flavorid: Raw = _EMPTY
    memory_mb: Raw = _ZERO
    vcpus: Raw = _ZERO
    root_gb: Gigabytes = 0
    ephemeral_gb: Gigabytes = 0
    name: Raw = _EMPTY

    def disk_gb(self) -> int:
        """Return the size of all disks, as legacy payloads say it."""
        return (self.root_gb or 0) + (self.ephemeral_gb or 0)


class FlavorObject(Struct, gc=False):
    """A Flavor in its versioned-object envelope."""

    data: Flavor = field(name="nova_object.data")


class StateUpdate(Struct, gc=False):
    """The old states in a versioned update."""

    old_state: Text = None
    old_task_state: Text = None


class StateUpdateObject(Struct, gc=False):
    """A StateUpdate in its versioned-object envelope."""

    data: StateUpdate = field(name="nova_object.data")


class VersionedData(Struct, gc=False):
    """What a versioned instance payload tells that we use."""

    uuid: str = ""
    state: Text = None
    task_state: Text = None
    power_state: Text = None
    host: Text = None
    tenant_id: Text = None
    request_id: Text = None
    deleted_at: Text = None
    terminated_at: Text = None
    state_update: StateUpdateObject | None = None
    flavor: FlavorObject | None = None
    launched_at: Text = None
    created_at: Text = None
    image_uuid: Text = None
    progress: Raw = _EMPTY
    user_id: Raw = _EMPTY
    reservation_id: Raw = _EMPTY
    display_name: Raw = _EMPTY
    host_name: Raw = _EMPTY
    node: Raw = _NULL
    os_type: Raw = _NULL
    architecture: Raw = _NULL
    availability_zone: Raw = _NULL
    kernel_id: Raw = _EMPTY
    ramdisk_id: Raw = _EMPTY
    metadata: Raw = _OBJECT


class VersionedPayload(Struct, gc=False):
    """A versioned instance payload: ``nova_object.version`` is major.minor."""

    version: str = field(name="nova_object.version")
    data: VersionedData = field(name="nova_object.data")


class TaskData(Struct, gc=False):
    """A failed task of the conductor: all that both formats tell of the instance."""

    instance_id: str = ""
    instance_uuid: str = ""
    state: Text = None
    request_spec: Raw = _NULL


class TaskPayload(Struct, gc=False):
    """A failed task's versioned payload."""

    version: str = field(name="nova_object.version")
    data: TaskData = field(name="nova_object.data")


class _SpecProperties(Struct, gc=False):
    """A legacy request_spec's instance_properties."""

    project_id: Text = None
    user_id: Raw = _EMPTY
    availability_zone: Raw = _NULL


class _LegacyFlavor(Flavor, gc=False):
    id: Raw = _NULL


class _LegacySpec(Struct, gc=False):
    instance_properties: _SpecProperties = field(default_factory=_SpecProperties)
    instance_type: _LegacyFlavor = field(default_factory=_LegacyFlavor)


class _VersionedSpec(_SpecProperties, gc=False):
    flavor: FlavorObject | None = None


class _VersionedSpecObject(Struct, gc=False):
    data: _VersionedSpec = field(name="nova_object.data")


_NO_PROGRESS = (_NULL, _ZERO)
"""How a versioned payload says what a legacy one says by an empty string."""

_encode = msgspec.json.Encoder().encode
_decode_flat = msgspec.json.Decoder(FlatPayload).decode
_decode_legacy_spec = msgspec.json.Decoder(_LegacySpec).decode
_decode_versioned_spec = msgspec.json.Decoder(_VersionedSpecObject).decode


def encode_flat(payload: FlatPayload | VersionedData) -> Raw:
    """Return the payload as the specification's, in JSON text."""
    return Raw(_encode(flatten(payload) if isinstance(payload, VersionedData) else payload))


def with_state(payload: Raw, vm_state: str, task_state: str) -> Raw:
    """Return an encoded flat payload with another state: for news that carries no payload."""
    flat = _decode_flat(payload)
    flat.state = vm_state
    flat.state_description = task_state
    return Raw(_encode(flat))


def flatten(data: VersionedData) -> FlatPayload:
    """Return a versioned instance payload as the specification's.

    Times keep the versioned spelling. What it lacks (image_meta, the access addresses, cell_name,
    instance_type_id) is empty; for the image's URL it has but the image's id.
    """
    flavor = Flavor() if data.flavor is None else data.flavor.data
    return FlatPayload(
        data.task_state or "",
        data.availability_zone,
        data.terminated_at or "",
        flavor.ephemeral_gb,
        _NULL,
        data.deleted_at or "",
        data.reservation_id,
        flavor.memory_mb,
        data.display_name,
        data.host_name,
        data.state,
        _EMPTY if data.progress in _NO_PROGRESS else data.progress,
        data.launched_at or "",
        data.metadata,
        data.node,
        data.ramdisk_id,
        _NULL,
        flavor.disk_gb(),
        _NULL,
        data.kernel_id,
        data.host,
        data.user_id,
        data.image_uuid or "",
        _EMPTY,
        flavor.root_gb,
        data.tenant_id,
        data.created_at or "",
        data.uuid,
        flavor.name,
        flavor.vcpus,
        _OBJECT,
        data.architecture,
        data.os_type,
        flavor.flavorid,
    )


def flatten_legacy_task(task: TaskData) -> FlatPayload:
    """Return what a legacy failed task tells of its instance. Raises msgspec.DecodeError."""
    spec = _decode_legacy_spec(task.request_spec) if task.request_spec != _NULL else _LegacySpec()
    return _flatten_task(
        task.instance_id,
        task.state,
        spec.instance_properties,
        spec.instance_type,
        spec.instance_type.id,
    )


def flatten_versioned_task(task: TaskData) -> FlatPayload:
    """Return what a versioned failed task tells of its instance. Raises msgspec.DecodeError."""
    spec = _VersionedSpec()
    if task.request_spec != _NULL:
        spec = _decode_versioned_spec(task.request_spec).data
    flavor = Flavor() if spec.flavor is None else spec.flavor.data
    return _flatten_task(task.instance_uuid, task.state, spec, flavor, _NULL)


def _flatten_task(
    instance_id: str, state: Text, spec: _SpecProperties, flavor: Flavor, flavor_row: Raw
) -> FlatPayload:
    return FlatPayload(
        instance_id=instance_id,
        state=state or "",
        tenant_id=spec.project_id,
        user_id=spec.user_id,
        availability_zone=spec.availability_zone,
        instance_type=flavor.name,
        instance_type_id=flavor_row,
        instance_flavor_id=flavor.flavorid,
        memory_mb=flavor.memory_mb,
        vcpus=flavor.vcpus,
        root_gb=flavor.root_gb,
        ephemeral_gb=flavor.ephemeral_gb,
        disk_gb=flavor.disk_gb(),
    )
