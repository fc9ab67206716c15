"""What happens to a server where it is: nova/compute/manager.py."""

from collections.abc import Callable

from tests.simulated_nova.server import API, HOSTS, Server

Operation = Callable[[Server], None]


def over_one_task(action: str, task: str, end: str) -> Operation:
    """Return the operation ``action``, which leads over one task_state to the vm_state ``end``."""

    def operate(server: Server) -> None:
        server.update(task=task, by=API)
        server.tell(f"{action}.start")
        server.update(end)
        server.tell(f"{action}.end")

    operate.__name__ = action
    return operate


def reverts(action: str, task: str) -> Operation:
    """Return the operation that fails after its start; reverts_task_state alone tells it."""

    def operate(server: Server) -> None:
        server.update(task=task, by=API)
        server.tell(f"{action}.start")
        server.revert_task()

    operate.__name__ = f"{action}_reverts"
    return operate


def fails(action: str, task: str) -> Operation:
    """Return the operation that puts it into error, which updates alone tell."""

    def operate(server: Server) -> None:
        server.update(task=task, by=API)
        server.tell(f"{action}.start")
        server.fail_and_revert()

    operate.__name__ = f"{action}_fails"
    return operate


def _begin_reboot(server: Server) -> None:
    server.update(task="rebooting_hard", by=API)
    pending = (server.state, "reboot_pending_hard")  # which it saves right afterwards
    server.tell("reboot.start", copy=pending, means=pending)
    server.update(task="reboot_pending_hard")
    server.update(task="reboot_started_hard")


def hard_reboot(server: Server) -> None:
    """Reboot it hard."""
    _begin_reboot(server)
    server.update("active")
    server.tell("reboot.end")


def hard_reboot_fails(server: Server) -> None:
    """Fail to reboot it: no word but the updates'."""
    _begin_reboot(server)
    server.fail_and_revert()


def hard_reboot_fails_but_it_runs(server: Server) -> None:
    """Fail to reboot it while it runs: error and end are told, and it is active."""
    _begin_reboot(server)
    server.tell("reboot.error")
    server.update("active")
    server.tell("reboot.end")


def set_password(server: Server) -> None:
    """Set its password: told by updates only."""
    server.update(task="updating_password", by=API)
    server.update()


def set_metadata(server: Server) -> None:
    """Save it without any change of state."""
    server.update(task=server.task, by=API)


def lock(server: Server) -> None:
    """Lock it: told by versioned notifications only."""
    server.update(task=server.task, by=API)
    server.tell("lock", by=API)


def reset_state(server: Server) -> None:
    """Reset it to error and back: told by updates only."""
    if server.state != "error":
        server.update("error", by=API, alone=True)
        server.begin()
    server.update("active", by=API, alone=True)


def late_error(server: Server) -> None:
    """Find an error after the action's end, under its request."""
    set_metadata(server)
    server.fail()


def snapshot_over_all_tasks(server: Server) -> None:
    """Make an image of it, over all the tasks."""
    server.update(task="image_snapshot_pending", by=API)
    server.update(task="image_snapshot")
    server.tell("snapshot.start")
    server.update(task="image_pending_upload")
    server.update(task="image_uploading")
    server.update()
    server.tell("snapshot.end")


def shelve_and_offload(server: Server) -> None:
    """Shelve it with shelved_offload_time 0: both actions under one request, no host at last."""
    server.update(task="shelving", by=API)
    server.tell("shelve.start")
    server.update(task="shelving_image_pending_upload")
    server.update(task="shelving_image_uploading")
    server.update("shelved", "shelving_offloading")
    server.tell("shelve.end")
    _offload(server)


def shelve_offload(server: Server) -> None:
    """Offload what is shelved."""
    server.update(task="shelving_offloading", by=API)
    _offload(server)


def _offload(server: Server) -> None:
    host = server.host or HOSTS[0]
    server.tell("shelve_offload.start")
    server.update("shelved_offloaded")
    server.host = None
    server.update()
    server.tell("shelve_offload.end", by=host)


def unshelve(server: Server) -> None:
    """Spawn on another host what was offloaded."""
    server.update(task="unshelving", by=API)
    server.tell("unshelve.start", by=HOSTS[1])
    server.update(task="spawning")
    server.host = HOSTS[1]
    server.update(task="spawning")
    server.update("active")
    server.tell("unshelve.end")


def unshelve_where_it_is(server: Server) -> None:
    """Start what was not offloaded yet: that is told as POWER_ON."""
    server.update(task="unshelving", by=API)
    server.update(task="powering-on")
    server.tell("power_on.start")
    server.update("active")
    server.tell("power_on.end")


def unshelve_without_image(server: Server) -> None:
    """Miss its image in the conductor, which leaves the task; an operator resets that."""
    server.update(task="unshelving", by=API)
    server.fail("unshelving")
    server.begin()
    server.update(by=API)


def unshelve_fails(server: Server) -> None:
    """Fail to spawn it again: it stays shelved, and has no host again."""
    server.update(task="unshelving", by=API)
    server.tell("unshelve.start", by=HOSTS[1])
    server.update(task="spawning")
    server.revert_task()


POWER: tuple[tuple[str, Operation], ...] = (
    ("active", over_one_task("power_off", "powering-off", "stopped")),
    ("active", reverts("power_off", "powering-off")),
    ("stopped", over_one_task("power_on", "powering-on", "active")),
    ("stopped", reverts("power_on", "powering-on")),
    ("stopped", fails("power_on", "powering-on")),  # its shares cannot be mounted
    ("active", over_one_task("pause", "pausing", "paused")),
    ("active", reverts("pause", "pausing")),
    ("paused", over_one_task("unpause", "unpausing", "active")),
    ("active", over_one_task("suspend", "suspending", "suspended")),
    ("active", fails("suspend", "suspending")),
    ("active", reverts("suspend", "suspending")),
    ("suspended", over_one_task("resume", "resuming", "active")),
    ("suspended", fails("resume", "resuming")),
    ("active stopped error", over_one_task("rescue", "rescuing", "rescued")),
    ("active stopped", fails("rescue", "rescuing")),
    ("rescued", over_one_task("unrescue", "unrescuing", "active")),
    ("rescued", fails("unrescue", "unrescuing")),
    ("active stopped error", over_one_task("reboot", "rebooting", "active")),
    ("active stopped error", hard_reboot),
    ("active stopped", hard_reboot_fails),
    ("active", hard_reboot_fails_but_it_runs),
    ("active", set_password),
    ("active stopped paused", set_metadata),
    ("active error", lock),
    ("active error", reset_state),
    ("active paused", late_error),
    ("active", over_one_task("snapshot", "image_snapshot", "active")),
    ("active", snapshot_over_all_tasks),
    ("active stopped", over_one_task("shelve", "shelving", "shelved")),
    ("active stopped", shelve_and_offload),
    ("shelved", shelve_offload),
    ("shelved", unshelve_where_it_is),
    ("shelved_offloaded", unshelve),
    ("shelved_offloaded", unshelve_without_image),
    ("shelved_offloaded", unshelve_fails),
)
"""Operations, with the vm_states in which they are possible."""
