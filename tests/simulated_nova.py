"""Lives of servers, told as nova tells them, for property tests.

A life is a sequence of operations drawn from nova's state machine. Each tells its messages in both
formats, the versioned one shortly after the legacy one. What is told follows the recorded runs
(tests/data) operation by operation: stale copies, hosts that change and late errors included.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from tests.nova_messages import legacy, versioned
from vimfed.records import Notification

HOSTS = ("compute01", "compute02")


class Told(NamedTuple):
    """One thing that nova tells, in the formats that know it."""

    at: float
    legacy: Notification | None
    versioned: Notification


@dataclass
class Server:
    """A server to which operations happen; ``told`` is what nova tells of them, in order."""

    gap: float
    """Seconds between one thing told and the next."""
    state: str = "building"
    task: str = ""
    host: str = HOSTS[0]
    clock: float = 0.0
    requests: int = 0
    told: list[Told] = field(default_factory=list)

    def begin(self) -> None:
        """Begin another API call."""
        self.requests += 1
        self.clock += self.gap

    def tell(
        self,
        name: str,
        phase: str,
        *,
        versioned_name: str = "",
        state: str | None = None,
        task: str | None = None,
        host: str = "",
        only_versioned: bool = False,
    ) -> None:
        """Tell an action with the server's state, or with the copy that ``host`` has of it."""
        self._send(
            f"{name}{phase}",
            f"{versioned_name or name}{phase}",
            self.state if state is None else state,
            self.task if task is None else task,
            None,
            host or self.host,
            only_versioned,
        )

    def update(self, state: str | None = None, task: str = "", host: str = "") -> None:
        """Move to another state and tell the update of it."""
        # nova replaces an old task_state of null by the new one.
        old = (self.state, self.task or task or None)
        self.state, self.task = state or self.state, task
        self._send("update", "update", self.state, self.task, old, host or self.host)

    def _send(
        self,
        name: str,
        versioned_name: str,
        state: str,
        task: str,
        old: tuple[str, str | None] | None,
        host: str,
        only_versioned: bool = False,
    ) -> None:
        self.clock += self.gap
        request = f"req-{self.requests}"
        number = len(self.told)
        first = legacy(
            name,
            state,
            task,
            old=old,
            at=self.clock,
            request=request,
            publisher=f"compute.{host}",
            message_id=f"legacy-{number}",
        )
        second = versioned(
            versioned_name,
            state,
            task or None,
            old=old,
            at=self.clock + self.gap / 3,
            request=request,
            publisher=f"nova-compute:{host}",
            message_id=f"versioned-{number}",
        )
        self.told.append(Told(self.clock, None if only_versioned else first, second))


def create(server: Server) -> None:
    """Build it."""
    server.update(task="scheduling")
    server.update()
    server.tell("create", ".start")
    server.update(task="networking")
    server.update(task="spawning")
    server.update("active")
    server.tell("create", ".end")


def create_fails(server: Server) -> None:
    """Fail to build it."""
    server.update(task="scheduling")
    server.tell("create", ".start")
    server.update("error")
    server.tell("create", ".error")


def delete(server: Server) -> None:
    """Delete it for good."""
    server.update(task="deleting")
    server.tell("delete", ".start")
    server.tell("shutdown", ".start")
    server.tell("shutdown", ".end")
    server.update("deleted")
    server.tell("delete", ".end")


def over_one_task(action: str, task: str, end: str) -> Callable[[Server], None]:
    """Return the operation ``action``, which leads over one task_state to the vm_state ``end``."""

    def operate(server: Server) -> None:
        server.update(task=task)
        server.tell(action, ".start")
        server.update(end)
        server.tell(action, ".end")

    operate.__name__ = action
    return operate


def reboot_fails(server: Server) -> None:
    """Fail to reboot; the instance stays in error."""
    server.update(task="rebooting")
    server.tell("reboot", ".start")
    server.update("error")
    server.tell("reboot", ".error")


def set_metadata(server: Server) -> None:
    """Save it without any change of state."""
    server.update(task=server.task)


def lock(server: Server) -> None:
    """Lock it: told by versioned notifications only."""
    server.update(task=server.task)
    server.tell("lock", "", only_versioned=True)


def reset_state(server: Server) -> None:
    """Reset it to error and back: told by updates only."""
    server.update("error")
    server.begin()
    server.update("active")


def rebuild_stopped(server: Server) -> None:
    """Rebuild a stopped server: power_off is nested before the end."""
    server.update(task="rebuilding")
    server.tell("rebuild.scheduled", "", versioned_name="rebuild_scheduled")
    server.tell("rebuild", ".start")
    server.update("active", "powering-off")
    server.tell("power_off", ".start")
    server.update("stopped")
    server.tell("power_off", ".end")
    server.tell("rebuild", ".end")


