"""The table of what nova's event types mean, against the recorded runs and nova's own names."""

import re

import pytest

from streams.core.kinds import (
    ACTIONS,
    API_STATUSES,
    EVENT_TYPES,
    KINDS,
    STATE,
    EventType,
    api_status,
    event_types,
)
from tests.support.paths import PROJECT
from tests.support.traces import RUNS, notifications
from vimfed.nova.bare_state import BARE_STATE, EVENT_PREFIX
from vimfed.nova.event_types import AUDIT_PREFIXES, is_used
from vimfed.nova.states import TASK_STATES, VM_STATES

DOCUMENTATION = PROJECT / "docs" / "notifications.md"


def test_the_specifications_kinds_are_there() -> None:
    named = {"DELETE", "PAUSE", "POWER_OFF", "REBUILD", "SHUT_DOWN", "SOFT_DELETE"}
    assert named <= KINDS.keys()


def test_every_kind_stands_in_the_table_once() -> None:
    assert len(KINDS) == len(ACTIONS)
    names = [name for action in ACTIONS for name in (action.legacy, action.versioned) if name]
    assert len(names) > len(set(names))  # both formats mostly use the same
    assert {event_type.kind for event_type in EVENT_TYPES.values()} == KINDS.keys()


@pytest.mark.parametrize(
    ("legacy", "versioned", "kind", "phase"),
    [
        ("finish_resize.end", "resize_finish.end", "RESIZE_FINISH", "end"),
        ("resize.prep.start", "resize_prep.start", "RESIZE_PREP", "start"),
        ("resize.confirm.end", "resize_confirm.end", "RESIZE_CONFIRM", "end"),
        ("resize.revert.end", "resize_revert.end", "RESIZE_REVERT", "end"),
        ("rebuild.scheduled", "rebuild_scheduled", "REBUILD_SCHEDULED", "end"),
        ("volume.attach", "volume_attach.end", "VOLUME_ATTACH", "end"),
        ("volume.detach", "volume_detach.end", "VOLUME_DETACH", "end"),
        ("live_migration.pre.end", "live_migration_pre.end", "LIVE_MIGRATION_PRE", "end"),
        ("live_migration._post.end", "live_migration_post.end", "LIVE_MIGRATION_POST", "end"),
        (
            "live_migration.post.dest.end",
            "live_migration_post_dest.end",
            "LIVE_MIGRATION_POST_DEST",
            "end",
        ),
        (
            "live_migration._rollback.start",
            "live_migration_rollback.start",
            "LIVE_MIGRATION_ROLLBACK",
            "start",
        ),
        (
            "live_migration.rollback.dest.end",
            "live_migration_rollback_dest.end",
            "LIVE_MIGRATION_ROLLBACK_DEST",
            "end",
        ),
        (
            "live.migration.abort.start",
            "live_migration_abort.start",
            "LIVE_MIGRATION_ABORT",
            "start",
        ),
        (
            "live.migration.force.complete.end",
            "live_migration_force_complete.end",
            "LIVE_MIGRATION_FORCE_COMPLETE",
            "end",
        ),
        ("shutdown.start", "shutdown.start", "SHUT_DOWN", "start"),
        ("create.error", "create.error", "CREATE", "error"),
        ("reboot.error", "reboot.error", "REBOOT", "error"),
        ("rebuild.error", "rebuild.error", "REBUILD", "error"),
        ("resize.error", "resize.error", "RESIZE", "error"),
        ("evacuate", "evacuate", "EVACUATE", "end"),
        ("trigger_crash_dump.end", "trigger_crash_dump.end", "TRIGGER_CRASH_DUMP", "end"),
    ],
)
def test_both_spellings_are_one_kind(legacy: str, versioned: str, kind: str, phase: str) -> None:
    for event_type in (f"compute.instance.{legacy}", f"instance.{versioned}"):
        meaning = EVENT_TYPES[event_type]
        assert (meaning.kind, meaning.phase) == (kind, phase)


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("compute_task.build_instances", "CREATE"),
        ("compute_task.build_instances.error", "CREATE"),
        ("compute_task.migrate_server", "MIGRATE"),
        ("compute_task.migrate_server.error", "MIGRATE"),
        ("compute_task.rebuild_server", "REBUILD"),
        ("compute_task.rebuild_server.error", "REBUILD"),
    ],
)
def test_a_task_that_the_conductor_gives_up_is_an_error(event_type: str, kind: str) -> None:
    assert EVENT_TYPES[event_type][1:3] == (kind, "error")


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "unlock",
        "interface_attach.start",
        "interface_detach.error",
        "volume_attach.error",
        "volume_detach.start",
        "volume_swap.error",
        "share_attach.end",
        "share_detach.error",
    ],
)
def test_what_only_versioned_notifications_tell_is_known(name: str) -> None:
    assert f"instance.{name}" in EVENT_TYPES


