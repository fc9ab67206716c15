"""Stories of servers that are deleted, on every road."""

from tests.stories.beginnings import (
    ACTIVE,
    BUILD_FAILED,
    MIGRATING,
    OFFLOADED,
    PAUSED,
    RESIZED,
    SOFT_DELETED,
    STOPPED,
    SUSPEND_FAILED,
)
from tests.stories.telling import Story

_SCHEDULING = """
    create  cond  born             building/scheduling
"""
_ON_COMPUTE = """
    delete  h1    delete.start
    delete  h1    shutdown.start
    delete  h1    shutdown.end
    delete  h1    update           deleted
    delete  h1    destroy
    delete  h1    delete.end
"""
_LOCAL = """
    delete  api   delete.start
    delete  api   update           deleted
    delete  api   destroy
    delete  api   delete.end
"""
_FORCED = _LOCAL.replace("delete.", "force_delete.")
_SHARES = "\n".join(
    f"delete h1 share_detach.{phase} share=s{number}"
    for number in range(40)
    for phase in ("start", "end")
)

STORIES = (
    Story(
        "deleted",
        "ComputeManager._delete_instance",
        f"delete api update active/deleting {_ON_COMPUTE}",
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "error deleted",
        "the same; a task of a server in error is no news of an error",
        f"delete api update error/deleting {_ON_COMPUTE}",
        given=SUSPEND_FAILED,
        ends="deleted",
    ),
    Story(
        "failed build deleted",
        "API._local_delete: no host, and may have ports or volumes",
        f"delete api update error/deleting {_LOCAL}",
        given=BUILD_FAILED,
        ends="deleted",
    ),
    Story(
        "host down",
        "API._local_delete",
        f"delete api update active/deleting {_LOCAL}",
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "offloaded",
        "API._local_delete: shelved_offloaded has no host",
        f"delete api update shelved_offloaded/deleting {_LOCAL}",
        given=OFFLOADED,
        ends="deleted",
    ),
    Story(
        "force deleted, host down",
        "compute/utils.py notify_about_instance_delete: force_delete is legacy only",
        f"delete api update stopped/deleting {_FORCED}",
        given=STOPPED,
        ends="deleted",
        unheard={"versioned": "stopped"},
    ),
    Story(
        "force deleted, offloaded",
        "API._local_delete('force_delete')",
        f"delete api update shelved_offloaded/deleting {_FORCED}",
        given=OFFLOADED,
        ends="deleted",
        unheard={"versioned": "shelved_offloaded"},
    ),
    Story(
        "force deleted after a soft deletion, host down",
        "API.force_delete; deleted_at is set before",
        f"delete api update soft-delete/deleting {_FORCED}",
        given=SOFT_DELETED,
        ends="deleted",
        unheard={"versioned": "soft-delete"},
    ),
    Story(
        "force deleted after a failed build",
        "API._local_delete('force_delete'): no host",
        f"delete api update error/deleting {_FORCED}",
        given=BUILD_FAILED,
        ends="deleted",
        unheard={"versioned": "building/spawning"},
    ),
    Story(
        "force deleted, host down, and it fails once",
        "notify_about_instance_delete's finally: force_delete.end although nothing is deleted",
        f"""
        first   api   update              paused/deleting
        first   api   force_delete.start
        first   api   force_delete.end
        delete  api   update              paused/deleting
        {_FORCED}
        """,
        given=PAUSED,
        ends="deleted",
        unheard={"versioned": "paused"},
    ),
    Story(
        "force deleted, host up",
        "API.force_delete: compute tells a plain delete",
        f"delete api update paused/deleting {_ON_COMPUTE}",
        given=PAUSED,
        ends="deleted",
    ),
    Story(
        "soft deleted",
        "ComputeManager.soft_delete_instance",
        "",
        given=SOFT_DELETED,
        ends="soft-delete",
    ),
    Story(
        "soft deleted and restored",
        "ComputeManager.restore_instance",
        """
        restore  api  update           soft-delete/restoring          -deleted_at
        restore  h1   restore.start
        restore  h1   update           active
        restore  h1   restore.end
        """,
        given=SOFT_DELETED,
        ends="active",
    ),
    Story(
        "restoring fails",
        "reverts_task_state",
        """
        restore  api  update           soft-delete/restoring          -deleted_at
        restore  h1   restore.start
        restore  h1   update           soft-delete
        """,
        given=SOFT_DELETED,
        ends="soft-delete",
        unheard="soft-delete/restoring",
    ),
    Story(
        "reclaimed",
        "ComputeManager._reclaim_queued_deletes: no task before or after",
        _ON_COMPUTE,
        given=SOFT_DELETED,
        ends="deleted",
    ),
    Story(
        "reclaimed at the second try",
        "the same; a failure is only logged",
        f"""
        first   h1    delete.start
        first   h1    shutdown.start
        {_ON_COMPUTE}
        """,
        given=SOFT_DELETED,
        ends="deleted",
    ),
    Story(
        "soft deleted, host down",
        "API._do_soft_delete(local=True): destroyed for good, with state soft-delete",
        """
        delete  api   update           active/soft-deleting           +deleted_at
        delete  api   delete.start
        delete  api   update           soft-delete                    +terminated_at
        delete  api   destroy
        delete  api   delete.end
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "soft deletion fails on the host",
        "soft_delete_instance: the context manager tells the end all the same",
        """
        soft    api   update           active/soft-deleting           +deleted_at
        soft    h1    soft_delete.start
        soft    h1    soft_delete.end
        soft    h1    update           active
        """,
        given=ACTIVE,
        ends="active",
        unheard="active/soft-deleting",
    ),
    Story(
        "soft deletion of an offloaded server fails",
        "_local_delete raises before the save: deleted_at is set, no host, and it lives",
        """
        delete  api   update           shelved_offloaded/soft-deleting  +deleted_at
        delete  api   delete.start
        delete  api   delete.end
        """,
        given=OFFLOADED,
        ends="shelved_offloaded/soft-deleting",
    ),
    Story(
        "soft deletion fails, then a local deletion fails",
        "what soft_delete left in deleted_at stays: DELETE end with it is no deletion",
        """
        soft    api   update           active/soft-deleting           +deleted_at
        soft    h1    soft_delete.start
        soft    h1    soft_delete.end
        soft    h1    update           active
        delete  api   update           active/deleting
        delete  api   delete.start
        delete  api   delete.end
        """,
        given=ACTIVE,
        ends="active/deleting",
    ),
    Story(
        "before it has a host",
        "API._delete: instance.destroy() leaves vm_state alone; LP 1211742",
        """
        delete  api   delete.start
        delete  api   destroy
        delete  api   delete.end
        """,
        given=_SCHEDULING,
        ends="deleted",
    ),
    Story(
        "before it has a host, by the conductor",
        "ComputeTaskManager._delete_build_request, under the build's request",
        """
        create  cond  delete.start
        create  cond  destroy
        create  cond  delete.end
        """,
        given=_SCHEDULING,
        ends="deleted",
    ),
    Story(
        "before it has a host, by API and conductor",
        "_delete_while_booting, then _delete_build_request whose copy knows no deletion",
        """
        delete  api   delete.start
        create  cond  delete.start
        delete  api   destroy
        delete  api   delete.end
        create  cond  delete.end       building/scheduling            -deleted_at
        """,
        given=_SCHEDULING,
        ends="deleted",
    ),
    Story(
        "before it has a host, rescheduling",
        "API._delete: between two hosts the server has none",
        """
        create  h1    update           building
        create  h1    create.start
        create  h1    create.error
        create  h1    update           building/scheduling
        delete  api   delete.start
        delete  api   destroy
        delete  api   delete.end
        """,
        given=_SCHEDULING,
        ends="deleted",
    ),
    Story(
        "the host changes while the API deletes",
        "API._delete: ObjectActionError; the API's own attempt ends without a deletion",
        """
        create  h1    update           building
        create  h1    create.start
        delete  api   delete.start     building/scheduling
        create  h1    update           building                       host=h1
        delete  api   delete.end       building/scheduling            host=-
        delete  api   update           building/deleting
        create  h1    update           building/networking            host=-
        create  h1    create.error     building/networking
        delete  h1    delete.start     building/deleting              host=h1
        delete  h1    shutdown.start   building/deleting              host=h1
        delete  h1    shutdown.end     building/deleting              host=h1
        delete  h1    update           deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        given=_SCHEDULING,
        ends="deleted",
    ),
    Story(
        "the host changes while the API deletes, and goes down",
        "API._delete, then _local_delete: two pairs of one publisher in one request",
        f"""
        create  h1    update           building
        create  h1    create.start
        delete  api   delete.start     building/scheduling
        create  h1    update           building                       host=h1
        delete  api   delete.end       building/scheduling            host=-
        delete  api   update           building/deleting
        {_LOCAL}
        """,
        given=_SCHEDULING,
        ends="deleted",
    ),
    Story(
        "before anything was told of it",
        "API._delete_while_booting: the build has only begun",
        """
        delete  api   delete.start
        delete  api   destroy
        delete  api   delete.end
        """,
        ends="deleted",
    ),
    Story(
        "deletion fails",
        "ComputeManager.terminate_instance, reverts_task_state; LP 1195884",
        """
        delete  api   update           active/deleting
        delete  h1    delete.start
        delete  h1    shutdown.start
        delete  h1    update           error/deleting
        delete  h1    update           error
        """,
        given=ACTIVE,
        ends="error",
        unheard="active/deleting",
    ),
    Story(
        "deletion fails, then does not",
        "the same, and a second request",
        f"""
        first   api   update           active/deleting
        first   h1    delete.start
        first   h1    shutdown.start
        first   h1    update           error/deleting
        first   h1    update           error
        delete  api   update           error/deleting
        {_ON_COMPUTE}
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deletion of an error fails",
        "terminate_instance: error before, error after, no change",
        """
        delete  api   update           error/deleting
        delete  h1    delete.start
        delete  h1    shutdown.start
        delete  h1    update           error
        """,
        given=SUSPEND_FAILED,
        ends="error",
        unheard="error/deleting",
    ),
    Story(
        "deletion on a host that is down fails, then does not",
        "API._local_delete: no network service; the end is told in a finally",
        f"""
        first   api   update           active/deleting
        first   api   delete.start
        first   api   delete.end
        delete  api   update           active/deleting
        {_LOCAL}
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deleted twice at once",
        "API._delete: both calls saw no task; the second ends in InstanceNotFound",
        f"""
        delete  api   update           active/deleting
        second  api   update           active/deleting
        {_ON_COMPUTE}
        second  h1    delete.start     active/deleting                -deleted_at
        second  h1    shutdown.start   active/deleting                -deleted_at
        second  h1    shutdown.end     active/deleting                -deleted_at
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deletion cut off by a restart",
        "ComputeManager._init_instance begins it again, under a request of its own",
        """
        delete  api   update           active/deleting
        delete  h1    delete.start
        delete  h1    shutdown.start
        init    h1    delete.start
        init    h1    shutdown.start
        init    h1    shutdown.end
        init    h1    update           deleted
        init    h1    destroy
        init    h1    delete.end
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deletion cut off by a restart fails",
        "ComputeManager._init_instance: the task stays",
        """
        delete  api   update           active/deleting
        delete  h1    delete.start
        init    h1    delete.start
        init    h1    shutdown.start
        init    h1    update           error/deleting
        """,
        given=ACTIVE,
        ends="error/deleting",
        unheard="active/deleting",
    ),
    Story(
        "deleted while resized",
        "API._confirm_resize_on_deleting: the API's copy stays resized",
        """
        delete  api   update               resized/deleting
        delete  h1    resize_confirm.start
        delete  h1    update               active
        delete  h1    resize_confirm.end
        delete  h1    update               active                     # the old flavor
        delete  h2    delete.start         resized/deleting
        delete  h2    shutdown.start       resized/deleting
        delete  h2    shutdown.end         resized/deleting
        delete  h2    update               deleted
        delete  h2    destroy
        delete  h2    delete.end
        """,
        given=RESIZED,
        ends="deleted",
    ),
    Story(
        "deleted in the middle of a live migration",
        "API.delete takes any task; the rollback comes after the deletion",
        f"""{MIGRATING}
        delete   api  update                        active/deleting
        {_ON_COMPUTE}
        migrate  h1   live_migration_rollback.start active/migrating  -deleted_at
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deleted in the middle of a rebuild",
        "ComputeManager.rebuild_instance: REBUILD error with what it had in mind",
        """
        rebuild  api   update            active/rebuilding
        rebuild  cond  rebuild_scheduled                              to=h1
        rebuild  h1    rebuild.start
        delete   api   update            active/deleting
        delete   h1    delete.start
        rebuild  h1    rebuild.error     active/rebuild_block_device_mapping
        delete   h1    shutdown.start
        delete   h1    shutdown.end
        delete   h1    update            deleted
        delete   h1    destroy
        delete   h1    delete.end
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deleted with shares",
        "ComputeManager._shutdown_instance: deny_share for each",
        """
        delete  api   update              active/deleting
        delete  h1    delete.start
        delete  h1    shutdown.start
        delete  h1    share_detach.start                              share=s1
        delete  h1    share_detach.end                                share=s1
        delete  h1    share_detach.start                              share=s2
        delete  h1    share_detach.error                              share=s2
        delete  h1    share_detach.start                              share=s3
        delete  h1    share_detach.end                                share=s3
        delete  h1    shutdown.end
        delete  h1    update              deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        given=ACTIVE,
        ends="deleted",
    ),
    Story(
        "deletion cut off when it was all but done",
        "_complete_partial_deletion tells the end, under the restart's request",
        """
        delete  api   update              active/deleting
        delete  h1    delete.start
        delete  h1    shutdown.start
        delete  h1    shutdown.end
        delete  h1    update              deleted
        init    h1    destroy
        init    h1    delete.end
        """,
        given=ACTIVE,
        ends="deleted",
        unheard="deleted",
    ),
    Story(
        "deleted with forty shares",
        "more things of one request than a row remembers",
        f"""
        delete  api   update              active/deleting
        delete  h1    delete.start
        delete  h1    shutdown.start
        {_SHARES}
        delete  h1    shutdown.end
        delete  h1    update              deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        given=ACTIVE,
        ends="deleted",
    ),
)
