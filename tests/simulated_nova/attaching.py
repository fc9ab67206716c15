"""What is attached and detached: no task, no lock, and a copy from the request's beginning."""

from typing import Any

from tests.simulated_nova.power import Operation, hard_reboot, over_one_task, set_password
from tests.simulated_nova.server import Server

_VOLUME = {"volume_id": "volume-1"}
_SWAP = {"old_volume_id": "volume-1", "new_volume_id": "volume-2"}
_SHARE = {"share_id": "share-1"}
_pause = over_one_task("pause", "pausing", "paused")
_suspend = over_one_task("suspend", "suspending", "suspended")
_resume = over_one_task("resume", "resuming", "active")
_stop = over_one_task("power_off", "powering-off", "stopped")


def slow(
    action: str, beside: Operation, fields: dict[str, Any] | None = None, phase: str = "end"
) -> Operation:
    """Return ``action``, whose end or error comes when ``beside`` is over."""

    def operate(server: Server) -> None:
        request, copy = f"req-{server.requests}", server.copy
        server.tell(f"{action}.start", fields=fields)
        server.begin()
        beside(server)
        server.tell(f"{action}.{phase}", fields=fields, request=request, copy=copy)

    operate.__name__ = f"{action}_{phase}_beside_{beside.__name__}"
    return operate


def very_slow(action: str, beside: Operation, fields: dict[str, Any] | None = None) -> Operation:
    """Return ``action``, which begins only when ``beside`` is over."""

    def operate(server: Server) -> None:
        request, copy = f"req-{server.requests}", server.copy
        server.begin()
        beside(server)
        server.tell(f"{action}.start", fields=fields, request=request, copy=copy)
        server.tell(f"{action}.end", fields=fields, request=request, copy=copy)

    operate.__name__ = f"{action}_after_{beside.__name__}"
    return operate


def at_rest(action: str, fields: dict[str, Any] | None = None) -> Operation:
    """Return ``action`` with nothing beside it."""

    def operate(server: Server) -> None:
        server.tell(f"{action}.start", fields=fields)
        server.tell(f"{action}.end", fields=fields)

    operate.__name__ = action
    return operate


def attach_two_volumes(server: Server) -> None:
    """Attach two volumes by two requests that overlap."""
    first, copy = f"req-{server.requests}", server.copy
    second = server.begin()
    for phase in ("start", "end"):
        for request in (first, second):
            fields = {"volume_id": f"volume of {request}"}
            server.tell(f"volume_attach.{phase}", fields=fields, request=request, copy=copy)


ATTACHING: tuple[tuple[str, Operation], ...] = (
    ("active stopped", at_rest("volume_attach", _VOLUME)),
    ("active", at_rest("volume_detach", _VOLUME)),
    ("active", at_rest("volume_swap", _SWAP)),
    ("active", at_rest("interface_attach")),
    ("stopped", at_rest("share_attach", _SHARE)),
    ("stopped", at_rest("share_detach", _SHARE)),
    ("active", attach_two_volumes),
    ("active", slow("volume_attach", _pause, _VOLUME)),
    ("active", very_slow("volume_attach", _suspend, _VOLUME)),
    ("suspended", slow("volume_attach", _resume, _VOLUME)),
    ("active", slow("volume_attach", _pause, _VOLUME, phase="error")),
    ("active", slow("volume_detach", _suspend, _VOLUME)),
    ("active", very_slow("volume_detach", _stop, _VOLUME)),
    ("active", slow("volume_swap", _pause, _SWAP)),
    ("active", slow("volume_swap", _suspend, _SWAP, phase="error")),
    ("active", slow("interface_attach", _suspend)),
    ("active", slow("interface_attach", _pause, phase="error")),
    ("active", slow("interface_detach", _pause)),
    ("stopped", slow("share_attach", hard_reboot, _SHARE)),
    ("stopped", slow("share_attach", hard_reboot, _SHARE, phase="error")),
    ("stopped", slow("share_detach", hard_reboot, _SHARE)),
    ("active", slow("trigger_crash_dump", _suspend)),
    ("active", slow("create_ip", _pause)),
    ("active", slow("delete_ip", set_password)),
)
"""Operations, with the vm_states in which they are possible."""