@pytest.mark.parametrize("name", ["create_ip.start", "delete_ip.end"])
def test_what_only_legacy_notifications_tell_is_known(name: str) -> None:
    assert f"compute.instance.{name}" in EVENT_TYPES
    assert f"instance.{name}" not in EVENT_TYPES


@pytest.mark.parametrize("run", RUNS)
def test_every_recorded_event_type_about_an_instance_is_in_the_table(run: str) -> None:
    told = {one.event_type for one in notifications(run)}
    about = {name for name in told if name.startswith(("compute.instance.", "instance."))}
    known = {name for name in about if not name.startswith(AUDIT_PREFIXES)}
    assert known <= EVENT_TYPES.keys()


def test_every_state_of_a_kind_is_one_of_novas() -> None:
    for action in ACTIONS:
        assert set(action.task_states) <= TASK_STATES
        assert action.end_vm_state in VM_STATES | {""}
    assert KINDS[STATE].task_states == ()


@pytest.mark.parametrize(
    ("vm_state", "task_state", "status"),
    [
        ("active", "", "ACTIVE"),
        ("active", "powering-off", "ACTIVE"),
        ("active", "rebooting", "REBOOT"),
        ("active", "reboot_started_hard", "HARD_REBOOT"),
        ("active", "rebuild_spawning", "REBUILD"),
        ("active", "resize_migrated", "RESIZE"),
        ("active", "migrating", "MIGRATING"),
        ("active", "updating_password", "PASSWORD"),
        ("stopped", "", "SHUTOFF"),
        ("stopped", "rebuilding", "REBUILD"),
        ("resized", "", "VERIFY_RESIZE"),
        ("resized", "resize_reverting", "REVERT_RESIZE"),
        ("paused", "migrating", "MIGRATING"),
        ("suspended", "resuming", "SUSPENDED"),
        ("soft-delete", "", "SOFT_DELETED"),
        ("error", "rebuilding", "REBUILD"),
        ("error", "deleting", "ERROR"),
        ("building", "spawning", "BUILD"),
        ("shelved_offloaded", "", "SHELVED_OFFLOADED"),
        ("hibernating", "", "UNKNOWN"),
    ],
)
def test_the_api_status_follows_from_both_states(
    vm_state: str, task_state: str, status: str
) -> None:
    assert api_status(vm_state, task_state) == status
    assert status in API_STATUSES | {"UNKNOWN"}


