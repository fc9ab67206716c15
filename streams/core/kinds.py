"""What nova's event types and states mean: the one table of actions, and what follows from it.

Names are nova's own (nova/objects/fields.py, nova/compute/{vm,task}_states.py and the calls of
``notify_about_instance_usage`` in nova 34); the kinds are the specification's: nova's notification
actions in capitals, of which only SHUT_DOWN is spelled otherwise than nova does.
"""

from typing import Literal, NamedTuple

from vimfed.model.records import Phase
from vimfed.nova.bare_state import BARE_STATE, EVENT_PREFIX
from vimfed.nova.states import DELETED

STATE = "STATE"
"""The kind of a state change that an update alone tells: a reset, or an error found late."""

_BUILD = ("scheduling", "block_device_mapping", "networking", "spawning")
_REBOOT = (
    "rebooting",
    "reboot_pending",
    "reboot_started",
    "rebooting_hard",
    "reboot_pending_hard",
    "reboot_started_hard",
)
_REBUILD = ("rebuilding", "rebuild_block_device_mapping", "rebuild_spawning")
_RESIZE = ("resize_prep", "resize_migrating", "resize_migrated", "resize_finish")
_SHELVE = ("shelving", "shelving_image_pending_upload", "shelving_image_uploading")
_SNAPSHOT = (
    "image_snapshot_pending",
    "image_snapshot",
    "image_pending_upload",
    "image_uploading",
    "image_backup",
)


Discriminator = Literal["", "host", "volume", "share"]
"""What both formats name of one telling: the publisher's host, a volume's id, a share's id."""

_ALL: tuple[Phase, ...] = ("start", "end", "error")


class Action(NamedTuple):
    """One of nova's notification actions."""

    kind: str
    versioned: str = ""
    """Its name in ``instance.<name>.<phase>``; empty where there is none."""
    legacy: str = ""
    """Its name in ``compute.instance.<name>.<phase>``; empty where there is none."""
    task_states: tuple[str, ...] = ()
    """The task_states in which an instance is while it happens."""
    end_vm_state: str = ""
    """The vm_state in which it leaves the instance; empty unless that state is this action's own
    (``active`` is nobody's)."""
    old_copies: tuple[Phase, ...] = ()
    """The phases that tell no state: the copy of the instance that they carry can be older than
    what another host, or an action beside this one, has told already."""
    told_apart_by: Discriminator = ""
    """What tells apart the several times that one request can make an action happen."""
    other_legacy: tuple[str, ...] = ()
    """Further names in ``compute.instance.<name>.<phase>``."""


