"""Stories that older releases of nova tell otherwise; they knew legacy notifications only."""

from tests.stories.beginnings import ACTIVE, BUILDING
from tests.stories.telling import Story

STORIES = (
    Story(
        "live snapshot",
        "Grizzly: ComputeManager.live_snapshot_instance",
        """
        snapshot  api  update               active/image_live_snapshot
        snapshot  h1   live_snapshot.start
        snapshot  h1   update               active/image_uploading
        snapshot  h1   update               active
        snapshot  h1   live_snapshot.end
        """,
        given=ACTIVE,
        ends="active",
        formats=("legacy",),
    ),
    Story(
        "twice prefixed",
        "Icehouse: _reschedule_or_error tells compute.instance.instance.create.error",
        f"""{BUILDING}
        create  h1    instance.create.error
        create  h1    update                error
        """,
        ends="error",
        unheard="building/spawning",
        formats=("legacy",),
    ),
    Story(
        "deleted while it is built",
        "Mitaka: _build_and_run_instance tells create.end with an exception; LP 1578500",
        f"""{BUILDING}
        delete  api   update           building/deleting
        create  h1    create.end       building/spawning              fault
        delete  h1    delete.start     building/deleting
        delete  h1    shutdown.start   building/deleting
        delete  h1    shutdown.end     building/deleting
        delete  h1    update           deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        ends="deleted",
        formats=("legacy",),
    ),
    Story(
        "deleted when it has just been built",
        "Mitaka: the last save is refused, create.end with an exception says active",
        f"""{BUILDING}
        delete  api   update           building/deleting
        create  h1    create.end       active                         fault
        delete  h1    delete.start     building/deleting
        delete  h1    shutdown.start   building/deleting
        delete  h1    shutdown.end     building/deleting
        delete  h1    update           deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        ends="deleted",
        formats=("legacy",),
    ),
    Story(
        "twice prefixed on two hosts",
        "Icehouse: a retry",
        """
        create  cond  born                 building/scheduling
        create  h1    create.start
        create  h1    update               building/spawning          host=h1
        create  h1    instance.create.error
        create  h1    update               building/scheduling        host=-
        create  h2    create.start
        create  h2    update               building/spawning          host=h2
        create  h2    instance.create.error
        create  h2    update               error
        """,
        ends="error",
        unheard="building/spawning",
        formats=("legacy",),
    ),
    Story(
        "live snapshot of a server that is paused meanwhile",
        "Grizzly: the snapshot's end is read from the database",
        """
        snapshot  api  update               active/image_live_snapshot
        snapshot  h1   live_snapshot.start
        snapshot  h1   update               active
        snapshot  h1   live_snapshot.end
        pause     api  update               active/pausing
        pause     h1   pause.start
        pause     h1   update               paused
        pause     h1   pause.end
        """,
        given=ACTIVE,
        ends="paused",
        formats=("legacy",),
    ),
    Story(
        "failed build without host deleted",
        "Ocata: API._delete: destroy() leaves error",
        """
        create  cond  update           error
        create  cond  compute_task.build_instances
        delete  api   update           error/deleting
        delete  api   delete.start
        delete  api   destroy
        delete  api   delete.end
        """,
        ends="deleted",
    ),
    Story(
        "password is not set",
        "Pike: set_admin_password sets error",
        """
        password  api  update          active/updating_password
        password  h1   update          error/updating_password
        password  h1   update          error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active",
    ),
)
