"""Stories of servers that are resized, migrated, evacuated, rebuilt, shelved or copied."""

from tests.stories.beginnings import (
    ACTIVE,
    CROSS_CELL_RESIZED,
    MIGRATING,
    OFFLOADED,
    PAUSED,
    RESIZED,
    RESIZED_STOPPED,
    RESIZING,
    SHELVED,
    STOPPED,
    SUSPEND_FAILED,
)
from tests.stories.telling import Story

_FAILS_ON = """
    resize  {0}   resize_prep.start
    resize  {0}   update              active/resize_prep
    resize  {0}   update              active/resize_prep
    resize  {0}   resize.error        active/resize_prep
    resize  {0}   resize_prep.end     active/resize_prep
"""
_ENDS_ON_H4 = """
    resize  h4    resize_prep.start
    resize  h4    update              active/resize_prep
    resize  h1    update              active/resize_migrating
    resize  h1    resize.start
    resize  h4    resize_prep.end     active/resize_prep
    resize  h1    update              active/resize_migrated       host=h4
    resize  h4    update              active/resize_finish
    resize  h4    resize_finish.start
    resize  h1    resize.end          active/resize_migrated
    resize  h4    update              resized
    resize  h4    resize_finish.end
"""
_CONFIRMS = """
    confirm  h1   resize_confirm.start
    confirm  h1   update               {0}
    confirm  h1   resize_confirm.end
    confirm  h1   update               {0}
"""
_REVERTING = """
    revert  api   update               resized/resize_reverting
    revert  h1    resize_revert.start
    revert  h1    update               resized/resize_reverting   host=h1
    revert  h1    update               resized/resize_reverting
"""