ACTIONS: tuple[Action, ...] = (
    # A build is tried on further hosts; Icehouse prefixed the name of its error twice.
    Action(
        "CREATE",
        "create",
        "create",
        _BUILD,
        told_apart_by="host",
        other_legacy=("instance.create",),
    ),
    # force_delete: by the API, of a server whose host is down, or that has none any more.
    Action("DELETE", "delete", "delete", ("deleting",), DELETED, other_legacy=("force_delete",)),
    Action("SOFT_DELETE", "soft_delete", "soft_delete", ("soft-deleting",), "soft-delete"),
    Action("RESTORE", "restore", "restore", ("restoring",)),
    # The hypervisor's tear-down inside a delete or a failed build, not a guest's power-off.
    Action("SHUT_DOWN", "shutdown", "shutdown", ("deleting",), told_apart_by="host"),
    Action("POWER_OFF", "power_off", "power_off", ("powering-off",), "stopped"),
    Action("POWER_ON", "power_on", "power_on", ("powering-on",)),
    Action("PAUSE", "pause", "pause", ("pausing",), "paused"),
    Action("UNPAUSE", "unpause", "unpause", ("unpausing",)),
    Action("SUSPEND", "suspend", "suspend", ("suspending",), "suspended"),
    Action("RESUME", "resume", "resume", ("resuming",)),
    Action("REBOOT", "reboot", "reboot", _REBOOT),
    Action("REBUILD", "rebuild", "rebuild", _REBUILD),
    Action("REBUILD_SCHEDULED", "rebuild_scheduled", "rebuild.scheduled", ("rebuilding",)),
    Action("EVACUATE", "evacuate", "evacuate"),
    Action(
        "RESIZE_PREP",
        "resize_prep",
        "resize.prep",
        ("resize_prep",),
        old_copies=("end",),
        told_apart_by="host",
    ),
    # Its error is told by each host that cannot take the instance, and may come after the
    # conductor's word that no host is left.
    Action(
        "RESIZE",
        "resize",
        "resize",
        _RESIZE,
        "resized",
        old_copies=("end", "error"),
        told_apart_by="host",
    ),
    Action("RESIZE_FINISH", "resize_finish", "finish_resize", ("resize_finish",), "resized"),
    # Between cells the conductor begins it with the source's copy.
    Action(
        "RESIZE_CONFIRM",
        "resize_confirm",
        "resize.confirm",
        ("resize_confirming",),
        old_copies=("start",),
    ),
    Action("RESIZE_REVERT", "resize_revert", "resize.revert", ("resize_reverting",)),
    Action("RESCUE", "rescue", "rescue", ("rescuing",), "rescued"),
    Action("UNRESCUE", "unrescue", "unrescue", ("unrescuing",)),
    Action("SHELVE", "shelve", "shelve", _SHELVE, "shelved"),
    Action(
        "SHELVE_OFFLOAD",
        "shelve_offload",
        "shelve_offload",
        ("shelving_offloading",),
        "shelved_offloaded",
    ),
    Action("UNSHELVE", "unshelve", "unshelve", ("unshelving",)),
    Action("SNAPSHOT", "snapshot", "snapshot", _SNAPSHOT, other_legacy=("live_snapshot",)),
    Action("TRIGGER_CRASH_DUMP", "trigger_crash_dump", "trigger_crash_dump", old_copies=_ALL),
    Action("LOCK", "lock", old_copies=_ALL),
    Action("UNLOCK", "unlock", old_copies=_ALL),
    Action("LIVE_MIGRATION_PRE", "live_migration_pre", "live_migration.pre", ("migrating",)),
    # It goes on after an operator's reset, with the copy of before.
    Action(
        "LIVE_MIGRATION_POST",
        "live_migration_post",
        "live_migration._post",
        old_copies=("start", "end"),
    ),
    Action(
        "LIVE_MIGRATION_POST_DEST",
        "live_migration_post_dest",
        "live_migration.post.dest",
        old_copies=("start",),
    ),
    Action(
        "LIVE_MIGRATION_ROLLBACK",
        "live_migration_rollback",
        "live_migration._rollback",
        old_copies=("start",),
    ),
    Action(
        "LIVE_MIGRATION_ROLLBACK_DEST",
        "live_migration_rollback_dest",
        "live_migration.rollback.dest",
        old_copies=_ALL,
    ),
    Action("LIVE_MIGRATION_ABORT", "live_migration_abort", "live.migration.abort", old_copies=_ALL),
    Action(
        "LIVE_MIGRATION_FORCE_COMPLETE",
        "live_migration_force_complete",
        "live.migration.force.complete",
        old_copies=_ALL,
    ),
    Action(
        "VOLUME_ATTACH", "volume_attach", "volume.attach", old_copies=_ALL, told_apart_by="volume"
    ),
    Action(
        "VOLUME_DETACH", "volume_detach", "volume.detach", old_copies=_ALL, told_apart_by="volume"
    ),
    Action("VOLUME_SWAP", "volume_swap", old_copies=_ALL, told_apart_by="volume"),
    Action("INTERFACE_ATTACH", "interface_attach", old_copies=_ALL),
    Action("INTERFACE_DETACH", "interface_detach", old_copies=_ALL),
    Action("SHARE_ATTACH", "share_attach", old_copies=_ALL, told_apart_by="share"),
    Action("SHARE_DETACH", "share_detach", old_copies=_ALL, told_apart_by="share"),
    Action("CREATE_IP", legacy="create_ip", old_copies=_ALL),
    Action("DELETE_IP", legacy="delete_ip", old_copies=_ALL),
    # Told by the conductor alone, when it finds no host for a resize or a migration.
    Action("MIGRATE"),
    Action(STATE),
)