def resize(server: Server) -> None:
    """Resize it to the other host and confirm: two hosts tell copies that are old already."""
    source, target = server.host, HOSTS[1 - HOSTS.index(server.host)]
    server.update(task="resize_prep")
    server.tell("resize.prep", ".start", versioned_name="resize_prep", host=target)
    server.update(task="resize_migrating")
    server.tell(
        "resize.prep", ".end", versioned_name="resize_prep", task="resize_prep", host=target
    )
    server.tell("resize", ".start")
    server.update(task="resize_migrated")
    server.update(task="resize_finish", host=target)
    server.tell("finish_resize", ".start", versioned_name="resize_finish", host=target)
    server.tell("resize", ".end", task="resize_migrated", host=source)
    server.host = target
    server.update("resized")
    server.tell("finish_resize", ".end", versioned_name="resize_finish")
    server.begin()
    server.tell("resize.confirm", ".start", versioned_name="resize_confirm", host=source)
    server.update("active")
    server.tell("resize.confirm", ".end", versioned_name="resize_confirm", host=source)


def live_migrate(server: Server) -> None:
    """Migrate it: the source's last word carries its old copy."""
    source, target = server.host, HOSTS[1 - HOSTS.index(server.host)]
    server.update(task="migrating")
    for phase in (".start", ".end"):
        server.tell("live_migration.pre", phase, versioned_name="live_migration_pre", host=target)
    server.tell("live_migration._post", ".start", versioned_name="live_migration_post")
    server.tell(
        "live_migration.post.dest", ".start", versioned_name="live_migration_post_dest", host=target
    )
    server.host = target
    server.update()
    server.tell("live_migration.post.dest", ".end", versioned_name="live_migration_post_dest")
    server.tell(
        "live_migration._post",
        ".end",
        versioned_name="live_migration_post",
        task="migrating",
        host=source,
    )


def late_error(server: Server) -> None:
    """Find an error after the action's end, under its request."""
    set_metadata(server)
    server.update("error")


OPERATIONS: tuple[tuple[frozenset[str], Callable[[Server], None]], ...] = tuple(
    (frozenset(states.split()), operate)
    for states, operate in (
        ("active", over_one_task("power_off", "powering-off", "stopped")),
        ("stopped", over_one_task("power_on", "powering-on", "active")),
        ("active", over_one_task("pause", "pausing", "paused")),
        ("paused", over_one_task("unpause", "unpausing", "active")),
        ("active", over_one_task("suspend", "suspending", "suspended")),
        ("suspended", over_one_task("resume", "resuming", "active")),
        ("active stopped error", over_one_task("reboot", "rebooting_hard", "active")),
        ("active error", over_one_task("rebuild", "rebuilding", "active")),
        ("active stopped", over_one_task("rescue", "rescuing", "rescued")),
        ("rescued", over_one_task("unrescue", "unrescuing", "active")),
        ("active stopped", over_one_task("shelve", "shelving", "shelved")),
        ("shelved", over_one_task("shelve_offload", "shelving_offloading", "shelved_offloaded")),
        ("shelved shelved_offloaded", over_one_task("unshelve", "unshelving", "active")),
        ("active", over_one_task("snapshot", "image_snapshot", "active")),
        ("active error", over_one_task("soft_delete", "soft-deleting", "soft-delete")),
        ("soft-delete", over_one_task("restore", "restoring", "active")),
        ("active", reboot_fails),
        ("active stopped paused", set_metadata),
        ("active error", lock),
        ("active", reset_state),
        ("stopped", rebuild_stopped),
        ("active", resize),
        ("active", live_migrate),
        ("active paused", late_error),
    )
)


def live(choices: list[int], *, deleted: bool, builds: bool = True, gap: float = 0.01) -> Server:
    """Return a server after operations that ``choices`` pick from those that are possible."""
    server = Server(gap)
    server.begin()
    (create if builds else create_fails)(server)
    for choice in choices:
        possible = [operate for states, operate in OPERATIONS if server.state in states]
        server.begin()
        possible[choice % len(possible)](server)
    if deleted:
        server.begin()
        delete(server)
    return server


def lives(most: int = 12) -> st.SearchStrategy[Server]:
    """Draw lives of up to ``most`` operations."""
    return st.builds(
        live,
        st.lists(st.integers(0, 23), max_size=most),
        deleted=st.booleans(),
        builds=st.integers(0, 9).map(bool),
        gap=st.sampled_from([0.0003, 0.01, 1.0]),
    )


def all_told(server: Server) -> list[Notification]:
    """Return all messages in the order in which they were sent."""
    return [one for told in server.told for one in (told.legacy, told.versioned) if one is not None]
