"""How a server comes to be, or fails to: nova/compute/manager.py, conductor/manager.py."""

from collections.abc import Callable, Sequence
from functools import partial

from tests.simulated_nova.server import API, CONDUCTOR, HOSTS, Server


def _schedule(server: Server) -> None:
    """Create it in a cell's database, by a conductor (schedule_and_build_instances)."""
    server.update(task="scheduling")


def _start(server: Server, host: str) -> None:
    """Begin to build it on a host; until it is claimed there it has none."""
    server.update()
    server.tell("create.start", by=host)
    server.host = host
    server.update()


def _networks_and_volumes(server: Server) -> None:
    server.update(task="networking")
    server.update(task="block_device_mapping")


def _spawn(server: Server) -> None:
    _networks_and_volumes(server)
    server.update(task="spawning")
    server.update("active")
    server.tell("create.end")


def create(server: Server) -> None:
    """Build it."""
    _schedule(server)
    _start(server, HOSTS[0])
    _spawn(server)


def _tear_down(server: Server) -> None:
    """Undo a failed build: _shutdown_instance, then the claim is aborted and the host is null."""
    server.tell("shutdown.start")
    server.tell("shutdown.end")
    server.host = None
    server.update(task=server.task)


def _fail_on(server: Server, host: str) -> None:
    """Fail to spawn it on a host; the host hands it back to the conductor."""
    _start(server, host)
    _networks_and_volumes(server)
    server.update(task="spawning")
    _tear_down(server)
    server.tell("create.error", by=host)
    server.update(task="scheduling")


def create_after_retries(server: Server, hosts: Sequence[str] = HOSTS[1:3]) -> None:
    """Fail on some hosts, then build it on another."""
    _schedule(server)
    for host in hosts:
        _fail_on(server, host)
        server.update(task="scheduling")  # build_instances saves its availability zone
    _start(server, HOSTS[0])
    _spawn(server)


def create_runs_out_of_hosts(server: Server, hosts: Sequence[str] = HOSTS[:3]) -> None:
    """Fail on every host that there is (MaxRetriesExceeded)."""
    _schedule(server)
    for host in hosts:
        _fail_on(server, host)
    server.conductor_gives_up("build_instances")


def create_fails(server: Server) -> None:
    """Find no host at all: it is buried in cell0."""
    server.task = "scheduling"
    server.conductor_gives_up("build_instances")


def create_without_room(server: Server) -> None:
    """Fail to claim a host (ComputeResourcesUnavailable), which tears nothing down."""
    _schedule(server)
    server.update()
    server.tell("create.start", by=HOSTS[1])
    server.tell("create.error", by=HOSTS[1])
    server.update(task="scheduling")
    _start(server, HOSTS[0])
    _spawn(server)


def create_is_aborted(server: Server, volumes: int = 2) -> None:
    """Fail for good (BuildAbortException): its volumes are detached, its host is null."""
    _schedule(server)
    _start(server, HOSTS[0])
    _networks_and_volumes(server)
    server.update(task="spawning")
    _tear_down(server)
    server.tell("create.error", by=HOSTS[0])
    for number in range(volumes):
        fields = {"volume_id": f"volume-{number}"}
        server.tell("volume_detach.start", by=HOSTS[0], fields=fields)
        server.tell("volume_detach.end", by=HOSTS[0], fields=fields)
    server.fail()


def create_cannot_be_torn_down(server: Server) -> None:
    """Fail to tear a failed build down: its tear-down has no end."""
    _schedule(server)
    _start(server, HOSTS[0])
    _networks_and_volumes(server)
    server.update(task="spawning")
    server.tell("shutdown.start")
    server.host = None
    server.update(task="spawning")
    server.tell("create.error", by=HOSTS[0])
    server.fail()


def create_is_cut_off(server: Server) -> None:
    """Lose its host's nova-compute in the middle; at its restart (_init_instance) it fails."""
    _schedule(server)
    _start(server, HOSTS[0])
    _networks_and_volumes(server)
    server.begin()
    server.fail()


def create_takes_too_long(server: Server) -> None:
    """Run into instance_build_timeout (_check_instance_build_time), which keeps the task."""
    _schedule(server)
    _start(server, HOSTS[0])
    _networks_and_volumes(server)
    server.begin()
    server.fail("block_device_mapping")
    server.begin()
    server.update("error", by=API)  # reset-state


def create_ends_after_it_took_too_long(server: Server) -> None:
    """Run into instance_build_timeout, and be built after all."""
    _schedule(server)
    _start(server, HOSTS[0])
    _networks_and_volumes(server)
    server.update(task="spawning")
    building = f"req-{server.requests}"
    server.begin()
    server.fail("spawning")
    server.update("active", request=building)
    server.tell("create.end", request=building)


def delete_before_host(server: Server, by: str = API) -> None:
    """Delete it before it has a host: destroy() leaves the vm_state alone, and tells no update."""
    _schedule(server)
    server.begin()
    server.tell("delete.start", by=by)
    server.deleted_at = server.clock
    server.tell("delete.end", by=by, means=("deleted", ""))
    server.state, server.task = "deleted", ""


def delete_while_it_gets_a_host(server: Server) -> None:
    """Fail to delete it in the API, since its host claims it meanwhile; then its host does."""
    _schedule(server)
    copy, building, host = server.copy, f"req-{server.requests}", HOSTS[0]
    server.update()
    server.tell("create.start", by=host)
    server.begin()
    server.tell("delete.start", by=API, copy=copy)
    server.host = host
    server.update(request=building)
    server.tell("delete.end", by=API, copy=copy)
    server.update(task="deleting", by=API)
    copy = server.copy
    # The build finds the task; the claim that it gives back saves what it had set before.
    server.host = None
    server.update(task="networking", request=building)
    server.tell("create.error", by=host, request=building)
    server.tell("delete.start", by=host, copy=copy)
    server.tell("shutdown.start", by=host, copy=copy)
    server.tell("shutdown.end", by=host, copy=copy)
    server.terminated_at = server.clock
    server.update("deleted")
    server.deleted_at = server.clock
    server.tell("delete.end", by=host)


BIRTHS: tuple[tuple[str, Callable[[Server], None]], ...] = (
    ("create", create),
    ("create_after_retries", create_after_retries),
    # Two Ironic nodes of one nova-compute.
    ("create_after_another_node", partial(create_after_retries, hosts=HOSTS[:1])),
    ("create_after_two_other_nodes", partial(create_after_retries, hosts=(HOSTS[0], HOSTS[0]))),
    ("create_without_room", create_without_room),
    ("create_runs_out_of_hosts", create_runs_out_of_hosts),
    ("create_runs_out_of_nodes", partial(create_runs_out_of_hosts, hosts=HOSTS[:1] * 3)),
    ("create_fails", create_fails),
    ("create_is_aborted", create_is_aborted),
    ("create_cannot_be_torn_down", create_cannot_be_torn_down),
    ("create_is_cut_off", create_is_cut_off),
    ("create_takes_too_long", create_takes_too_long),
    ("create_ends_after_it_took_too_long", create_ends_after_it_took_too_long),
    ("delete_before_host", delete_before_host),
    ("delete_before_host_by_conductor", partial(delete_before_host, by=CONDUCTOR)),
    ("delete_while_it_gets_a_host", delete_while_it_gets_a_host),
)
"""Ways in which a server begins, by name; the first builds it without ado."""
