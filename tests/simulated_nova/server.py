"""A server to which operations happen, and what nova tells of them in both formats."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from tests.support.nova_messages import (
    BEGIN,
    INSTANCE,
    legacy,
    notification,
    versioned,
    versioned_object,
)
from vimfed.model.records import Notification

HOSTS = ("compute01", "compute02", "compute03", "compute04")
API = "api01"
CONDUCTOR = "conductor01"

State = tuple[str, str]
"""(vm_state, task_state or "")."""

_SOURCES = {API: "nova-api", CONDUCTOR: "nova-conductor"}
_LEGACY_NAMES = {
    "rebuild_scheduled": "rebuild.scheduled",
    "resize_prep": "resize.prep",
    "resize_confirm": "resize.confirm",
    "resize_revert": "resize.revert",
    "resize_finish": "finish_resize",
    "live_migration_pre": "live_migration.pre",
    "live_migration_post": "live_migration._post",
    "live_migration_post_dest": "live_migration.post.dest",
    "live_migration_rollback": "live_migration._rollback",
    "live_migration_rollback_dest": "live_migration.rollback.dest",
    "live_migration_abort": "live.migration.abort",
    "live_migration_force_complete": "live.migration.force.complete",
    "volume_attach": "volume.attach",
    "volume_detach": "volume.detach",
}
_ONLY_VERSIONED = (
    "lock",
    "unlock",
    "volume_swap",
    "interface_attach",
    "interface_detach",
    "share_attach",
    "share_detach",
)
_ONLY_END_IS_LEGACY = ("volume_attach", "volume_detach")
_ONLY_LEGACY = ("force_delete", "create_ip", "delete_ip")
_KINDS = {"shutdown": "SHUT_DOWN", "force_delete": "DELETE"}

_WITHOUT_STATE = {
    *_ONLY_VERSIONED,
    *_ONLY_LEGACY[1:],
    "volume_attach",
    "volume_detach",
    "trigger_crash_dump",
    "live_migration_abort",
    "live_migration_force_complete",
    "live_migration_rollback_dest",
    "live_migration_post.end",
    "resize_confirm.start",
    "resize_prep.end",
    "resize.end",
    "resize.error",
}
"""Actions, or phases of them, whose copy of the instance can be older than another action's."""


class Told(NamedTuple):
    """One thing that nova tells, in the formats that know it, and what it means."""

    at: float
    legacy: Notification | None
    versioned: Notification | None
    kind: str
    """The action's name in capitals; empty for an update."""
    phase: str
    request: str
    state: State | None
    """The instance's state at that time; None where the message carries none, or an older one."""
    change: State | None = None
    """(old, new) vm_state of an update that alone tells this change."""
    may_change: State | None = None
    """The same where an action tells the change as well: the update may be told or not."""


