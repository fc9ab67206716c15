"""The specification's flat payload, and how nova's payloads become one.

Legacy payloads are flat already: their fields pass through as they came, most of them unread.
Versioned payloads are nested objects; docs/notifications.md shows field by field what becomes of
them. What only some notifications carry (``fixed_ips``, ``old_state``, ...) does not belong to the
specification's payload and is left out, whichever format told it.
"""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from streams.core.bounds import KNOWN_TASK_STATES, KNOWN_VM_STATES, shortened
from streams.core.tolerant import tolerant_decoder, without_wrong_fields
from vimfed.model.flat_payload import (
    EMPTY,
    MAX_TEXT,
    NULL,
    OBJECT,
    ZERO,
    FlatPayload,
    Gigabytes,
    Text,
)
from vimfed.nova.states import OTHER


class Extras(NamedTuple):
    """What a legacy payload tells beside the flat one."""

    old_state: str
    old_task_state: str
    volume_id: str
    failed: bool
    """Whether it names an exception."""


_NO_EXTRAS = Extras("", "", "", failed=False)


class LegacyPayload(FlatPayload, gc=False):
    """A legacy payload: flat, with what some notifications tell beside it."""

    old_state: Text | UnsetType = UNSET
    old_task_state: Text | UnsetType = UNSET
    volume_id: Text | UnsetType = UNSET
    exception: Raw | UnsetType = UNSET

    def take_extras(self) -> Extras:
        """Return what is told beside the flat payload, and leave that alone."""
        if self.volume_id is UNSET and self.exception is UNSET:
            if self.old_state is UNSET and self.old_task_state is UNSET:
                return _NO_EXTRAS
            volume_id, failed = "", False
        else:
            volume_id, failed = self.volume_id or "", self.exception not in _NO_EXCEPTION
            self.volume_id = self.exception = UNSET
        extras = Extras(self.old_state or "", self.old_task_state or "", volume_id, failed)
        self.old_state = self.old_task_state = UNSET
        return extras


class Flavor(Struct, gc=False):
    """What a versioned FlavorPayload shares with the flat payload."""

    flavorid: Raw = EMPTY
    memory_mb: Raw = ZERO
    vcpus: Raw = ZERO
    root_gb: Gigabytes = 0
    ephemeral_gb: Gigabytes = 0
    name: Raw = EMPTY

    def disk_gb(self) -> float:
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
    volume_id: Text = None
    old_volume_id: Text = None
    share_id: Text = None
    flavor: FlavorObject | None = None
    launched_at: Text = None
    created_at: Text = None
    image_uuid: Text = None
    progress: Raw = EMPTY
    user_id: Raw = EMPTY
    reservation_id: Raw = EMPTY
    display_name: Text = None
    host_name: Raw = EMPTY
    node: Raw = NULL
    os_type: Raw = NULL
    architecture: Raw = NULL
    availability_zone: Raw = NULL
    kernel_id: Raw = EMPTY
    ramdisk_id: Raw = EMPTY
    metadata: Raw = OBJECT


class VersionedPayload(Struct, gc=False):
    """A versioned instance payload: ``nova_object.version`` is major.minor."""

    version: str = field(name="nova_object.version")
    data: VersionedData = field(name="nova_object.data")


class TaskData(Struct, gc=False):
    """A failed task of the conductor: all that both formats tell of the instance."""

    instance_id: str = ""
    instance_uuid: str = ""
    state: Text = None
    request_spec: Raw = NULL


class TaskPayload(Struct, gc=False):
    """A failed task's versioned payload."""

    version: str = field(name="nova_object.version")
    data: TaskData = field(name="nova_object.data")


class Report(msgspec.Struct, gc=False):
    """What decides in a bare state or a found action."""

    instance_id: str = ""
    state: str = ""
    state_description: str = ""
    power_state: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    changed_at: str = ""


class _SpecProperties(Struct, gc=False):
    """A legacy request_spec's instance_properties."""

    project_id: Text = None
    user_id: Raw = EMPTY
    availability_zone: Raw = NULL


class _LegacyFlavor(Flavor, gc=False):
    id: Raw = NULL


class _LegacySpec(Struct, gc=False):
    instance_properties: _SpecProperties = field(default_factory=_SpecProperties)
    instance_type: _LegacyFlavor = field(default_factory=_LegacyFlavor)


class _VersionedSpec(_SpecProperties, gc=False):
    flavor: FlavorObject | None = None


class _VersionedSpecObject(Struct, gc=False):
    data: _VersionedSpec = field(name="nova_object.data")


Payload = FlatPayload | VersionedData | dict[str, Raw]
"""A payload as it came; a dict holds what a report knows of the flat one."""

_NO_EXCEPTION = (UNSET, NULL, EMPTY)
_NO_PROGRESS = (NULL, ZERO)
"""How a versioned payload says what a legacy one says by an empty string."""

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_NAMES = frozenset(FlatPayload.__struct_fields__)
_NOTHING = Raw(_encode(FlatPayload()))

