"""How servers come into the states in which stories begin."""

BUILDING = """
create  cond  born             building/scheduling
create  h1    update           building
create  h1    create.start
create  h1    update           building                        host=h1
create  h1    update           building/networking
create  h1    update           building/block_device_mapping
create  h1    update           building/spawning
"""
"""ComputeManager._build_and_run_instance, up to the driver's spawn."""

ACTIVE = f"""{BUILDING}
create  h1    update           active
create  h1    create.end
"""

STOPPED = f"""{ACTIVE}
stop    api   update           active/powering-off
stop    h1    power_off.start
stop    h1    update           stopped
stop    h1    power_off.end
"""

PAUSED = f"""{ACTIVE}
pause   api   update           active/pausing
pause   h1    pause.start
pause   h1    update           paused
pause   h1    pause.end
"""

SUSPENDED = f"""{ACTIVE}
suspend  api  update           active/suspending
suspend  h1   suspend.start
suspend  h1   update           suspended
suspend  h1   suspend.end
"""

RESCUED = f"""{ACTIVE}
rescue  api   update           active/rescuing
rescue  h1    rescue.start
rescue  h1    update           rescued
rescue  h1    rescue.end
"""

SOFT_DELETED = f"""{ACTIVE}
soft    api   update           active/soft-deleting            +deleted_at
soft    h1    soft_delete.start
soft    h1    update           soft-delete
soft    h1    soft_delete.end
"""

BUILD_FAILED = f"""{BUILDING}
create  h1    update           building/spawning               host=-  # the claim is dropped
create  h1    create.error
create  h1    update           error
"""
"""_do_build_and_run_instance: BuildAbortException."""

SUSPEND_FAILED = f"""{ACTIVE}
suspend  api  update           active/suspending
suspend  h1   suspend.start
suspend  h1   update           error/suspending
suspend  h1   update           error
"""
"""An error that leaves the server on its host."""

SHELVED = f"""{ACTIVE}
shelve  api   update           active/shelving
shelve  h1    shelve.start
shelve  h1    update           active/shelving_image_pending_upload
shelve  h1    update           active/shelving_image_uploading
shelve  h1    update           shelved
shelve  h1    shelve.end
"""

OFFLOADED = f"""{ACTIVE}
shelve  api   update           active/shelving
shelve  h1    shelve.start
shelve  h1    update           active/shelving_image_pending_upload
shelve  h1    update           active/shelving_image_uploading
shelve  h1    update           shelved/shelving_offloading
shelve  h1    shelve.end
shelve  h1    shelve_offload.start
shelve  h1    update           shelved_offloaded
shelve  h1    update           shelved_offloaded               host=-
shelve  h1    shelve_offload.end
"""
"""[compute] shelved_offload_time = 0, the default."""

RESIZING = """
resize  api   update              active/resize_prep
resize  h2    resize_prep.start
resize  h2    update              active/resize_prep           # the new flavor
resize  h1    update              active/resize_migrating
resize  h1    resize.start
resize  h2    resize_prep.end     active/resize_prep           # resize_instance is a cast
resize  h1    update              active/resize_migrated       host=h2
"""

RESIZED = f"""{ACTIVE}{RESIZING}
resize  h2    update              active/resize_finish
resize  h2    resize_finish.start
resize  h1    resize.end          active/resize_migrated       # finish_resize is a cast
resize  h2    update              resized
resize  h2    resize_finish.end
"""

RESIZED_STOPPED = f"""{STOPPED}{RESIZING.replace("active", "stopped")}
resize  h2    update              stopped/resize_finish
resize  h2    resize_finish.start
resize  h1    resize.end          stopped/resize_migrated
resize  h2    update              resized
resize  h2    resize_finish.end
"""

MIGRATING = """
migrate  api  update                   active/migrating
migrate  h2   live_migration_pre.start
migrate  h2   live_migration_pre.end
"""

CROSS_CELL_RESIZED = f"""{ACTIVE}
resize  api   update               active/resize_prep
resize  h2    resize_prep.start                                # the target cell's copy
resize  h2    resize_prep.end
resize  cond  update               active/resize_prep          # target: availability zone
resize  cond  update               active/resize_migrating     # source
resize  h1    resize.start
resize  h1    update               active/resize_migrated
resize  h1    resize.end
resize  cond  hidden               active/resize_prep>active/resize_migrated
resize  h2    update               active/resize_finish
resize  h2    resize_finish.start
resize  h2    update               resized                     host=h2
resize  h2    resize_finish.end
resize  cond  update               resized                     # target: no longer hidden
resize  cond  hidden               active/resize_migrated      host=h1  # source: hidden
"""
"""conductor/tasks/cross_cell_migrate.py: FinishResizeAtDestTask._update_instance_mapping."""