KINDS: dict[str, Action] = {action.kind: action for action in ACTIONS}
"""Every kind that nova's notifications of an instance make."""

UNAVAILABLE = "UNAVAILABLE"
"""The kind of events of an instance whose host is down, whatever nova's state of it says."""
HOST_DOWN = "HOST_DOWN"
HOST_DISABLED = "HOST_DISABLED"
ALERT = "ALERT"
"""The kind of what a monitor outside says of an instance, a host or a cloud."""
HEARTBEAT = "HEARTBEAT"
"""The kind of a bridge's word that it still listens to a cloud."""
STATE_SNAPSHOT = "STATE_SNAPSHOT"
"""The kind of what a snapshot tells. It goes to the output that it is for; nobody subscribes it."""

EVENT_KINDS = frozenset({*KINDS, UNAVAILABLE, HOST_DOWN, HOST_DISABLED, ALERT, HEARTBEAT})
"""Every kind of event that can be subscribed."""

Shape = Literal["legacy", "versioned", "legacy_task", "versioned_task", "report"]
"""How a payload is laid out; a ``task`` is one of the conductor's, which has failed; a ``report``
is a bare state or a found action (vimfed/nova/bare_state.py)."""


class EventType(NamedTuple):
    """What the notifications of one event type mean."""

    shape: Shape
    kind: str
    phase: Phase
    is_update: bool = False
    """An update tells no action; its kind is that of what only updates tell."""
    tells_state: bool = True
    """See ``Action.old_copies``."""
    told_apart_by: Discriminator = ""


FAILURES = "compute.exception"
"""A failed call inside nova, versioned; the legacy ones are named after the function."""

CONDUCTOR = "compute_task"
"""What stands for the host where the conductor gives a task up."""

_PHASES: tuple[tuple[str, Phase], ...] = (
    ("", "end"),
    (".start", "start"),
    (".end", "end"),
    (".error", "error"),
)
_TASKS = {"build_instances": "CREATE", "migrate_server": "MIGRATE", "rebuild_server": "REBUILD"}


def event_types() -> dict[str, EventType]:
    """Return what each event type that tells something about one instance means."""
    types = {
        "compute.instance.update": EventType("legacy", STATE, "end", is_update=True),
        "instance.update": EventType("versioned", STATE, "end", is_update=True),
        BARE_STATE: EventType("report", STATE, "end", is_update=True),
    }
    for task, kind in _TASKS.items():
        types[f"compute_task.{task}"] = EventType("legacy_task", kind, "error")
        types[f"compute_task.{task}.error"] = EventType("versioned_task", kind, "error")
    for action in ACTIONS:
        for suffix, phase in _PHASES:
            meaning = (action.kind, phase, False, phase not in action.old_copies)
            legacy = EventType("legacy", *meaning, action.told_apart_by)
            for name in (action.legacy, *action.other_legacy):
                if name:
                    types[f"compute.instance.{name}{suffix}"] = legacy
            if action.versioned:
                versioned = EventType("versioned", *meaning, action.told_apart_by)
                types[f"instance.{action.versioned}{suffix}"] = versioned
            if suffix and action.kind != STATE:
                # What is found is no copy: it may carry the state as well.
                found = EventType("report", action.kind, phase, told_apart_by=action.told_apart_by)
                types[f"{EVENT_PREFIX}{action.kind.lower()}{suffix}"] = found
    return types


EVENT_TYPES: dict[str, EventType] = event_types()


