"""What a server and its actions, as nova's API shows them, say in the words of notifications.

Pure: no clock, no I/O. An action of nova's API has events, each with a start and a finish, which
name the method that ran and its host. nova's notifications are sent from inside these methods, so
each event stands for the start and the end of one or two kinds (checked against nova 34, whose
messages of each action carry the action's request id).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from vimfed.model.records import Phase
from vimfed.model.times import as_utc_text
from vimfed.nova.bare_state import BareState, FoundAction
from vimfed.nova.states import DELETED

CONDUCTOR = "compute_task"
"""The host by which the conductor's failed tasks are known."""

KINDS: dict[str, tuple[str, ...]] = {
    "compute__do_build_and_run_instance": ("CREATE",),
    "compute_terminate_instance": ("DELETE", "SHUT_DOWN"),
    "compute_soft_delete_instance": ("SOFT_DELETE",),
    "compute_restore_instance": ("RESTORE",),
    "compute_stop_instance": ("POWER_OFF",),
    "compute_start_instance": ("POWER_ON",),
    "compute_pause_instance": ("PAUSE",),
    "compute_unpause_instance": ("UNPAUSE",),
    "compute_suspend_instance": ("SUSPEND",),
    "compute_resume_instance": ("RESUME",),
    "compute_reboot_instance": ("REBOOT",),
    "compute_rebuild_instance": ("REBUILD",),
    "compute_rescue_instance": ("RESCUE",),
    "compute_unrescue_instance": ("UNRESCUE",),
    "compute_prep_resize": ("RESIZE_PREP",),
    "compute_resize_instance": ("RESIZE",),
    "compute_finish_resize": ("RESIZE_FINISH",),
    "compute_confirm_resize": ("RESIZE_CONFIRM",),
    "compute_finish_revert_resize": ("RESIZE_REVERT",),
    "conductor_confirm_snapshot_based_resize": ("RESIZE_CONFIRM",),
    "conductor_revert_snapshot_based_resize": ("RESIZE_REVERT",),
    "compute_shelve_instance": ("SHELVE",),
    "compute_shelve_offload_instance": ("SHELVE_OFFLOAD",),
    "compute_unshelve_instance": ("UNSHELVE",),
    "compute_snapshot_instance": ("SNAPSHOT",),
    "compute_backup_instance": ("SNAPSHOT",),
    "compute_trigger_crash_dump": ("TRIGGER_CRASH_DUMP",),
    "compute_pre_live_migration": ("LIVE_MIGRATION_PRE",),
    "compute_post_live_migration_at_destination": (
        "LIVE_MIGRATION_POST",
        "LIVE_MIGRATION_POST_DEST",
    ),
    "compute_rollback_live_migration_at_destination": (
        "LIVE_MIGRATION_ROLLBACK",
        "LIVE_MIGRATION_ROLLBACK_DEST",
    ),
    "compute_live_migration_abort": ("LIVE_MIGRATION_ABORT",),
    "compute_live_migration_force_complete": ("LIVE_MIGRATION_FORCE_COMPLETE",),
    "compute_attach_volume": ("VOLUME_ATTACH",),
    "compute_detach_volume": ("VOLUME_DETACH",),
    "compute_swap_volume": ("VOLUME_SWAP",),
    "compute_attach_interface": ("INTERFACE_ATTACH",),
    "compute_detach_interface": ("INTERFACE_DETACH",),
    "compute_allow_share": ("SHARE_ATTACH",),
    "compute_deny_share": ("SHARE_DETACH",),
}
"""By event, the kinds whose notifications its method sends, the outer one first."""

INSTANT = {
    "api_lock": "LOCK",
    "api_unlock": "UNLOCK",
    "rebuild_server": "REBUILD_SCHEDULED",
}
"""Events that stand for a kind without a start."""

GIVEN_UP = {
    "conductor_schedule_and_build_instances": "CREATE",
    "conductor_migrate_server": "MIGRATE",
    "rebuild_server": "REBUILD",
}
"""The conductor's events: what kind fails with them."""

_BOTH: tuple[Phase, ...] = ("start", "end")
_POWER_STATES = {
    0: "pending",
    1: "running",
    3: "paused",
    4: "shutdown",
    6: "crashed",
    7: "suspended",
}
"""nova/objects/fields.py, InstancePowerState: as versioned notifications spell it."""


class ActionEvent(Struct, frozen=True):
    """One event of an action, as the API shows it."""

    event: str
    start_time: str | None = None
    finish_time: str | None = None
    result: str | None = None
    host: str | None = None


