"""Stories of servers that are built, or not."""

from tests.stories.beginnings import BUILDING
from tests.stories.telling import Story


def _tries(host: str, *, also: str = "") -> str:
    """Return a try on ``host`` that fails when the guest is spawned, and goes back to schedule."""
    return f"""
        create  {host}  update           building
        create  {host}  create.start
        create  {host}  update           building                       host={host}
        create  {host}  update           building/networking
        create  {host}  update           building/block_device_mapping
        create  {host}  update           building/spawning
        create  {host}  shutdown.start
        create  {host}  shutdown.end
        {also}
        create  {host}  update           building/spawning              host=-
        create  {host}  create.error
        create  {host}  update           building/spawning              # network_allocated
        create  {host}  update           building/scheduling
    """


_SPAWNS_ON_H3 = """
    create  cond  update           building/scheduling
    create  h3    update           building
    create  h3    create.start
    create  h3    update           building                       host=h3
    create  h3    update           building/networking
    create  h3    update           building/block_device_mapping
    create  h3    update           building/spawning
    create  h3    update           active
    create  h3    create.end
"""
_NO_MORE_HOSTS = """
    create  cond  update           error
    create  cond  compute_task.build_instances
    create  cond  update           error                          # _cleanup_allocated_networks
"""

STORIES = (
    Story(
        "built on the second host",
        "ComputeManager._do_build_and_run_instance: RescheduledException",
        f"create cond born building/scheduling {_tries('h1')} {_SPAWNS_ON_H3}",
        ends="active",
    ),
    Story(
        "built on the third host",
        "the same twice: SHUT_DOWN and CREATE error of each host",
        f"create cond born building/scheduling {_tries('h1')} {_tries('h2')} {_SPAWNS_ON_H3}",
        ends="active",
    ),
    Story(
        "three hosts fail",
        "ComputeTaskManager.build_instances: MaxRetriesExceeded; LP 1161661",
        "create cond born building/scheduling"
        + _tries("h1")
        + _tries("h2")
        + _tries("h3")
        + _NO_MORE_HOSTS,
        ends="error",
    ),
    Story(
        "two nodes of one Ironic host fail, the third is built",
        "one nova-compute, several nodes: the publisher does not tell the tries apart",
        f"create cond born building/scheduling {_tries('h3')} {_tries('h3')} {_SPAWNS_ON_H3}",
        ends="active",
    ),
    Story(
        "three nodes of one Ironic host fail",
        "LP 1341420; ComputeTaskManager.build_instances",
        "create cond born building/scheduling" + 3 * _tries("h1") + _NO_MORE_HOSTS,
        ends="error",
    ),
    Story(
        "claim fails on the first host",
        "_build_and_run_instance: ComputeResourcesUnavailable, before anything was spawned",
        f"""
        create  cond  born             building/scheduling
        create  h1    update           building
        create  h1    create.start
        create  h1    create.error
        create  h1    update           building                       # network_allocated
        create  h1    update           building/scheduling
        {_SPAWNS_ON_H3}
        """,
        ends="active",
    ),
    Story(
        "spawn fails, no retry",
        "_do_build_and_run_instance: a forced host has no retry, the error comes by an update",
        f"""{BUILDING}
        create  h1    shutdown.start
        create  h1    shutdown.end
        create  h1    update           building/spawning              host=-
        create  h1    create.error
        create  h1    update           building/spawning
        create  h1    update           error
        """,
        ends="error",
        unheard="building/spawning",
    ),
    Story(
        "aborted with volumes",
        "_do_build_and_run_instance: BuildAbortException, _cleanup_volumes; the second one refuses",
        """
        create  cond  born                 building/scheduling
        create  h1    update               building
        create  h1    create.start
        create  h1    update               building                       host=h1
        create  h1    update               building/networking
        create  h1    update               building/block_device_mapping
        create  h1    update               building/block_device_mapping  host=-
        create  h1    create.error
        create  h1    update               building/block_device_mapping  # network_allocated
        create  h1    volume_detach.start                                 volume=v1
        create  h1    volume_detach.end                                   volume=v1
        create  h1    volume_detach.start                                 volume=v2
        create  h1    volume_detach.start                                 volume=v3
        create  h1    volume_detach.end                                   volume=v3
        create  h1    update               error
        """,
        ends="error",
        unheard="building/block_device_mapping",
    ),
    Story(
        "rescheduled, then aborted on the second host",
        "_build_resources: BuildAbortException after a RescheduledException",
        f"""
        create  cond  born             building/scheduling
        {_tries("h1")}
        create  cond  update           building/scheduling
        create  h2    update           building
        create  h2    create.start
        create  h2    update           building                       host=h2
        create  h2    update           building/networking
        create  h2    update           building/networking            host=-
        create  h2    create.error
        create  h2    update           error
        """,
        ends="error",
        unheard="building/networking",
    ),
    Story(
        "clean-up of a failed build fails",
        "_try_deallocate_network: the error comes before CREATE error, which then carries it",
        f"""{BUILDING}
        create  h1    shutdown.start
        create  h1    update           error/spawning
        create  h1    update           error/spawning                 host=-
        create  h1    create.error
        create  h1    update           error
        """,
        ends="error",
        unheard="error/spawning",
    ),
    Story(
        "restart in the middle of a build",
        "ComputeManager._init_instance; LP 1304333",
        f"{BUILDING} \n init h1 update error",
        ends="error",
        unheard="building",
    ),
    Story(
        "restart before the claim",
        "ComputeManager._error_out_instances_whose_build_was_interrupted; LP 1833581",
        """
        create  cond  born             building/scheduling
        init    h1    update           error
        """,
        ends="error",
        unheard="building/scheduling",
    ),
    Story(
        "no valid host",
        "ComputeTaskManager._bury_in_cell0: the first thing told is the error",
        """
        create  cond  update           error
        create  cond  compute_task.build_instances
        """,
        ends="error",
    ),
    Story(
        "over quota at the second look",
        "schedule_and_build_instances: _recheck_quota, _cleanup_build_artifacts",
        """
        create  cond  update           error
        create  cond  compute_task.build_instances
        delete  api   update           error/deleting
        delete  api   delete.start
        delete  api   update           deleted
        delete  api   destroy
        delete  api   delete.end
        """,
        ends="deleted",
    ),
    Story(
        "accelerators cannot be bound",
        "schedule_and_build_instances: _create_and_bind_arq_for_instance raises",
        """
        create  cond  born             building/scheduling
        create  cond  update           error
        create  cond  compute_task.build_instances
        """,
        ends="error",
    ),
    Story(
        "build times out and ends after all",
        "ComputeManager._check_instance_build_time; LP 1200266",
        f"""{BUILDING}
        timeout  h1   update           error/spawning
        create   h1   update           active
        create   h1   create.end
        """,
        ends="active",
    ),
    Story(
        "build times out",
        "ComputeManager._check_instance_build_time: the task stays",
        f"{BUILDING} \n timeout h1 update error/spawning",
        ends="error/spawning",
        unheard="building",
    ),
    Story(
        "deleted while it is spawned",
        "_build_and_run_instance: UnexpectedDeletingTaskStateError; the claim saves old fields",
        f"""{BUILDING}
        delete  api   update           building/deleting
        create  h1    shutdown.start   building/spawning
        create  h1    shutdown.end     building/spawning
        create  h1    update           building/spawning              host=-
        create  h1    create.error
        create  h1    update           building/spawning
        delete  h1    delete.start     building/deleting              host=h1
        delete  h1    shutdown.start   building/deleting              host=h1
        delete  h1    shutdown.end     building/deleting              host=h1
        delete  h1    update           deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        ends="deleted",
    ),
    Story(
        "deleted when it has just been spawned",
        "_build_and_run_instance: the last save is refused; CREATE error says active",
        f"""{BUILDING}
        delete  api   update           building/deleting
        create  h1    create.error     active
        create  h1    update           active                         # saved with network_allocated
        delete  h1    delete.start     building/deleting
        delete  h1    shutdown.start   building/deleting
        delete  h1    shutdown.end     building/deleting
        delete  h1    update           deleted
        delete  h1    destroy
        delete  h1    delete.end
        """,
        ends="deleted",
    ),
    Story(
        "built, and built again elsewhere under the same name",
        "rebuilt at once: another request tells the same kinds of things",
        f"""
        create   cond  born              building/scheduling
        {_tries("h1")}{_SPAWNS_ON_H3}
        rebuild  api   update            active/rebuilding
        rebuild  cond  rebuild_scheduled                                to=h3
        rebuild  h3    rebuild.start
        rebuild  h3    update            active/rebuilding
        rebuild  h3    update            active/rebuild_block_device_mapping
        rebuild  h3    update            active/rebuild_spawning
        rebuild  h3    update            active
        rebuild  h3    rebuild.end
        """,
        ends="active",
    ),
    Story(
        "claimed by the third host, whose spawn fails for good",
        "_do_build_and_run_instance: two claims refused, then BuildAbortException",
        """
        create  cond  born             building/scheduling
        create  h1    update           building
        create  h1    create.start
        create  h1    create.error
        create  h1    update           building/scheduling
        create  cond  update           building/scheduling
        create  h2    update           building
        create  h2    create.start
        create  h2    create.error
        create  h2    update           building/scheduling
        create  cond  update           building/scheduling
        create  h3    update           building
        create  h3    create.start
        create  h3    update           building                       host=h3
        create  h3    update           building/networking
        create  h3    update           building/networking            host=-
        create  h3    create.error
        create  h3    update           error
        """,
        ends="error",
        unheard="building/networking",
    ),
    Story(
        "failed build rebuilt",
        "API.rebuild takes an error; a build of which nothing is left has no host to do it",
        """
        create   cond  born             building/scheduling
        create   cond  update           error
        create   cond  compute_task.build_instances
        rebuild  api   update           error/rebuilding
        rebuild  cond  update           error
        rebuild  cond  compute_task.rebuild_server
        """,
        ends="error",
    ),
)