class Told(NamedTuple):
    """What an update tells."""

    kind: str
    phase: Phase
    apart: str = ""
    """What ``Action.told_apart_by`` says of it."""
    unless: tuple[tuple[str, Phase], ...] = ()
    """Told only if the update's request has told none of these: what follows them tells it."""
    otherwise: "Told | None" = None
    """What is told if it has."""


class Change(NamedTuple):
    """What an update says that it changed, and what is known of the request that made it."""

    old: tuple[str, str]
    """(vm_state, task_state) before."""
    new: tuple[str, str]
    has_host: bool
    in_order: bool
    """Whether all is known that was told before, on the same queue."""
    continues: bool
    """Whether its request made the state before as well, or there is none."""


_STATE_CHANGE = Told(STATE, "end")
_BY_DELETION = {
    DELETED: Told("DELETE", "end", unless=(("DELETE", "start"),)),
    "soft-delete": Told(
        "SOFT_DELETE", "end", unless=(("SOFT_DELETE", "start"), ("DELETE", "start"))
    ),
}
"""By the vm_state that it leaves: a deletion. Not every one has notifications of its own: nova
tells a forced deletion by the API in legacy ones only (nova/compute/utils.py,
notify_about_instance_delete)."""

_GIVEN_UP = {
    "migrating": Told(
        "MIGRATE", "error", CONDUCTOR, (("LIVE_MIGRATION_PRE", "start"),), _STATE_CHANGE
    ),
    "rebuilding": Told(
        "REBUILD", "error", CONDUCTOR, (("REBUILD", "start"), ("REBUILD", "error")), _STATE_CHANGE
    ),
}
"""By task_state: what the conductor tells right after the update, when it gives the task up before
a host has begun with it (nova/scheduler/utils.py, set_vm_state_and_notify)."""


def told_by_update(change: Change) -> Told | None:
    """Return what an update tells; None where it tells nothing, or an action does."""
    (old_vm_state, old_task_state), (vm_state, task_state) = change.old, change.new
    if old_vm_state in ("", vm_state) or vm_state == "":
        return None
    if vm_state in _BY_DELETION:
        return _BY_DELETION[vm_state]
    if vm_state == "error":
        return _given_up(change) or _STATE_CHANGE
    if task_state:
        return None
    if old_task_state:
        return _left_error(change)
    # A resize's confirmation runs without a task, and its end tells.
    is_confirmed = old_vm_state == "resized" and vm_state in ("active", "stopped")
    return None if is_confirmed else _STATE_CHANGE


def _given_up(change: Change) -> Told | None:
    """Return what the conductor tells of a change to error itself, right after the update."""
    (old_vm_state, old_task_state), (_, task_state) = change.old, change.new
    if task_state or (change.in_order and not change.continues):
        return None
    if old_vm_state == "building":
        is_unplaced = old_task_state == "scheduling" and not change.has_host
        return Told("CREATE", "error", CONDUCTOR) if is_unplaced else None
    return _GIVEN_UP.get(old_task_state) if change.in_order else None


def _left_error(change: Change) -> Told | None:
    """Return what is told when an instance leaves an error with a task: a reset, or nothing.

    The end of the action whose task it was tells it, but no deletion ends so.
    """
    (old_vm_state, old_task_state), _ = change.old, change.new
    if old_vm_state != "error":
        return None
    running = _running(old_vm_state, old_task_state)
    if KINDS[running].end_vm_state in _BY_DELETION:
        return _STATE_CHANGE
    return Told(STATE, "end", unless=((running, "start"),)) if change.in_order else None


_KIND_OF_TASK = {
    **{task: action.kind for action in reversed(ACTIONS) for task in action.task_states},
    **{action.task_states[0]: action.kind for action in reversed(ACTIONS) if action.task_states},
}
_KIND_OF_END = {action.end_vm_state: action.kind for action in reversed(ACTIONS)}
_KIND_AFTER = {
    "building": "CREATE",
    "stopped": "POWER_ON",
    "paused": "UNPAUSE",
    "suspended": "RESUME",
    "rescued": "UNRESCUE",
    "soft-delete": "RESTORE",
    "shelved": "UNSHELVE",
    "shelved_offloaded": "UNSHELVE",
}
"""The action that makes an instance ``active`` again."""
_LEAVING = frozenset({*_KIND_AFTER.values(), "RESIZE_CONFIRM", "RESIZE_REVERT"})
"""Actions without a vm_state of their own that change it all the same."""
_ENDS_EARLY = frozenset({"LIVE_MIGRATION_PRE", "RESIZE_PREP"})
"""Actions that are over while others go on with their task."""