class ServerAction(Struct, frozen=True):
    """One action of ``os-instance-actions``; ``updated_at`` from microversion 2.58 on."""

    action: str
    request_id: str
    start_time: str
    updated_at: str | None = None
    events: list[ActionEvent] = []

    @property
    def changed_at(self) -> str:
        """When it last changed, as far as the API tells."""
        return self.updated_at or self.start_time


class _Flavor(Struct, frozen=True):
    """A server's flavor: from microversion 2.47 on by its content, before by its id."""

    id: str | UnsetType = UNSET
    original_name: str | UnsetType = UNSET
    ram: int | UnsetType = UNSET
    vcpus: int | UnsetType = UNSET
    disk: int | UnsetType = UNSET
    ephemeral: int | UnsetType = UNSET


class _Image(Struct, frozen=True):
    id: str = ""


class Server(Struct, frozen=True):
    """A server as ``GET /servers/detail`` shows it.

    What may be null stands in nova/api/openstack/compute/schemas/servers.py: one server that could
    not be decoded would keep its whole cloud from being polled.
    """

    id: str
    updated: str = ""
    name: str | None = None
    status: str = ""
    tenant_id: str | None = None
    user_id: str | None = None
    created: str | None = None
    progress: int | float | UnsetType | None = UNSET
    metadata: Raw = Raw(b"{}")
    access_ip_v4: str | None = field(name="accessIPv4", default=None)
    access_ip_v6: str | None = field(name="accessIPv6", default=None)
    image: _Image | str | None = None
    flavor: _Flavor = field(default_factory=_Flavor)
    vm_state: str | None = field(name="OS-EXT-STS:vm_state", default=None)
    task_state: str | None = field(name="OS-EXT-STS:task_state", default=None)
    power_state: int | None = field(name="OS-EXT-STS:power_state", default=None)
    launched_at: str | None = field(name="OS-SRV-USG:launched_at", default=None)
    terminated_at: str | None = field(name="OS-SRV-USG:terminated_at", default=None)
    availability_zone: str | None = field(name="OS-EXT-AZ:availability_zone", default=None)
    host: str | UnsetType | None = field(name="OS-EXT-SRV-ATTR:host", default=UNSET)
    node: str | UnsetType | None = field(name="OS-EXT-SRV-ATTR:hypervisor_hostname", default=UNSET)
    hostname: str | UnsetType = field(name="OS-EXT-SRV-ATTR:hostname", default=UNSET)
    kernel_id: str | UnsetType | None = field(name="OS-EXT-SRV-ATTR:kernel_id", default=UNSET)
    ramdisk_id: str | UnsetType | None = field(name="OS-EXT-SRV-ATTR:ramdisk_id", default=UNSET)
    reservation_id: str | UnsetType | None = field(
        name="OS-EXT-SRV-ATTR:reservation_id", default=UNSET
    )

    @property
    def state(self) -> tuple[str, str]:
        """Return (vm_state, task_state or nothing)."""
        return self.vm_state or "", self.task_state or ""

    @property
    def is_known(self) -> bool:
        """Whether its state is told; a cell that is down tells but the server's id."""
        return bool(self.vm_state)


class Finding(NamedTuple):
    """A state, an action, or both, to be written as one notification."""

    state: BareState
    action: FoundAction | None = None


def bare_state(server: Server, seen_at: str) -> BareState:
    """Return a server as a bare state that held at ``seen_at``, by the cloud's clock."""
    flavor = server.flavor
    image = server.image.id if isinstance(server.image, _Image) else (server.image or "")
    disks = (flavor.disk, flavor.ephemeral)
    said: dict[str, Any] = {
        "tenant_id": server.tenant_id or "",
        "user_id": server.user_id or "",
        "display_name": server.name or "",
        "hostname": server.hostname,
        "reservation_id": server.reservation_id,
        "kernel_id": server.kernel_id,
        "ramdisk_id": server.ramdisk_id,
        "host": server.host,
        "node": server.node,
        "availability_zone": server.availability_zone,
        "created_at": server.created or "",
        "launched_at": server.launched_at or "",
        "terminated_at": server.terminated_at or "",
        "progress": server.progress or "",
        "metadata": server.metadata,
        "access_ip_v4": server.access_ip_v4 or None,
        "access_ip_v6": server.access_ip_v6 or None,
        "image_ref_url": image,
        "instance_type": flavor.original_name,
        "instance_flavor_id": flavor.id,
        "memory_mb": flavor.ram,
        "vcpus": flavor.vcpus,
        "root_gb": flavor.disk,
        "ephemeral_gb": flavor.ephemeral,
        "disk_gb": UNSET if UNSET in disks else sum(disks),
    }
    vm_state, task_state = server.state
    return BareState(
        instance_id=server.id,
        state=vm_state,
        state_description=task_state,
        timestamp=seen_at,
        changed_at=as_utc_text(server.updated),
        power_state=_POWER_STATES.get(-1 if server.power_state is None else server.power_state, ""),
        known={
            name: Raw(msgspec.json.encode(value))
            for name, value in said.items()
            if value is not UNSET
        },
    )