@pytest.mark.parametrize(
    ("event_type", "meaning"),
    [
        ("compute.instance.update", EventType("legacy", STATE, "end", is_update=True)),
        ("instance.update", EventType("versioned", STATE, "end", is_update=True)),
        (BARE_STATE, EventType("report", STATE, "end", is_update=True)),
        ("compute_task.build_instances", EventType("legacy_task", "CREATE", "error")),
        ("compute_task.migrate_server.error", EventType("versioned_task", "MIGRATE", "error")),
        ("compute.instance.pause", EventType("legacy", "PAUSE", "end")),
        ("compute.instance.pause.start", EventType("legacy", "PAUSE", "start")),
        ("instance.pause.error", EventType("versioned", "PAUSE", "error")),
        (
            "instance.create.start",
            EventType("versioned", "CREATE", "start", told_apart_by="host"),
        ),
        (
            "compute.instance.resize.end",
            EventType("legacy", "RESIZE", "end", tells_state=False, told_apart_by="host"),
        ),
        (
            "compute.instance.resize.start",
            EventType("legacy", "RESIZE", "start", told_apart_by="host"),
        ),
        (f"{EVENT_PREFIX}pause.end", EventType("report", "PAUSE", "end")),
        (
            f"{EVENT_PREFIX}resize.end",
            EventType("report", "RESIZE", "end", told_apart_by="host"),
        ),
        (
            "instance.volume_detach.start",
            EventType(
                "versioned", "VOLUME_DETACH", "start", tells_state=False, told_apart_by="volume"
            ),
        ),
    ],
)
def test_what_an_event_type_means(event_type: str, meaning: EventType) -> None:
    # Made anew: EVENT_TYPES is made when the module is imported, before any mutation of it.
    assert event_types()[event_type] == meaning


def test_event_types_are_those_of_the_actions_in_every_phase_and_no_others() -> None:
    phases = ("", ".start", ".end", ".error")
    tasks = ("build_instances", "migrate_server", "rebuild_server")
    assert event_types().keys() == {
        "compute.instance.update",
        "instance.update",
        BARE_STATE,
        *(f"compute_task.{task}{suffix}" for task in tasks for suffix in ("", ".error")),
        *(f"compute.instance.{one.legacy}{end}" for one in ACTIONS for end in phases if one.legacy),
        *(
            f"compute.instance.{name}{end}"
            for name in ("force_delete", "live_snapshot", "instance.create")
            for end in phases
        ),
        *(f"instance.{one.versioned}{end}" for one in ACTIONS for end in phases if one.versioned),
        *(
            f"{EVENT_PREFIX}{one.kind.lower()}{end}"
            for one in ACTIONS
            for end in phases[1:]
            if one.kind != STATE
        ),
    }


def test_the_documentation_lists_every_kind_as_the_table_has_it() -> None:
    documented = {
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for line in DOCUMENTATION.read_text().splitlines()
        if line.startswith("| ") and line.split()[1].isupper()
    }
    assert documented == {
        (
            action.kind,
            action.legacy,
            action.versioned,
            ", ".join(action.task_states),
            action.end_vm_state,
        )
        for action in ACTIONS
        if action.legacy or action.versioned
    }