RESIZES = (
    Story("resized", "ComputeManager.finish_resize", "", given=RESIZED, ends="resized"),
    Story(
        "resized to the same host",
        "allow_resize_to_same_host: one publisher",
        f"{RESIZING.replace('h2', 'h1')}"
        """
        resize  h1    update              active/resize_finish
        resize  h1    resize_finish.start
        resize  h1    update              resized
        resize  h1    resize_finish.end
        resize  h1    resize.end          active/resize_migrated
        """,
        given=ACTIVE,
        ends="resized",
    ),
    Story(
        "resized, and the source speaks last",
        "finish_resize is a cast: RESIZE end and RESIZE_PREP end are old copies",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h1    update              active/resize_migrating
        resize  h1    resize.start
        resize  h1    update              active/resize_migrated       host=h2
        resize  h2    update              active/resize_finish
        resize  h2    resize_finish.start
        resize  h2    update              resized
        resize  h2    resize_finish.end
        resize  h1    resize.end          active/resize_migrated
        resize  h2    resize_prep.end     active/resize_prep
        """,
        given=ACTIVE,
        ends="resized",
    ),
    Story(
        "resized on the third host",
        "_reschedule_resize_or_reraise: the next host may speak before the failed one has ended",
        f"""
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h3    resize_prep.start
        resize  h2    resize.error        active/resize_prep
        resize  h2    resize_prep.end     active/resize_prep
        resize  h3    update              active/resize_prep
        resize  h3    resize.error        active/resize_prep
        resize  h3    resize_prep.end     active/resize_prep
        {_ENDS_ON_H4}
        """,
        given=ACTIVE,
        ends="resized",
    ),
    Story(
        "rescheduled so slowly that the next host is done",
        "RESIZE error of a failed host after the source's resize_migrating",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h3    resize_prep.start
        resize  h1    update              active/resize_migrating
        resize  h1    resize.start
        resize  h3    resize_prep.end     active/resize_prep
        resize  h1    update              active/resize_migrated       host=h3
        resize  h3    update              active/resize_finish
        resize  h3    resize_finish.start
        resize  h1    resize.end          active/resize_migrated
        resize  h3    update              resized
        resize  h3    resize_finish.end
        resize  h2    resize.error        active/resize_prep           host=h1
        resize  h2    resize_prep.end     active/resize_prep           host=h1
        """,
        given=ACTIVE,
        ends="resized",
    ),
    Story(
        "no host to resize to",
        "ComputeTaskManager._cold_migrate: NoValidHost",
        """
        resize  api   update              active/resize_prep
        resize  cond  update              active
        resize  cond  compute_task.migrate_server
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "no host for a stopped server",
        "the same: it stays stopped",
        """
        resize  api   update              stopped/resize_prep
        resize  cond  update              stopped
        resize  cond  compute_task.migrate_server
        """,
        given=STOPPED,
        ends="stopped",
    ),
    Story(
        "no more hosts to resize to",
        "_reschedule_resize_or_reraise: MIGRATE error, then RESIZE error with an older copy",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  cond  update              active
        resize  cond  compute_task.migrate_server
        resize  h2    resize.error        active/resize_prep
        resize  h2    resize_prep.end     active/resize_prep
        resize  h2    update              error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
    Story(
        "no more hosts to resize to after two",
        "the same, the first host having been rescheduled",
        f"""
        resize  api   update              active/resize_prep
        {_FAILS_ON.format("h2")}
        resize  h3    resize_prep.start
        resize  h3    update              active/resize_prep
        resize  cond  update              active
        resize  cond  compute_task.migrate_server
        resize  h3    resize.error        active/resize_prep
        resize  h3    resize_prep.end     active/resize_prep
        resize  h3    update              error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
    Story(
        "no more hosts to migrate a stopped server to, by policy",
        "_reschedule_resize_or_reraise within InstanceFaultRollback: it stays stopped",
        """
        resize  api   update              stopped/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              stopped/resize_prep
        resize  cond  update              stopped
        resize  cond  compute_task.migrate_server
        resize  h2    resize.error        stopped/resize_prep
        resize  h2    resize_prep.end     stopped/resize_prep
        resize  h2    update              stopped
        """,
        given=STOPPED,
        ends="stopped",
    ),
    Story(
        "preparing fails without retry",
        "_do_prep_resize: no RESIZE error at all; LP 1456771",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h2    resize_prep.end     active/resize_prep
        resize  h2    update              error/resize_prep
        resize  h2    update              error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/resize_prep",
    ),
    Story(
        "source fails",
        "_resize_instance: migrate_disk_and_power_off raises",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h1    update              active/resize_migrating
        resize  h1    resize.start
        resize  h2    resize_prep.end     active/resize_prep
        resize  h1    update              error/resize_migrating
        resize  h1    update              error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/resize_migrating",
    ),
    Story(
        "source refuses",
        "_resize_instance: InstanceFaultRollback",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h1    update              active/resize_migrating
        resize  h1    resize.start
        resize  h2    resize_prep.end     active/resize_prep
        resize  h1    update              active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/resize_migrating",
    ),
    Story(
        "finishing fails",
        "_finish_resize_helper; LP 1516578",
        f"""{RESIZING}
        resize  h2    update              active/resize_finish
        resize  h2    resize_finish.start
        resize  h1    resize.end          active/resize_migrated
        resize  h2    update              error/resize_finish
        resize  h2    update              error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/resize_finish",
    ),
    Story(
        "source ends after finishing has failed",
        "the same, RESIZE end coming last",
        f"""{RESIZING}
        resize  h2    update              active/resize_finish
        resize  h2    resize_finish.start
        resize  h2    update              error/resize_finish
        resize  h2    update              error
        resize  h1    resize.end          active/resize_migrated
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/resize_finish",
    ),
    Story(
        "confirmed",
        "ComputeManager._confirm_resize: no task",
        _CONFIRMS.format("active"),
        given=RESIZED,
        ends="active",
    ),
    Story(
        "confirmed stopped",
        "_confirm_resize: power_state decides",
        _CONFIRMS.format("stopped"),
        given=RESIZED_STOPPED,
        ends="stopped",
    ),
    Story(
        "confirming fails",
        "confirm_resize: no reverts_task_state; the old flavor is forgotten first",
        """
        confirm  h1   resize_confirm.start
        confirm  h1   update               resized
        confirm  h1   update               error
        """,
        given=RESIZED,
        ends="error",
        unheard="resized",
    ),
    Story(
        "reverted",
        "ComputeManager._finish_revert_resize",
        f"""{_REVERTING}
        revert  h1    update               active
        revert  h1    resize_revert.end
        revert  h1    update               active
        """,
        given=RESIZED,
        ends="active",
    ),
    Story(
        "reverted stopped",
        "_finish_revert_resize: a stop within, of a server that is resized",
        f"""{_REVERTING}
        revert  h1    update               resized/powering-off
        revert  h1    power_off.start
        revert  h1    update               stopped
        revert  h1    power_off.end
        revert  h1    resize_revert.end
        revert  h1    update               stopped
        """,
        given=RESIZED_STOPPED,
        ends="stopped",
    ),
    Story(
        "reverting fails on the destination",
        "revert_resize: nothing is told but updates",
        """
        revert  api   update               resized/resize_reverting
        revert  h2    update               error/resize_reverting
        revert  h2    update               error
        """,
        given=RESIZED,
        ends="error",
        unheard="resized",
    ),
    Story(
        "reverting fails on the source",
        "finish_revert_resize: _error_out_instance_on_exception",
        f"""{_REVERTING}
        revert  h1    update               error/resize_reverting
        revert  h1    update               error/resize_reverting
        revert  h1    update               error
        """,
        given=RESIZED,
        ends="error",
        unheard="resized/resize_reverting",
    ),
    Story(
        "stopped server resized on the second host",
        "_reschedule_resize_or_reraise of a stopped server",
        """
        resize  api   update              stopped/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              stopped/resize_prep
        resize  h3    resize_prep.start
        resize  h2    resize.error        stopped/resize_prep
        resize  h2    resize_prep.end     stopped/resize_prep
        resize  h3    update              stopped/resize_prep
        resize  h1    update              stopped/resize_migrating
        resize  h1    resize.start
        resize  h3    resize_prep.end     stopped/resize_prep
        resize  h1    update              stopped/resize_migrated      host=h3
        resize  h3    update              stopped/resize_finish
        resize  h3    resize_finish.start
        resize  h3    update              resized
        resize  h3    resize_finish.end
        resize  h1    resize.end          stopped/resize_migrated
        """,
        given=STOPPED,
        ends="resized",
    ),
    Story(
        "reschedule fails unexpectedly",
        "_cold_migrate: any exception, after a refresh; then as with no more hosts",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  cond  update              active
        resize  cond  compute_task.migrate_server
        resize  h2    resize.error        active/resize_prep
        resize  h2    resize_prep.end     active/resize_prep
        resize  h2    update              error
        retry   api   update              error/rebooting_hard
        retry   h1    reboot.start        error/reboot_pending_hard
        retry   h1    update              error/reboot_pending_hard
        retry   h1    update              error/reboot_started_hard
        retry   h1    update              active
        retry   h1    reboot.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "resized, confirmed, resized back, reverted",
        "each request is told for itself",
        f"""{_CONFIRMS.format("active")}
        back    api   update              active/resize_prep
        back    h1    resize_prep.start
        back    h1    update              active/resize_prep
        back    h2    update              active/resize_migrating
        back    h2    resize.start
        back    h1    resize_prep.end     active/resize_prep
        back    h2    update              active/resize_migrated       host=h1
        back    h1    update              active/resize_finish
        back    h1    resize_finish.start
        back    h2    resize.end          active/resize_migrated
        back    h1    update              resized
        back    h1    resize_finish.end
        {_REVERTING.replace("h2", "h0").replace("h1", "h2").replace("h0", "h1")}
        revert  h2    update              active
        revert  h2    resize_revert.end
        """,
        given=RESIZED,
        ends="active",
    ),
    Story(
        "resizing cut off by a restart",
        "_init_instance: RESIZE_MIGRATING is taken back",
        """
        resize  api   update              active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    update              active/resize_prep
        resize  h1    update              active/resize_migrating
        resize  h1    resize.start
        resize  h2    resize_prep.end     active/resize_prep
        init    h1    update              active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/resize_migrating",
    ),
)

CROSS_CELL = (
    Story(
        "resized across cells",
        "FinishResizeAtDestTask: the hidden copy of the source cell is saved last",
        "",
        given=CROSS_CELL_RESIZED,
        ends="resized",
    ),
    Story(
        "confirmed across cells",
        "ConfirmResizeTask: RESIZE_CONFIRM start with the source cell's copy",
        """
        confirm  cond  resize_confirm.start  active/resize_migrated    host=h1
        confirm  cond  update                active
        confirm  cond  resize_confirm.end
        """,
        given=CROSS_CELL_RESIZED,
        ends="active",
    ),
    Story(
        "confirming across cells has begun",
        "ConfirmResizeTask: the copy of the source cell tells no state",
        "confirm cond resize_confirm.start active/resize_migrated host=h1",
        given=CROSS_CELL_RESIZED,
        ends="resized",
    ),
    Story(
        "confirming across cells fails",
        "ConfirmResizeTask.rollback, after the source compute's error of the hidden copy",
        """
        confirm  cond  resize_confirm.start  active/resize_migrated    host=h1
        confirm  h1    hidden  active/resize_migrated>error/resize_migrated  host=h1
        confirm  cond  update                error
        confirm  cond  compute_task.migrate_server
        """,
        given=CROSS_CELL_RESIZED,
        ends="error",
    ),
    Story(
        "reverted across cells",
        "RevertResizeTask: the two copies take turns",
        """
        revert  api   update                resized/resize_reverting
        revert  cond  resize_revert.start
        revert  cond  hidden   active/resize_migrated>active/resize_reverting  host=h1
        revert  cond  hidden                active/resize_reverting     host=h1
        revert  cond  hidden                resized/resize_reverting    host=h2
        revert  h2    hidden                resized/resize_reverting    host=h2
        revert  h1    hidden                active/resize_reverting     host=h1
        revert  h1    update                active                      host=h1
        revert  h1    update                active
        revert  cond  resize_revert.end
        """,
        given=CROSS_CELL_RESIZED,
        ends="active",
    ),
    Story(
        "preparing the source fails across cells",
        "_prep_snapshot_based_resize_at_source, then _cold_migrate tells the state that it finds",
        """
        resize  api   update               active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    resize_prep.end
        resize  cond  update               active/resize_prep
        resize  cond  update               active/resize_migrating
        resize  h1    resize.start
        resize  h1    update               error/resize_migrating
        resize  h1    update               error
        resize  cond  update               error
        resize  cond  compute_task.migrate_server
        """,
        given=ACTIVE,
        ends="error",
    ),
    Story(
        "finishing fails across cells",
        "FinishResizeAtDestTask: both copies go to error",
        """
        resize  api   update               active/resize_prep
        resize  h2    resize_prep.start
        resize  h2    resize_prep.end
        resize  cond  update               active/resize_prep
        resize  cond  update               active/resize_migrating
        resize  h1    resize.start
        resize  h1    update               active/resize_migrated
        resize  h1    resize.end
        resize  cond  hidden               active/resize_prep>active/resize_migrated
        resize  h2    hidden               active/resize_migrated>active/resize_finish
        resize  h2    resize_finish.start  active/resize_finish
        resize  h2    hidden               active/resize_finish>error/resize_finish
        resize  h2    hidden               error/resize_finish>error
        resize  cond  update               error
        resize  cond  compute_task.migrate_server
        """,
        given=ACTIVE,
        ends="error",
    ),
)

LIVE_MIGRATIONS = (
    Story(
        "migrated live",
        "_post_live_migration: the source's end carries its old copy",
        f"""{MIGRATING}
        migrate  h1   live_migration_post.start
        migrate  h2   live_migration_post_dest.start
        migrate  h2   update                    active                host=h2
        migrate  h2   live_migration_post_dest.end
        migrate  h1   live_migration_post.end   active/migrating      host=h1
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "paused and migrated live",
        "API.live_migrate takes a paused server",
        f"""{MIGRATING.replace("active", "paused")}
        migrate  h1   live_migration_post.start
        migrate  h2   live_migration_post_dest.start
        migrate  h2   update                    paused                host=h2
        migrate  h2   live_migration_post_dest.end
        migrate  h1   live_migration_post.end   paused/migrating      host=h1
        """,
        given=PAUSED,
        ends="paused",
    ),
    Story(
        "rolled back on shared storage",
        "_rollback_live_migration: the destination tells nothing",
        f"""{MIGRATING}
        migrate  h1   live_migration_rollback.start
        migrate  h1   update                    active
        migrate  h1   live_migration_rollback.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rolled back, the destination last",
        "rollback_live_migration_at_destination is a cast with an old copy",
        f"""{MIGRATING}
        migrate  h1   live_migration_rollback.start
        migrate  h1   update                    active
        migrate  h1   live_migration_rollback.end
        migrate  h2   live_migration_rollback_dest.start  active/migrating
        migrate  h2   live_migration_rollback_dest.end    active/migrating
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rolled back, the destination in between",
        "the same, in another order",
        f"""{MIGRATING}
        migrate  h1   live_migration_rollback.start
        migrate  h2   live_migration_rollback_dest.start
        migrate  h1   update                    active
        migrate  h2   live_migration_rollback_dest.end    active/migrating
        migrate  h1   live_migration_rollback.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rolled back and stopped before the destination has ended",
        "an action of the next request lies between",
        f"""{MIGRATING}
        migrate  h1   live_migration_rollback.start
        migrate  h2   live_migration_rollback_dest.start
        migrate  h1   update                    active
        migrate  h1   live_migration_rollback.end
        stop     api  update                    active/powering-off
        stop     h1   power_off.start
        migrate  h2   live_migration_rollback_dest.end    active/migrating
        stop     h1   update                    stopped
        stop     h1   power_off.end
        """,
        given=ACTIVE,
        ends="stopped",
    ),
    Story(
        "destination cannot prepare",
        "_do_pre_live_migration_from_source: rolled back at once",
        """
        migrate  api  update                    active/migrating
        migrate  h2   live_migration_pre.start
        migrate  h1   live_migration_rollback.start
        migrate  h2   live_migration_rollback_dest.start
        migrate  h1   update                    active
        migrate  h1   live_migration_rollback.end
        migrate  h2   live_migration_rollback_dest.end    active/migrating
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "aborted",
        "live_migration_abort: the driver is asked, the rollback follows, the copy is old",
        f"""{MIGRATING}
        abort    h1   live_migration_abort.start
        migrate  h1   live_migration_rollback.start
        migrate  h1   update                    active
        migrate  h1   live_migration_rollback.end
        abort    h1   live_migration_abort.end  active/migrating
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "aborted too late",
        "live_migration_abort of what is over: ABORT end with an old copy, from the old host",
        f"""{MIGRATING}
        abort    h1   live_migration_abort.start
        migrate  h1   live_migration_post.start
        migrate  h2   live_migration_post_dest.start
        migrate  h2   update                    active                host=h2
        migrate  h2   live_migration_post_dest.end
        migrate  h1   live_migration_post.end   active/migrating      host=h1
        abort    h1   live_migration_abort.end  active/migrating      host=h1
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "aborted in the queue",
        "live_migration_abort: the job never runs",
        """
        migrate  api  update                    active/migrating
        abort    h1   live_migration_abort.start
        abort    h1   update                    active
        abort    h1   live_migration_abort.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "aborted while it prepares",
        "_do_live_migration: ABORT end by both requests",
        """
        migrate  api  update                    active/migrating
        migrate  h2   live_migration_pre.start
        abort    h1   live_migration_abort.start
        abort    h1   live_migration_abort.end
        migrate  h2   live_migration_pre.end
        migrate  h1   live_migration_rollback.start
        migrate  h1   update                    active
        migrate  h1   live_migration_rollback.end
        migrate  h1   live_migration_abort.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "forced to complete",
        "live_migration_force_complete: start and end with the API's copy",
        f"""{MIGRATING}
        force    h1   live_migration_force_complete.start
        migrate  h1   live_migration_post.start
        migrate  h2   live_migration_post_dest.start
        migrate  h2   update                    active                host=h2
        migrate  h2   live_migration_post_dest.end
        migrate  h1   live_migration_post.end   active/migrating      host=h1
        force    h1   live_migration_force_complete.end  active/migrating  host=h1
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "fails at last on the destination",
        "post_live_migration_at_destination saves the error, the source the host",
        f"""{MIGRATING}
        migrate  h1   live_migration_post.start
        migrate  h2   live_migration_post_dest.start
        migrate  h2   update                    error                 host=h2
        migrate  h1   update                    error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/migrating",
    ),
    Story(
        "fails at last on the source",
        "_post_live_migration_update_host, then _do_live_migration",
        f"""{MIGRATING}
        migrate  h1   live_migration_post.start
        migrate  h1   update                    active                host=h2
        migrate  h1   update                    error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/migrating",
    ),
    Story(
        "driver fails",
        "_do_live_migration: too late to roll back",
        f"{MIGRATING} \n migrate h1 update error",
        given=ACTIVE,
        ends="error",
        unheard="active/migrating",
    ),
    Story(
        "no host to migrate live to",
        "ComputeTaskManager._live_migrate: a known failure",
        """
        migrate  api   update                   active/migrating
        migrate  cond  update                   active
        migrate  cond  compute_task.migrate_server
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "conductor fails unexpectedly",
        "ComputeTaskManager._live_migrate: MigrationError",
        """
        migrate  api   update                   active/migrating
        migrate  cond  update                   error
        migrate  cond  compute_task.migrate_server
        """,
        given=ACTIVE,
        ends="error",
    ),
    Story(
        "migration that hangs, reset to error",
        "_reset_state before anything but the API has spoken; no conductor gives it up",
        """
        migrate  api   update                   active/migrating
        reset    api   update                   error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
    Story(
        "migration reset, server paused, migration fails at last",
        "recorded: what runs on tells its old copy, then saves the host, then the error",
        f"""{MIGRATING}
        reset    api  update                    active
        pause    api  update                    active/pausing
        pause    h1   pause.start
        pause    h1   update                    paused
        pause    h1   pause.end
        migrate  h1   live_migration_post.start       active/migrating
        migrate  h2   live_migration_post_dest.start  active/migrating
        migrate  h1   update                    paused                host=h2
        migrate  h1   update                    error
        """,
        given=ACTIVE,
        ends="error",
        unheard="paused",
    ),
    Story(
        "migration reset, server paused, migration rolled back",
        "_rollback_live_migration: the start with an old copy, then the save is refused",
        f"""{MIGRATING}
        reset    api  update                    active
        pause    api  update                    active/pausing
        pause    h1   pause.start
        pause    h1   update                    paused
        pause    h1   pause.end
        migrate  h1   live_migration_rollback.start       active/migrating
        migrate  h2   live_migration_rollback_dest.start  active/migrating
        migrate  h2   live_migration_rollback_dest.end    active/migrating
        """,
        given=ACTIVE,
        ends="paused",
    ),
    Story(
        "migration left behind, reset to active",
        "LP 1763051: nothing ends it but the operator",
        f"{MIGRATING} \n reset api update active",
        given=ACTIVE,
        ends="active",
        unheard="active/migrating",
    ),
    Story(
        "no host to migrate live to, then one",
        "two requests; the second one is told like the first",
        f"""
        first    api   update                   active/migrating
        first    cond  update                   active
        first    cond  compute_task.migrate_server
        {MIGRATING}
        migrate  h1   live_migration_post.start
        migrate  h2   live_migration_post_dest.start
        migrate  h2   update                    active                host=h2
        migrate  h2   live_migration_post_dest.end
        migrate  h1   live_migration_post.end   active/migrating      host=h1
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "migration reset by a restart",
        "ComputeManager._reset_live_migration; LP 1543625",
        f"{MIGRATING} \n init h1 update active",
        given=ACTIVE,
        ends="active",
        unheard="active/migrating",
    ),
)

_REBUILDING = """
    rebuild  api   update                 {0}/rebuilding
    rebuild  cond  rebuild_scheduled                             to=h1
    rebuild  h1    rebuild.start
    rebuild  h1    update                 {0}/rebuilding
"""
_REBUILDS = """
    rebuild  h1    update                 {0}/rebuild_block_device_mapping
    rebuild  h1    update                 {0}/rebuild_spawning
"""
_EVACUATING = """
    evacuate  api   update                {0}/rebuilding
    evacuate  api   evacuate
    evacuate  cond  rebuild_scheduled                            to=h2
"""
_EVACUATES = """
    evacuate  h2    rebuild.start
    evacuate  h2    update                {0}/rebuilding
    evacuate  h2    update                {0}/rebuild_block_device_mapping
    evacuate  h2    update                {0}/rebuild_spawning
"""
_THIRTY_VOLUMES = "".join(
    f"""
    rebuild  h1    volume_detach.start                                  volume=v{number}
    rebuild  h1    volume_detach.end                                    volume=v{number}
    """
    for number in range(30)
)

REBUILDS = (
    Story(
        "rebuilt",
        "ComputeManager.rebuild_instance: finish_evacuation saves after the end",
        f"""{_REBUILDING.format("active")}{_REBUILDS.format("active")}
        rebuild  h1    update                 active
        rebuild  h1    rebuild.end
        rebuild  h1    update                 active
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rebuilt with three volumes",
        "_do_rebuild_instance: detach_block_devices; LP 1440762",
        f"""{_REBUILDING.format("active")}
        rebuild  h1    volume_detach.start                              volume=v1
        rebuild  h1    volume_detach.end                                volume=v1
        rebuild  h1    volume_detach.start                              volume=v2
        rebuild  h1    volume_detach.end                                volume=v2
        rebuild  h1    volume_detach.start                              volume=v3
        rebuild  h1    volume_detach.end                                volume=v3
        {_REBUILDS.format("active")}
        rebuild  h1    update                 active
        rebuild  h1    rebuild.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rebuilt stopped",
        "_do_rebuild_instance: stop_instance within",
        f"""{_REBUILDING.format("stopped")}{_REBUILDS.format("stopped")}
        rebuild  h1    update                 active
        rebuild  h1    update                 active/powering-off
        rebuild  h1    power_off.start
        rebuild  h1    update                 stopped
        rebuild  h1    power_off.end
        rebuild  h1    rebuild.end
        """,
        given=STOPPED,
        ends="stopped",
    ),
    Story(
        "error rebuilt",
        "API.rebuild takes an error",
        f"""{_REBUILDING.format("error")}{_REBUILDS.format("error")}
        rebuild  h1    update                 active
        rebuild  h1    rebuild.end
        """,
        given=SUSPEND_FAILED,
        ends="active",
    ),
    Story(
        "rebuilding fails",
        "rebuild_instance: REBUILD error with the state before, then two saves",
        f"""{_REBUILDING.format("active")}{_REBUILDS.format("active")}
        rebuild  h1    rebuild.error
        rebuild  h1    update                 error/rebuild_spawning
        rebuild  h1    update                 error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/rebuild_spawning",
    ),
    Story(
        "rebuilding of an error fails",
        "the same: error before and after",
        f"""{_REBUILDING.format("error")}{_REBUILDS.format("error")}
        rebuild  h1    rebuild.error
        rebuild  h1    update                 error
        """,
        given=SUSPEND_FAILED,
        ends="error",
        unheard="error/rebuild_spawning",
    ),
    Story(
        "rebuilding fails while a volume is detached",
        "detach_block_devices raises: VOLUME_DETACH start alone",
        f"""{_REBUILDING.format("active")}
        rebuild  h1    volume_detach.start                              volume=v1
        rebuild  h1    volume_detach.end                                volume=v1
        rebuild  h1    volume_detach.start                              volume=v2
        rebuild  h1    rebuild.error
        rebuild  h1    update                 error/rebuilding
        rebuild  h1    update                 error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/rebuilding",
    ),
    Story(
        "image does not fit",
        "ComputeTaskManager.rebuild_instance: NoValidHost; LP 1664931",
        """
        rebuild  api   update                 active/rebuilding
        rebuild  cond  update                 active/rebuilding         # the old image
        rebuild  cond  update                 error
        rebuild  cond  compute_task.rebuild_server
        """,
        given=ACTIVE,
        ends="error",
    ),
    Story(
        "rebuilding that hangs, reset to error",
        "_reset_state before the conductor has found a host",
        """
        rebuild  api   update                 active/rebuilding
        reset    api   update                 error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
    Story(
        "evacuation of an error finds no host",
        "ComputeTaskManager.rebuild_instance: error stays error",
        """
        evacuate  api   update                error/rebuilding
        evacuate  api   evacuate
        evacuate  cond  update                error
        evacuate  cond  compute_task.rebuild_server
        """,
        given=SUSPEND_FAILED,
        ends="error",
    ),
    Story(
        "evacuated to where it is already",
        "_check_instance_exists: REBUILD error before REBUILD start",
        f"""{_EVACUATING.format("active")}
        evacuate  h2   rebuild.error
        evacuate  h2   update                 error/rebuilding
        evacuate  h2   update                 error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/rebuilding",
    ),
    Story(
        "evacuation fails, then does not",
        "the second request leaves the error",
        f"""
        first     api   update                active/rebuilding
        first     api   evacuate
        first     cond  rebuild_scheduled                               to=h2
        first     h2    rebuild.start
        first     h2    update                active/rebuilding
        first     h2    rebuild.error
        first     h2    update                error/rebuilding
        first     h2    update                error
        {_EVACUATING.format("error")}{_EVACUATES.format("error")}
        evacuate  h2    update                active
        evacuate  h2    rebuild.end
        evacuate  h2    update                active                    host=h2
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rebuilt with thirty volumes",
        "more things of one request than a row remembers",
        f"""{_REBUILDING.format("active")}{_THIRTY_VOLUMES}{_REBUILDS.format("active")}
        rebuild  h1    update                 active
        rebuild  h1    rebuild.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "rebuilding cut off by a restart",
        "ComputeManager._init_instance",
        f"{_REBUILDING.format('stopped')} init h1 update error",
        given=STOPPED,
        ends="error",
        unheard="stopped/rebuilding",
    ),
    Story(
        "evacuated with two volumes",
        "the same on another host; RebuildClaim's end saves the host",
        f"""{_EVACUATING.format("active")}
        evacuate  h2   rebuild.start
        evacuate  h2   update                 active/rebuilding
        evacuate  h2   volume_detach.start                              volume=v1
        evacuate  h2   volume_detach.end                                volume=v1
        evacuate  h2   volume_detach.start                              volume=v2
        evacuate  h2   volume_detach.end                                volume=v2
        evacuate  h2   update                 active/rebuild_block_device_mapping
        evacuate  h2   update                 active/rebuild_spawning
        evacuate  h2   update                 active
        evacuate  h2   rebuild.end
        evacuate  h2   update                 active                    host=h2
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "evacuated stopped",
        "_do_rebuild_instance: brought to its original state",
        f"""{_EVACUATING.format("stopped")}{_EVACUATES.format("stopped")}
        evacuate  h2   update                 active
        evacuate  h2   update                 active/powering-off
        evacuate  h2   power_off.start
        evacuate  h2   update                 stopped
        evacuate  h2   power_off.end
        evacuate  h2   rebuild.end
        evacuate  h2   update                 stopped                   host=h2
        """,
        given=STOPPED,
        ends="stopped",
    ),
    Story(
        "error evacuated",
        "API.evacuate takes an error",
        f"""{_EVACUATING.format("error")}{_EVACUATES.format("error")}
        evacuate  h2   update                 active
        evacuate  h2   rebuild.end
        evacuate  h2   update                 active                    host=h2
        """,
        given=SUSPEND_FAILED,
        ends="active",
    ),
    Story(
        "no room on the evacuation's host",
        "rebuild_instance: ComputeResourcesUnavailable keeps the state",
        f"""{_EVACUATING.format("active")}
        evacuate  h2   rebuild.error
        evacuate  h2   update                 active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/rebuilding",
    ),
    Story(
        "evacuation fails",
        "rebuild_instance: the driver raises",
        f"""{_EVACUATING.format("active")}{_EVACUATES.format("active")}
        evacuate  h2   rebuild.error
        evacuate  h2   update                 error/rebuild_spawning
        evacuate  h2   update                 error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/rebuild_spawning",
    ),
    Story(
        "no host to evacuate to",
        "ComputeTaskManager.rebuild_instance: NoValidHost",
        """
        evacuate  api   update                active/rebuilding
        evacuate  api   evacuate
        evacuate  cond  update                error
        evacuate  cond  compute_task.rebuild_server
        """,
        given=ACTIVE,
        ends="error",
    ),
    Story(
        "forced evacuation to an unknown host",
        "_allocate_for_evacuate_dest_host: the state is kept",
        """
        evacuate  api   update                active/rebuilding
        evacuate  api   evacuate
        evacuate  cond  update                active
        evacuate  cond  compute_task.rebuild_server
        """,
        given=ACTIVE,
        ends="active",
    ),
)

_UNSHELVING = """
    unshelve  api  update                shelved_offloaded/unshelving
"""

SHELVES = (
    Story("shelved", "ComputeManager._shelve_instance", "", given=SHELVED, ends="shelved"),
    Story("offloaded", "_shelve_offload_instance", "", given=OFFLOADED, ends="shelved_offloaded"),
    Story(
        "offloaded later",
        "ComputeManager._poll_shelved_instances",
        """
        offload  h1   update                shelved/shelving_offloading
        offload  h1   shelve_offload.start
        offload  h1   update                shelved_offloaded
        offload  h1   update                shelved_offloaded           host=-
        offload  h1   shelve_offload.end
        """,
        given=SHELVED,
        ends="shelved_offloaded",
    ),
    Story(
        "volume-backed, offloaded at once",
        "API.shelve: SHELVE_OFFLOAD without SHELVE",
        """
        shelve  api   update                active/shelving
        shelve  h1    shelve_offload.start
        shelve  h1    update                shelved_offloaded
        shelve  h1    update                shelved_offloaded           host=-
        shelve  h1    shelve_offload.end
        """,
        given=ACTIVE,
        ends="shelved_offloaded",
    ),
    Story(
        "shelving fails",
        "shelve_instance: reverts_task_state",
        """
        shelve  api   update                active/shelving
        shelve  h1    shelve.start
        shelve  h1    update                active/shelving_image_pending_upload
        shelve  h1    update                active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/shelving",
    ),
    Story(
        "offloading fails",
        "shelve_offload_instance: reverts_task_state",
        """
        offload  api  update                shelved/shelving_offloading
        offload  h1   shelve_offload.start
        offload  h1   update                shelved
        """,
        given=SHELVED,
        ends="shelved",
        unheard="shelved/shelving_offloading",
    ),
    Story(
        "unshelved from its host",
        "ComputeTaskManager.unshelve_instance: POWER_ON in the unshelve's request",
        """
        unshelve  api   update              shelved/unshelving
        unshelve  cond  update              shelved/powering-on
        unshelve  h1    power_on.start
        unshelve  h1    update              active
        unshelve  h1    power_on.end
        """,
        given=SHELVED,
        ends="active",
    ),
    Story(
        "unshelved",
        "ComputeManager._unshelve_instance",
        f"""{_UNSHELVING}
        unshelve  h2   unshelve.start
        unshelve  h2   update               shelved_offloaded/spawning
        unshelve  h2   update               shelved_offloaded/spawning  host=h2
        unshelve  h2   update               active
        unshelve  h2   unshelve.end
        """,
        given=OFFLOADED,
        ends="active",
    ),
    Story(
        "unshelving fails",
        "_unshelve_instance: the spawn raises",
        f"""{_UNSHELVING}
        unshelve  h2   unshelve.start
        unshelve  h2   update               shelved_offloaded/spawning
        unshelve  h2   update               shelved_offloaded/spawning  host=h2
        unshelve  h2   update               shelved_offloaded/spawning  host=-
        unshelve  h2   update               shelved_offloaded
        """,
        given=OFFLOADED,
        ends="shelved_offloaded",
        unheard="shelved_offloaded/unshelving",
    ),
    Story(
        "no host to unshelve on",
        "ComputeTaskManager.unshelve_instance: NoValidHost",
        f"{_UNSHELVING} \n unshelve cond update shelved_offloaded",
        given=OFFLOADED,
        ends="shelved_offloaded",
    ),
    Story(
        "image of the shelved server is gone",
        "ComputeTaskManager.unshelve_instance: error, and the task stays; LP 1404801",
        f"{_UNSHELVING} \n unshelve cond update error/unshelving",
        given=OFFLOADED,
        ends="error/unshelving",
        unheard="shelved_offloaded",
    ),
    Story(
        "copied",
        "ComputeManager._snapshot_instance",
        """
        snapshot  api  update               active/image_snapshot_pending
        snapshot  h1   update               active/image_snapshot
        snapshot  h1   snapshot.start
        snapshot  h1   update               active/image_pending_upload
        snapshot  h1   update               active/image_uploading
        snapshot  h1   update               active
        snapshot  h1   snapshot.end
        """,
        given=ACTIVE,
        ends="active",
    ),
    Story(
        "backed up",
        "ComputeManager.backup_instance",
        """
        backup  api   update                stopped/image_backup
        backup  h1    snapshot.start
        backup  h1    update                stopped/image_pending_upload
        backup  h1    update                stopped/image_uploading
        backup  h1    update                stopped
        backup  h1    snapshot.end
        """,
        given=STOPPED,
        ends="stopped",
    ),
    Story(
        "copying fails",
        "_snapshot_instance: reverts_task_state; LP 1308846",
        """
        snapshot  api  update               active/image_snapshot_pending
        snapshot  h1   update               active/image_snapshot
        snapshot  h1   snapshot.start
        snapshot  h1   update               active/image_pending_upload
        snapshot  h1   update               active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/image_snapshot",
    ),
)

STORIES = (*RESIZES, *CROSS_CELL, *LIVE_MIGRATIONS, *REBUILDS, *SHELVES)