DECIDES = frozenset(
    {
        "version",
        "data",
        "instance_id",
        "instance_uuid",
        "uuid",
        "state",
        "state_description",
        "task_state",
        "state_update",
        "old_state",
        "old_task_state",
        "deleted_at",
        "terminated_at",
    }
)
"""Fields by which the core decides; all others are passed on, or left out where they cannot be."""

_decode_flat = tolerant_decoder(FlatPayload, DECIDES)
"""Of a row's payload: release 0.1.0 kept texts of any length."""
decode_legacy = tolerant_decoder(LegacyPayload, DECIDES)
decode_versioned = tolerant_decoder(VersionedPayload, DECIDES)
decode_legacy_task = tolerant_decoder(TaskData, DECIDES)
decode_versioned_task = tolerant_decoder(TaskPayload, DECIDES)
decode_report = msgspec.json.Decoder(Report).decode
_decode_legacy_spec = tolerant_decoder(_LegacySpec, frozenset())
_decode_versioned_spec = tolerant_decoder(_VersionedSpecObject, frozenset({"data"}))


def encode_flat(payload: Payload) -> Raw:
    """Return the payload as the specification's, in JSON text."""
    if isinstance(payload, dict):
        return merged(_NOTHING, payload)
    return Raw(_encode(flatten(payload) if isinstance(payload, VersionedData) else payload))


def encode_with_state(payload: FlatPayload | VersionedData, vm_state: str, task_state: str) -> Raw:
    """Return the payload as the specification's, in JSON text, with this state."""
    flat = flatten(payload) if isinstance(payload, VersionedData) else payload
    if (flat.state or "") != vm_state or (flat.state_description or "") != task_state:
        flat = msgspec.structs.replace(flat, **_spelled(flat, vm_state, task_state))
    return Raw(_encode(flat))


def with_state(payload: Raw, vm_state: str, task_state: str) -> Raw:
    """Return an encoded flat payload with another state."""
    flat = _decode_flat(payload)
    return Raw(_encode(msgspec.structs.replace(flat, **_spelled(flat, vm_state, task_state))))


def _spelled(flat: FlatPayload, vm_state: str, task_state: str) -> dict[str, str]:
    """Return the states for ``flat``: in place of OTHER its own word, where nova has none such."""
    told, task_told = flat.state or "", flat.state_description or ""
    return {
        "state": told if vm_state == OTHER and told not in KNOWN_VM_STATES else vm_state,
        "state_description": (
            task_told if task_state == OTHER and task_told not in KNOWN_TASK_STATES else task_state
        ),
    }


def known_fields(report: Raw) -> dict[str, Raw]:
    """Return what a report says of the flat payload. Raises msgspec.DecodeError."""
    fields = _decode_fields(without_wrong_fields(report, FlatPayload, DECIDES))
    return {name: fields[name] for name in fields.keys() & _NAMES}


def merged(payload: Raw, fields: dict[str, Raw]) -> Raw:
    """Return an encoded flat payload with ``fields`` in place of its own."""
    return Raw(_encode({**_decode_fields(payload), **fields}))


class _Placed(Struct, gc=False):
    host: str | None = None


_decode_placed = msgspec.json.Decoder(_Placed).decode
_decode_host = msgspec.json.Decoder(str | None).decode


def host_of_payload(payload: Raw) -> str:
    """Return the host that an encoded flat payload names; empty where it names none."""
    return shortened(_decode_placed(payload).host or "")


def told_host(text: Raw) -> str:
    """Return the host that the JSON text of a report's field names; empty where it names none."""
    return shortened(_decode_host(text) or "")


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
        NULL,
        data.deleted_at or "",
        data.reservation_id,
        flavor.memory_mb,
        data.display_name or "",
        data.host_name,
        data.state,
        EMPTY if data.progress in _NO_PROGRESS else data.progress,
        data.launched_at or "",
        data.metadata,
        data.node,
        data.ramdisk_id,
        NULL,
        flavor.disk_gb(),
        NULL,
        data.kernel_id,
        data.host,
        data.user_id,
        data.image_uuid or "",
        EMPTY,
        flavor.root_gb,
        data.tenant_id,
        data.created_at or "",
        data.uuid,
        flavor.name,
        flavor.vcpus,
        OBJECT,
        data.architecture,
        data.os_type,
        flavor.flavorid,
    )


def flatten_legacy_task(task: TaskData) -> FlatPayload:
    """Return what a legacy failed task tells of its instance. Raises msgspec.DecodeError."""
    spec = (
        _decode_legacy_spec(task.request_spec) if _is_object(task.request_spec) else _LegacySpec()
    )
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
    if _is_object(task.request_spec):
        spec = _decode_versioned_spec(task.request_spec).data
    flavor = Flavor() if spec.flavor is None else spec.flavor.data
    return _flatten_task(task.instance_uuid, task.state, spec, flavor, NULL)


def _is_object(text: Raw) -> bool:
    return bytes(text).lstrip().startswith(b"{")


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