def findings(server: Server, actions: Sequence[ServerAction], seen_at: str) -> list[Finding]:
    """Return what is to be told of a server whose actions were read before its state.

    All phases of the actions in their order, the last one together with the state; the state alone
    where there is none.
    """
    phases = found_phases(server, actions)
    state = bare_state(server, seen_at)
    told = [Finding(BareState(instance_id=server.id), phase) for phase in phases[:-1]]
    return [*told, Finding(state, phases[-1] if phases else None)]


def found_phases(server: Server, actions: Sequence[ServerAction]) -> list[FoundAction]:
    """Return the phases of a server's actions in the order in which they came about."""
    ordered = sorted(actions, key=lambda action: action.start_time)
    phases: list[tuple[str, FoundAction]] = []
    for action in ordered:
        if action.action == "delete" and not action.events and server.vm_state == DELETED:
            # Without a host nova's API deletes by itself.
            phases += [_phase(action, "DELETE", phase, action.start_time) for phase in _BOTH]
        for event in sorted(action.events, key=lambda event: event.start_time or ""):
            phases += _phases_of(action, event)
    for action, following in zip_longest(ordered, ordered[1:]):
        phases += _offload(server, action, following)
    # Where the API tells whole seconds, equal times keep the order of actions and events.
    return [phase for _time, phase in sorted(phases, key=lambda entry: entry[0])]


def _offload(
    server: Server, action: ServerAction, following: ServerAction | None
) -> list[tuple[str, FoundAction]]:
    """Return the offloading that nova, by default, does at the end of a shelving."""
    shelved = next((one for one in action.events if one.event == "compute_shelve_instance"), None)
    if shelved is None or not shelved.finish_time:
        return []
    if following is None:
        is_offloaded = server.vm_state == "shelved_offloaded"
    elif following.action == "unshelve":
        is_offloaded = any(one.event == "compute_unshelve_instance" for one in following.events)
    else:
        is_offloaded = following.action == "delete" and not following.events
    time = shelved.finish_time
    phases = _BOTH if is_offloaded else ()
    return [_phase(action, "SHELVE_OFFLOAD", phase, time) for phase in phases]


def _phases_of(action: ServerAction, event: ActionEvent) -> list[tuple[str, FoundAction]]:
    name, start, finish = event.event, event.start_time, event.finish_time
    if not start:
        return []
    failed = event.result == "Error"
    if failed and name in GIVEN_UP:
        return [_phase(action, GIVEN_UP[name], "error", finish or start, CONDUCTOR)]
    if name in INSTANT:
        return [_phase(action, INSTANT[name], "end", start)] if finish else []
    kinds = KINDS.get(name, ())
    host = event.host or ""
    phases = [_phase(action, kind, "start", start, host) for kind in kinds]
    if finish and failed and kinds:
        # A host that cannot take a resized instance tells so of the resize.
        kind = "RESIZE" if kinds[0] == "RESIZE_PREP" else kinds[0]
        phases.append(_phase(action, kind, "error", finish, host))
    elif finish:
        phases += [_phase(action, kind, "end", finish, host) for kind in reversed(kinds)]
    return phases


def _phase(
    action: ServerAction, kind: str, phase: Phase, time: str, host: str = ""
) -> tuple[str, FoundAction]:
    at = begun = as_utc_text(time)
    if phase != "start" and at.endswith(".000000Z"):
        # MySQL keeps whole seconds: what ended in this second did so after what began in it.
        at = at.replace(".000000Z", ".999999Z")
    found = FoundAction(kind=kind, phase=phase, request_id=action.request_id, host=host, at=at)
    return begun, found


def is_deletion(action: ServerAction) -> bool:
    """Return whether a method of an action has deleted its server, or does so."""
    return any("DELETE" in KINDS.get(event.event, ()) for event in action.events)


def is_settled(server: Server, actions: Sequence[ServerAction], seen_at: str) -> bool:
    """Return whether nothing more can come of what was seen.

    Not as long as an event has not finished, or the last change is of the last two seconds: the API
    tells times in whole seconds, and an event's finish is saved after the server's state.
    """
    at_rest = not server.task_state or server.vm_state == DELETED
    finished = all(event.finish_time for action in actions for event in action.events)
    age = datetime.fromisoformat(seen_at) - datetime.fromisoformat(as_utc_text(server.updated))
    return at_rest and finished and age >= timedelta(seconds=2)