@dataclass
class Server:
    """A server to which operations happen; ``told`` is what nova tells of them, in order."""

    gap: float
    """Seconds between one thing told and the next."""
    state: str = "building"
    task: str = ""
    host: str | None = None
    """Null while it is on none."""
    deleted_at: float | None = None
    terminated_at: float | None = None
    clock: float = 0.0
    requests: int = 0
    told: list[Told] = field(default_factory=list)

    def begin(self) -> str:
        """Begin another API call; return its request id."""
        self.requests += 1
        self.clock += self.gap
        return f"req-{self.requests}"

    @property
    def copy(self) -> State:
        """The state as somebody who reads it now will remember it."""
        return self.state, self.task

    def tell(
        self,
        event: str,
        *,
        by: str = "",
        versioned_by: str = "",
        copy: State | None = None,
        request: str = "",
        fields: dict[str, Any] | None = None,
        means: State | None = None,
    ) -> None:
        """Tell ``<versioned name>[.<phase>]``.

        ``by`` is the host that sends it, else the server's own; ``versioned_by`` the versioned
        publisher where that is another; ``copy`` is what the sender remembers, where that can
        differ from the truth; ``means`` is the truth where the copy does not say it.
        """
        action, _, phase = event.partition(".")
        has_legacy = action not in _ONLY_VERSIONED and (
            action not in _ONLY_END_IS_LEGACY or phase == "end"
        )
        legacy_name = _LEGACY_NAMES.get(action, action)
        if phase and action not in _ONLY_END_IS_LEGACY:
            legacy_name += f".{phase}"
        is_state = copy is None and not {event, action} & _WITHOUT_STATE
        self._send(
            legacy_name if has_legacy else "",
            "" if action in _ONLY_LEGACY else event,
            copy or self.copy,
            by or self.host or HOSTS[0],
            None,
            fields,
            request or f"req-{self.requests}",
            versioned_by=versioned_by,
            kind=_KINDS.get(action, action.upper()),
            phase=phase or "end",
            state=means or (self.copy if is_state else None),
        )

    def update(
        self,
        state: str | None = None,
        task: str = "",
        *,
        by: str = CONDUCTOR,
        alone: bool = False,
        request: str = "",
        means: State | None = None,
    ) -> None:
        """Move to another state and tell the update of it; the host's saves go by a conductor.

        ``alone`` where no action tells this change of vm_state; ``means`` as in ``tell``.
        """
        before, self.state, self.task = self.copy, state or self.state, task
        change = (before[0], self.state) if alone else None
        self._update(before, by, request, change=change, means=means)

    def fail(self, task: str = "", *, request: str = "") -> None:
        """Put it into error, which this update alone tells."""
        self.update("error", task, alone=True, request=request)

    def fail_and_revert(self) -> None:
        """Fail as _error_out_instance_on_exception and reverts_task_state do: two saves."""
        self.fail(self.task)
        self.update()

    def revert_task(self) -> None:
        """Give a task up as reverts_task_state does."""
        self.update()

    def conductor_gives_up(self, method: str, *, state: str = "error") -> None:
        """Tell the update and the failure of a task that the conductor gives up.

        As ``set_vm_state_and_notify`` does in nova/scheduler/utils.py.
        """
        before, self.state, self.task = self.copy, state, ""
        change = (before[0], state) if state != before[0] and method != "build_instances" else None
        self._update(before, CONDUCTOR, "", may_change=change)
        kind = {"build_instances": "CREATE", "migrate_server": "MIGRATE"}.get(method, "REBUILD")
        self._compute_task(method, kind)

    def stale_update(self, copy: State, *, by: str = CONDUCTOR) -> None:
        """Tell an update of another cell's hidden copy of it."""
        self._send("update", "update", copy, by, copy, None, f"req-{self.requests}", state=None)

    def _update(
        self,
        before: State,
        by: str,
        request: str,
        *,
        change: State | None = None,
        may_change: State | None = None,
        means: State | None = None,
    ) -> None:
        # nova replaces an old task_state of null by the new one.
        old = (before[0], before[1] or self.task or None)
        self._send(
            "update",
            "update",
            self.copy,
            by,
            old,
            None,
            request or f"req-{self.requests}",
            state=means or self.copy,
            change=change,
            may_change=may_change,
        )

    def _compute_task(self, method: str, kind: str) -> None:
        at, request, number = self._next_at(), f"req-{self.requests}", len(self.told)
        payload = {"request_spec": {}, "state": self.state, "method": method, "reason": "no host"}
        first = notification(
            f"compute_task.{method}",
            {**payload, "instance_id": INSTANCE, "instance_properties": {}},
            at=at,
            request=request,
            publisher=f"compute_task.{CONDUCTOR}",
            message_id=f"legacy-{number}",
        )
        data = {**payload, "request_spec": None, "instance_uuid": INSTANCE}
        second = notification(
            f"compute_task.{method}.error",
            versioned_object("ComputeTaskPayload", data),
            at=at + self.gap / 3,
            request=request,
            publisher=f"nova-conductor:{CONDUCTOR}",
            message_id=f"versioned-{number}",
        )
        self.told.append(Told(at, first, second, kind, "error", request, self.copy))

    def _next_at(self) -> float:
        self.clock += self.gap
        return self.clock

    def _send(
        self,
        legacy_name: str,
        versioned_name: str,
        copy: State,
        by: str,
        old: tuple[str, str | None] | None,
        fields: dict[str, Any] | None,
        request: str,
        *,
        state: State | None,
        versioned_by: str = "",
        kind: str = "",
        phase: str = "end",
        change: State | None = None,
        may_change: State | None = None,
    ) -> None:
        at, number = self._next_at(), len(self.told)
        where = {"host": self.host, "node": self.host}
        first = second = None
        if legacy_name:
            first = legacy(
                legacy_name,
                *copy,
                old=old,
                at=at,
                request=request,
                publisher=f"compute.{by}",
                message_id=f"legacy-{number}",
                fields=where | self._ends("legacy") | (fields or {}),
            )
        if versioned_name:
            source = _SOURCES.get(by, "nova-compute") if old is None else "nova-compute"
            second = versioned(
                versioned_name,
                copy[0],
                copy[1] or None,
                old=old,
                at=at + self.gap / 3,
                request=request,
                publisher=versioned_by or f"{source}:{by}",
                message_id=f"versioned-{number}",
                fields=where | self._ends("versioned") | (fields or {}),
            )
        self.told.append(Told(at, first, second, kind, phase, request, state, change, may_change))

    def _ends(self, spelling: Literal["legacy", "versioned"]) -> dict[str, str | None]:
        return {
            "deleted_at": _time(self.deleted_at, spelling),
            "terminated_at": _time(self.terminated_at, spelling),
        }


def _time(at: float | None, spelling: Literal["legacy", "versioned"]) -> str | None:
    if at is None:
        return "" if spelling == "legacy" else None
    moment = BEGIN + timedelta(seconds=at)
    if spelling == "legacy":
        return moment.isoformat(timespec="microseconds")
    return moment.isoformat(timespec="seconds") + "Z"
