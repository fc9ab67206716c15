"""How a server is rebuilt, where it is or elsewhere: compute and conductor/manager.py."""

from tests.simulated_nova.power import Operation
from tests.simulated_nova.server import API, CONDUCTOR, HOSTS, Server


def _begin_rebuild(server: Server, volumes: int = 0) -> None:
    server.update(task="rebuilding", by=API)
    _rebuild_on(server, server.host or HOSTS[0], volumes)


def _rebuild_on(server: Server, host: str, volumes: int) -> None:
    server.tell("rebuild_scheduled", by=CONDUCTOR, versioned_by=f"nova-conductor:{host}")
    server.tell("rebuild.start", by=host)
    server.update(task="rebuilding")
    for number in range(volumes):
        fields = {"volume_id": f"volume-{number}"}
        server.tell("volume_detach.start", by=host, fields=fields)
        server.tell("volume_detach.end", by=host, fields=fields)
    server.update(task="rebuild_block_device_mapping")
    server.update(task="rebuild_spawning")


def rebuild(server: Server, volumes: int = 0) -> None:
    """Rebuild it; each of its volumes is detached under the same request."""
    _begin_rebuild(server, volumes)
    server.update("active")
    server.tell("rebuild.end")


def rebuild_with_volumes(server: Server) -> None:
    """Rebuild it with three volumes."""
    rebuild(server, volumes=3)


def rebuild_stopped(server: Server) -> None:
    """Rebuild a stopped server: power_off is nested before the end."""
    _begin_rebuild(server)
    server.update("active")
    server.update("active", "powering-off")
    server.tell("power_off.start")
    server.update("stopped")
    server.tell("power_off.end")
    server.tell("rebuild.end")


def rebuild_fails(server: Server) -> None:
    """Fail to rebuild it: its error is told while it is active still."""
    _begin_rebuild(server, volumes=1)
    server.tell("rebuild.error")
    server.fail_and_revert()


def rebuild_is_rolled_back(server: Server) -> None:
    """Fail to claim it (InstanceFaultRollback): it is as before."""
    _begin_rebuild(server)
    server.tell("rebuild.error")
    server.revert_task()


def rebuild_finds_no_host(server: Server) -> None:
    """Give a rebuild up in the conductor."""
    server.update(task="rebuilding", by=API)
    server.conductor_gives_up("rebuild_server")


def rebuild_is_cut_off(server: Server) -> None:
    """Lose its host's nova-compute in the middle; at its restart (_init_instance) it fails."""
    _begin_rebuild(server)
    server.begin()
    server.fail()


def evacuate(server: Server) -> None:
    """Rebuild it with its volumes on another host, which only the last save says."""
    target = _other_host(server)
    server.update(task="rebuilding", by=API)
    server.tell("evacuate", by=API)
    _rebuild_on(server, target, volumes=2)
    server.update("active")
    server.tell("rebuild.end", by=target)
    server.host = target
    server.update()


def _other_host(server: Server) -> str:
    return HOSTS[1] if server.host == HOSTS[0] else HOSTS[0]


REBUILDING: tuple[tuple[str, Operation], ...] = (
    ("active error", rebuild),
    ("active", rebuild_with_volumes),
    ("stopped", rebuild_stopped),
    ("active stopped", rebuild_fails),
    ("active stopped", rebuild_is_rolled_back),
    ("active", rebuild_finds_no_host),
    ("active", rebuild_is_cut_off),
    ("active stopped error", evacuate),
)
"""Operations, with the vm_states in which they are possible."""