def shown_kind(old: tuple[str, str], new: tuple[str, str]) -> tuple[str, Phase]:
    """Return (kind, phase) of the action that a change of (vm_state, task_state) shows.

    ``STATE`` where several actions, or none, can have made it.
    """
    (old_vm_state, old_task_state), (vm_state, task_state) = old, new
    if vm_state == DELETED:
        return "DELETE", "end"
    running = _running(old_vm_state, old_task_state)
    if task_state or vm_state == "building":
        kind = _running(vm_state, task_state)
        return (STATE, "end") if kind in (STATE, running) else (kind, "start")
    if running in _ENDS_EARLY:
        running = STATE
    if vm_state == "error":
        return running, "end" if running == STATE else "error"
    if KINDS[running].end_vm_state not in ("", vm_state) or (
        running in _LEAVING and vm_state == old_vm_state
    ):
        running = STATE  # it did not do what it does
    if running != STATE or vm_state == old_vm_state or old_vm_state == "resized":
        return running, "end"
    back = _KIND_AFTER.get(old_vm_state, STATE) if vm_state == "active" else STATE
    return _KIND_OF_END.get(vm_state, back), "end"


def _running(vm_state: str, task_state: str) -> str:
    """Return the kind of the action that is under way.

    Between its tasks a build has none. An instance that was offloaded is built again when it is
    unshelved, with a build's task (nova.compute.manager, _unshelve_instance).
    """
    if vm_state == "building":
        return "CREATE"
    if vm_state == "shelved_offloaded" and task_state == "spawning":
        return "UNSHELVE"
    return _KIND_OF_TASK.get(task_state, STATE)


_STATUS = {
    "active": "ACTIVE",
    "building": "BUILD",
    "stopped": "SHUTOFF",
    "resized": "VERIFY_RESIZE",
    "paused": "PAUSED",
    "suspended": "SUSPENDED",
    "rescued": "RESCUE",
    "error": "ERROR",
    DELETED: "DELETED",
    "soft-delete": "SOFT_DELETED",
    "shelved": "SHELVED",
    "shelved_offloaded": "SHELVED_OFFLOADED",
}
_REBUILDING = dict.fromkeys(_REBUILD, "REBUILD")
_RESIZING = dict.fromkeys(_RESIZE, "RESIZE")
_STATUS_OF_TASK: dict[str, dict[str, str]] = {
    "active": {
        **dict.fromkeys(_REBOOT[:3], "REBOOT"),
        **dict.fromkeys(_REBOOT[3:], "HARD_REBOOT"),
        "updating_password": "PASSWORD",
        **_REBUILDING,
        "migrating": "MIGRATING",
        **_RESIZING,
    },
    "stopped": {**_RESIZING, **_REBUILDING},
    "resized": {"resize_reverting": "REVERT_RESIZE"},
    "paused": {"migrating": "MIGRATING"},
    "error": _REBUILDING,
}

API_STATUSES = frozenset(_STATUS.values()).union(
    *(statuses.values() for statuses in _STATUS_OF_TASK.values())
)


def api_status(vm_state: str, task_state: str) -> str:
    """Return the compute API's status of an instance, as nova derives it.

    From ``_STATE_MAP`` in nova/api/openstack/common.py; ``UNKNOWN`` for a vm_state not in there.
    """
    default = _STATUS.get(vm_state, "UNKNOWN")
    return _STATUS_OF_TASK.get(vm_state, {}).get(task_state, default)