OLD_COPIES = {
    # The API's copy of the request's beginning; pause, suspend, resume and others take no lock.
    "VOLUME_ATTACH": ("start end error", "nova/compute/manager.py: attach_volume"),
    "VOLUME_DETACH": ("start end error", "nova/compute/manager.py: _detach_volume"),
    "VOLUME_SWAP": ("start end error", "nova/compute/manager.py: swap_volume"),
    "INTERFACE_ATTACH": ("start end error", "nova/compute/manager.py: attach_interface"),
    "INTERFACE_DETACH": ("start end error", "nova/compute/manager.py: detach_interface"),
    "SHARE_ATTACH": ("start end error", "nova/compute/share_management.py: allow_share"),
    "SHARE_DETACH": ("start end error", "nova/compute/share_management.py: deny_share"),
    "CREATE_IP": ("start end error", "nova/compute/manager.py: add_fixed_ip_to_instance"),
    "DELETE_IP": ("start end error", "nova/compute/manager.py: remove_fixed_ip_from_instance"),
    "TRIGGER_CRASH_DUMP": (
        "start end error",
        "nova/compute/manager.py: trigger_crash_dump, a cast",
    ),
    "LOCK": ("start end error", "nova/compute/api.py: lock; any task may be running"),
    "UNLOCK": ("start end error", "nova/compute/api.py: unlock; any task may be running"),
    # Another request than the migration's, which may have told its end.
    "LIVE_MIGRATION_ABORT": ("start end error", "nova/compute/manager.py: live_migration_abort"),
    "LIVE_MIGRATION_FORCE_COMPLETE": (
        "start end error",
        "nova/compute/manager.py: live_migration_force_complete",
    ),
    # A cast by _rollback_live_migration, before the source saves that the task is over.
    "LIVE_MIGRATION_ROLLBACK_DEST": (
        "start end error",
        "nova/compute/manager.py: rollback_live_migration_at_destination",
    ),
    # The other host has told the end already.
    "LIVE_MIGRATION_POST": ("start end", "nova/compute/manager.py: _post_live_migration"),
    # A migration goes on after an operator's reset; the copy is of before.
    "LIVE_MIGRATION_POST_DEST": (
        "start",
        "nova/compute/manager.py: post_live_migration_at_destination",
    ),
    "LIVE_MIGRATION_ROLLBACK": ("start", "nova/compute/manager.py: _rollback_live_migration"),
    "RESIZE_PREP": ("end", "nova/compute/manager.py: prep_resize, in a finally"),
    "RESIZE": (
        "end error",
        "nova/compute/manager.py: _resize_instance, after finish_resize is cast; "
        "_reschedule_resize_or_reraise, after the conductor is called",
    ),
    # Between cells, the copy of the source's cell.
    "RESIZE_CONFIRM": ("start", "nova/conductor/tasks/cross_cell_migrate.py: ConfirmResizeTask"),
}
"""By kind: the phases that are told with a copy that can be older than another action's, and where
in nova 34. All others are told right after a save of the same object, or with the copy that the API
saved when it set this very action's task, which only a reset or a deletion can overtake."""


def test_the_phases_that_tell_no_state_are_those_that_nova_tells_with_an_old_copy() -> None:
    marked = {action.kind: set(action.old_copies) for action in ACTIONS if action.old_copies}
    assert marked == {kind: set(phases.split()) for kind, (phases, _place) in OLD_COPIES.items()}


def test_an_action_without_a_task_tells_no_state_unless_its_copy_is_fresh() -> None:
    fresh = {
        "EVACUATE": "nova/compute/api.py: evacuate, after it saved the task rebuilding",
        "LIVE_MIGRATION_POST_DEST": "nova/compute/manager.py: end, after the save of the new host",
        "LIVE_MIGRATION_ROLLBACK": "nova/compute/manager.py: end, after the save of no task",
        "MIGRATE": "nova/scheduler/utils.py: set_vm_state_and_notify, after the save",
        STATE: "an update's own states",
    }
    without_task = {action.kind for action in ACTIONS if not action.task_states}
    telling = {action.kind for action in ACTIONS if not {"start", "end"} <= {*action.old_copies}}
    assert without_task & telling == fresh.keys()


def test_the_documentation_says_which_phases_tell_no_state() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCUMENTATION.read_text().splitlines()
        if re.match(r"\| (all|start|end)[ ,]", line)
    ]
    documented = {
        kind: set(phases.replace("all", "start, end, error").split(", "))
        for phases, kinds, _whose in rows
        for kind in kinds.split(", ")
    }
    assert documented == {
        action.kind: set(action.old_copies) for action in ACTIONS if action.old_copies
    }


def test_every_event_type_that_means_something_is_used_and_forwarded() -> None:
    assert all(map(is_used, EVENT_TYPES))
    assert is_used("compute.instance.of_a_later_nova.end")


@pytest.mark.parametrize(
    "event_type",
    [
        "keypair.create.end",
        "flavor.update",
        "aggregate.addhost.end",
        "service.create",
        "compute.instance.exists",
        "instance.exists",
        "compute.exception",
        "build_instances",
        "scheduler.select_destinations.end",
        "volume.create.end",
    ],
)
def test_what_no_worker_looks_at_is_not_used(event_type: str) -> None:
    assert event_type not in EVENT_TYPES
    assert not is_used(event_type)
