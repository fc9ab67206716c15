"""How a server goes: nova/compute/api.py (_delete, _local_delete), compute/manager.py."""

from collections.abc import Callable

from tests.simulated_nova.server import API, CONDUCTOR, HOSTS, Server, State


def _host_deletes(server: Server, shares: int = 0, copy: State | None = None) -> None:
    """Tear it down on its host and delete it (_delete_instance), which may have an old copy."""
    server.tell("delete.start", copy=copy)
    _tear_down(server, shares, copy)
    _end(server)
    server.tell("delete.end")


def _tear_down(
    server: Server, shares: int = 0, copy: State | None = None, request: str = ""
) -> None:
    server.tell("shutdown.start", copy=copy, request=request)
    for number in range(shares):
        fields = {"share_id": f"share-{number}"}
        by = f"nova-api:{server.host}"
        server.tell("share_detach.start", fields=fields, versioned_by=by)
        server.tell("share_detach.end", fields=fields, versioned_by=by)
    server.tell("shutdown.end", copy=copy, request=request)


def _end(server: Server, by: str = CONDUCTOR, request: str = "") -> None:
    server.terminated_at = server.clock
    server.update("deleted", by=by, request=request)
    server.deleted_at = server.clock


def delete(server: Server) -> None:
    """Delete it for good; the API host does so itself where it has no host."""
    if server.host is None:
        delete_with_host_down(server)
        return
    server.update(task="deleting", by=API)
    _host_deletes(server)


def delete_twice(server: Server) -> None:
    """Delete it by a second request as well, which finds the task and tells nothing more."""
    server.update(task="deleting", by=API)
    first = f"req-{server.requests}"
    server.tell("delete.start")
    second = server.begin()
    server.update(task="deleting", by=API, request=second)
    _tear_down(server, request=first)
    _end(server, request=first)
    server.tell("delete.end", request=first)


def delete_with_shares(server: Server) -> None:
    """Delete it with two shares: each is detached under the deletion's request."""
    server.update(task="deleting", by=API)
    _host_deletes(server, shares=2)


def delete_with_host_down(server: Server) -> None:
    """Delete it in the API (_local_delete): its host is down, or it has none."""
    server.update(task="deleting", by=API)
    server.tell("delete.start", by=API)
    _end(server, by=API)
    server.tell("delete.end", by=API)


def force_delete_with_host_down(server: Server) -> None:
    """Do the same by forceDelete: versioned notifications do not know it at all."""
    server.update(task="deleting", by=API)
    server.tell("force_delete.start", by=API)
    _end(server, by=API)
    server.tell("force_delete.end", by=API)


def soft_delete(server: Server) -> None:
    """Delete it softly, with deleted_at set from the beginning."""
    server.deleted_at = server.clock
    server.update(task="soft-deleting", by=API)
    server.tell("soft_delete.start")
    server.update("soft-delete")
    server.tell("soft_delete.end")


def restore(server: Server) -> None:
    """Take a soft deletion back."""
    server.deleted_at = None
    server.update(task="restoring", by=API)
    server.tell("restore.start")
    server.update("active")
    server.tell("restore.end")


def reclaim(server: Server) -> None:
    """Delete what was deleted softly long ago (_reclaim_queued_deletes): no task."""
    _host_deletes(server)


def soft_delete_with_host_down(server: Server) -> None:
    """Delete it softly while its host is down: it is destroyed, in the state soft-delete."""
    server.deleted_at = server.clock
    server.update(task="soft-deleting", by=API)
    server.tell("delete.start", by=API)
    server.terminated_at = server.clock
    server.update("soft-delete", by=API, means=("deleted", ""))
    server.tell("delete.end", by=API, means=("deleted", ""))
    server.state = "deleted"


def soft_delete_with_host_down_fails(server: Server) -> None:
    """Fail to do so: the end is told all the same, and it lives."""
    server.deleted_at = server.clock
    server.update(task="soft-deleting", by=API)
    server.tell("delete.start", by=API)
    server.tell("delete.end", by=API)
    _reset(server)


def delete_with_host_down_fails(server: Server) -> None:
    """Fail to delete it in the API: start and end, and it lives."""
    server.update(task="deleting", by=API)
    server.tell("delete.start", by=API)
    server.tell("delete.end", by=API)
    _reset(server)


def force_delete_with_host_down_fails(server: Server) -> None:
    """Fail to do so by forceDelete."""
    server.update(task="deleting", by=API)
    server.tell("force_delete.start", by=API)
    server.tell("force_delete.end", by=API)
    _reset(server)


def _reset(server: Server) -> None:
    """Let an operator reset what is stuck in its task."""
    server.begin()
    server.update(by=API)


def delete_fails(server: Server) -> None:
    """Fail to tear it down on its host: error, then the task is reverted."""
    server.update(task="deleting", by=API)
    server.tell("delete.start")
    server.tell("shutdown.start")
    server.fail_and_revert()


def delete_is_begun_again(server: Server) -> None:
    """Lose its host's nova-compute while it is deleted; the restart begins anew."""
    server.update(task="deleting", by=API)
    server.tell("delete.start")
    server.tell("shutdown.start")
    server.begin()
    _host_deletes(server)


def delete_is_begun_again_and_fails(server: Server) -> None:
    """Fail at that restart, which leaves the task; an operator resets that."""
    server.update(task="deleting", by=API)
    server.tell("delete.start")
    server.begin()
    server.tell("delete.start")
    server.tell("shutdown.start")
    server.fail("deleting")
    _reset(server)


def delete_is_completed(server: Server) -> None:
    """Lose it between save and destroy; the restart tells the end (_complete_partial_deletion)."""
    server.update(task="deleting", by=API)
    server.tell("delete.start")
    _tear_down(server)
    _end(server)
    server.begin()
    server.tell("delete.end")


def delete_after_resize(server: Server) -> None:
    """Delete what waits for a resize's confirmation: the source's host confirms it first."""
    server.update(task="deleting", by=API)
    source, copy = HOSTS[3], server.copy
    server.tell("resize_confirm.start", by=source)
    server.update("active")
    server.tell("resize_confirm.end", by=source)
    _host_deletes(server, copy=copy)


_DELETABLE = "active stopped paused suspended error soft-delete shelved_offloaded"

DELETIONS: tuple[tuple[str, Callable[[Server], None]], ...] = (
    (_DELETABLE, delete),
    ("active stopped", delete_with_shares),
    ("active", delete_twice),
    (_DELETABLE, delete_with_host_down),
    (_DELETABLE, force_delete_with_host_down),
    ("soft-delete", reclaim),
    ("active stopped", soft_delete_with_host_down),
    ("active stopped error", delete_is_begun_again),
    ("active stopped error", delete_is_completed),
    ("resized", delete_after_resize),
)
"""Operations that end its life, with the vm_states in which they are possible."""

SURVIVED: tuple[tuple[str, Callable[[Server], None]], ...] = (
    ("active error", soft_delete),
    ("soft-delete", restore),
    ("active", soft_delete_with_host_down_fails),
    ("active stopped", delete_with_host_down_fails),
    ("active stopped", force_delete_with_host_down_fails),
    ("active stopped", delete_fails),
    ("active", delete_is_begun_again_and_fails),
)
"""Operations about deletion that it survives, with the vm_states in which they are possible."""
