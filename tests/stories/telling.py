"""Stories of servers: what nova tells in a situation, a line a message, and how it ends.

A line names the request, who speaks, what is told, and in which state:

    suspend  api   update         active/suspending
    suspend  h1    suspend.start
    suspend  h1    update         error/suspending

An ``update`` moves the server's row in nova's database to the state behind it. An action carries
the row's state, or, where one stands behind it, that of the copy which its teller has. Lines that
tell nothing: ``destroy`` marks the row deleted. Options:

    host=h2        an update: the row's new host; an action: the copy's (``-`` is null)
    volume=v, share=s   of which volume or share an action tells
    to=h2          the host that a versioned rebuild_scheduled names as its publisher
    +deleted_at, +terminated_at   an update sets the row's times without a deletion
    -deleted_at    an update clears the time; an action's copy does not know it
    fault          the payload carries an exception

From one story follow its messages in the legacy and the versioned format, or both, with all
updates, those of ``notify_on_state_change = vm_state``, or none; and what is to be told of it.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from tests.support.nova_messages import (
    BEGIN,
    INSTANCE,
    VIM,
    spec_example,
    versioned_data,
    versioned_object,
)
from vimfed.model.records import Notification
from vimfed.nova import oslo

Format = Literal["legacy", "versioned", "both"]
Updates = Literal["vm_and_task_state", "vm_state", "none"]

FORMATS: tuple[Format, ...] = ("legacy", "versioned", "both")
UPDATES: tuple[Updates, ...] = ("vm_and_task_state", "vm_state", "none")

_ONLY_VERSIONED = ("lock", "unlock", "volume_swap", "interface_", "share_")
_ONLY_VERSIONED_PHASES = (
    "volume_attach.start",
    "volume_attach.error",
    "volume_detach.start",
)
_ONLY_LEGACY = ("force_delete", "create_ip", "delete_ip", "live_snapshot", "instance.create")
_LEGACY_NAMES = {
    "resize_finish": "finish_resize",
    "resize_prep": "resize.prep",
    "resize_confirm": "resize.confirm",
    "resize_revert": "resize.revert",
    "rebuild_scheduled": "rebuild.scheduled",
    "live_migration_pre": "live_migration.pre",
    "live_migration_post": "live_migration._post",
    "live_migration_post_dest": "live_migration.post.dest",
    "live_migration_rollback": "live_migration._rollback",
    "live_migration_rollback_dest": "live_migration.rollback.dest",
    "live_migration_abort": "live.migration.abort",
    "live_migration_force_complete": "live.migration.force.complete",
}
_KINDS = {
    "shutdown": "SHUT_DOWN",
    "force_delete": "DELETE",
    "live_snapshot": "SNAPSHOT",
    "instance.create": "CREATE",
    "compute_task.build_instances": "CREATE",
    "compute_task.migrate_server": "MIGRATE",
    "compute_task.rebuild_server": "REBUILD",
}
_UPDATES = ("update", "born", "hidden", "tags")


class States(NamedTuple):
    """A vm_state, and a task_state that is empty at rest."""

    vm: str
    task: str

    def __str__(self) -> str:
        return f"{self.vm}/{self.task}" if self.task else self.vm


def states(text: str) -> States:
    """Read ``active/pausing`` or ``active``."""
    vm, _, task = text.partition("/")
    return States(vm, task)


@dataclass(frozen=True)
class Told:
    """One thing that nova tells."""

    request: str
    teller: str
    event: str
    """``update``, or an action and its phase."""
    states: States
    old: States | None
    """Of the row before an update."""
    host: str | None
    deleted_at: bool
    terminated_at: bool
    options: dict[str, str] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """The action's name in versioned event types."""
        name, _, phase = self.event.rpartition(".")
        return name if phase in ("start", "end", "error") else self.event

    @property
    def kind_and_phase(self) -> tuple[str, str]:
        """What the event of an action is."""
        if self.action.startswith("compute_task"):
            return _KINDS[self.action], "error"
        phase = self.event.rpartition(".")[2]
        if phase not in ("start", "end", "error"):
            phase = "end"
        if "fault" in self.options:
            phase = "error"
        return _KINDS.get(self.action, self.action.upper()), phase

    @property
    def is_update(self) -> bool:
        """Whether it tells a state and no action."""
        return self.event in _UPDATES

    @property
    def is_error(self) -> bool:
        """Whether nova tells it at the priority of errors."""
        return not self.is_update and self.kind_and_phase[1] == "error"

    def is_told_in(self, told_format: Format, updates: Updates) -> bool:
        """Return whether this format knows it, and the cloud's settings send it."""
        if self.is_update:
            return updates != "none"
        only_versioned = self.action.startswith(_ONLY_VERSIONED) or (
            self.event in _ONLY_VERSIONED_PHASES
        )
        if told_format == "legacy":
            return not only_versioned
        if told_format == "versioned":
            return self.action not in _ONLY_LEGACY
        return True

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats that tell it, in nova's order."""
        told_in: tuple[Format, ...] = ("legacy", "versioned")
        return tuple(one for one in told_in if self.is_told_in(one, "vm_and_task_state"))


@dataclass(frozen=True)
class Story:
    """A situation and its end."""

    name: str
    why: str
    """Where in nova, or in which Launchpad bug, it comes from."""
    lines: str
    ends: str
    """The states of nova's own row at the end."""
    given: str = ""
    """The lines before; they count like the others."""
    unheard: str | dict[str, str] = ""
    """Where it ends for a consumer whom nova sends no updates, if elsewhere; or that by format."""
    formats: Sequence[Format] = FORMATS

    def told(self) -> list[Told]:
        """Return all that nova tells."""
        return list(_tell(f"{self.given}\n{self.lines}"))

    def end(self, told_format: Format, updates: Updates) -> States:
        """Return where a consumer ends who hears all that is told."""
        unheard = self.unheard
        if isinstance(unheard, dict):
            unheard = unheard.get(told_format, "")
        return states(unheard if updates == "none" and unheard else self.ends)


_SCHEDULING = States("building", "scheduling")


@dataclass
class _Row:
    """The server's row in nova's database."""

    states: States = _SCHEDULING
    host: str | None = None
    deleted_at: bool = False
    terminated_at: bool = False


def _tell(lines: str) -> Iterator[Told]:
    row = _Row()
    for line in lines.splitlines():
        words = line.partition("#")[0].split()
        if words:
            told = _read(row, words)
            if told is not None:
                yield told


def _read(row: _Row, words: list[str]) -> Told | None:
    """Return what a line tells; move the row to where the line says."""
    request, teller, event, *rest = words
    text = rest.pop(0) if rest and not _is_option(rest[0]) else ""
    options = dict(_option(word) for word in rest)
    if event == "destroy":
        row.deleted_at = True
        return None
    old: States | None = None
    told_states = states(text) if text and text != "=" else row.states
    if event == "hidden":  # another cell's row of the same server
        before, _, after = text.partition(">")
        old, told_states = states(before), states(after or before)
    elif event == "tags":
        old = told_states
    elif event in ("update", "born"):
        old, row.states = row.states, told_states
        row.terminated_at |= told_states.vm == "deleted" or "+terminated_at" in options
        row.deleted_at = row.deleted_at or "+deleted_at" in options
        row.deleted_at = row.deleted_at and "-deleted_at" not in options
        row.host = _host(options, row.host)
    return Told(
        request,
        teller,
        event,
        told_states,
        old,
        _host(options, row.host),
        row.deleted_at and "-deleted_at" not in options,
        row.terminated_at and "-deleted_at" not in options,
        options,
    )


def _is_option(word: str) -> bool:
    return word[0] in "+-" or "=" in word[1:] or word == "fault"


def _option(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _host(options: dict[str, str], default: str | None) -> str | None:
    if "host" not in options:
        return default
    return None if options["host"] == "-" else options["host"]


class Expected(NamedTuple):
    """What is to be told of a story in one format, with or without updates."""

    end: States
    events: Counter[tuple[str, str]]
    """(kind, phase) of every event of an action."""
    errors: int
    """Changes to the vm_state error, each told by one event; without updates, at most."""
    fewest_errors: int
    recoveries: int
    """Changes from error to another vm_state but deleted, each told by one event at most."""
    fewest_recoveries: int
    """Those of them that no action's end tells."""
    changes: frozenset[tuple[str, str]]
    """The changes of vm_state that there were."""


def expected(story: Story, told_format: Format, updates: Updates) -> Expected:
    """Return what is to be told."""
    told = story.told()
    heard = [one for one in told if one.is_told_in(told_format, updates)]
    events = Counter(one.kind_and_phase for one in heard if not one.is_update)
    events += Counter(("DELETE", "end") for one in heard if _alone_tells_deletion(one, heard))
    changes = [
        (one, one.old.vm, one.states.vm)
        for one in told
        if one.event in ("update", "hidden") and one.old and one.old.vm != one.states.vm
    ]
    errors = sum(new == "error" and one.event == "update" for one, _, new in changes)
    tasks = any(one.action.startswith("compute_task") and one.states.vm == "error" for one in heard)
    left = [one for one, old, new in changes if old == "error" and new != "deleted"]
    return Expected(
        story.end(told_format, updates),
        events,
        errors,
        errors if updates != "none" else int(tasks),
        len(left),
        0 if updates == "none" else sum(not _is_ended(one, heard) for one in left),
        frozenset((old, new) for _, old, new in changes),
    )


def _is_ended(one: Told, heard: list[Told]) -> bool:
    """Return whether an action's end tells of an update."""
    after = heard[heard.index(one) :]
    return any(
        later.request == one.request and not later.is_update and later.kind_and_phase[1] == "end"
        for later in after
    )


def _alone_tells_deletion(one: Told, heard: list[Told]) -> bool:
    """Return whether an update says ``deleted``, and no action of its request begins a deletion."""
    is_end = one.is_update and one.old is not None and one.old.vm != "deleted"
    return (
        is_end
        and (one.states.vm == "deleted" or (one.deleted_at and one.terminated_at))
        and not any(
            other.request == one.request and other.kind_and_phase == ("DELETE", "start")
            for other in heard
            if not other.is_update
        )
    )


def messages(
    story: Story, told_format: Format, updates: Updates, *, tersely: bool = False
) -> list[Notification]:
    """Return what the bridge makes of nova's messages, in nova's order on one queue.

    ``tersely`` leaves out updates that change nothing or only tell a build's progress, and tells an
    error and its task's end in one: as people tell it who shorten what they heard.
    """
    told = story.told()
    if tersely:
        told = _shortened(told)
    bodies = [
        _body(story, number, one, as_format, updates)
        for number, one in enumerate(told)
        for as_format in one.formats
        if told_format in ("both", as_format) and one.is_told_in(as_format, updates)
    ]
    return [_stamped(body, sequence) for sequence, body in enumerate(bodies)]


def _shortened(told: list[Told]) -> list[Told]:
    """Return the story with fewer updates."""
    is_built = any(one.event == "create.end" and "fault" not in one.options for one in told)
    short: list[Told] = []
    for one in told:
        is_progress = is_built and one.request == "create" and one.states.vm == "building"
        if one.event == "update" and (one.old == one.states or is_progress):
            continue
        before = short[-1] if short else one
        if (
            (one.event, before.event, one.states) == ("update", "update", States("error", ""))
            and before.states == one.old
            and before.request == one.request
        ):
            short[-1] = replace(one, old=before.old)
        else:
            short.append(one)
    return short


def _stamped(body: bytes, sequence: int) -> Notification:
    message = oslo.decode(body)
    return oslo.stamp(
        message,
        vim_id=VIM,
        path="queue",
        sequence=sequence,
        received_at=message.timestamp.replace(" ", "T") + "Z",
    )


def _body(story: Story, number: int, one: Told, as_format: Format, updates: Updates) -> bytes:
    """Return one message in oslo's envelope."""
    is_versioned = as_format == "versioned"
    event_type, payload = (_versioned if is_versioned else _legacy)(one, updates)
    message = {
        "message_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{story.name}/{number}/{as_format}")),
        "publisher_id": _publisher(one, is_versioned=is_versioned),
        "event_type": event_type,
        "priority": "ERROR" if one.is_error else "INFO",
        "payload": payload,
        "timestamp": str(BEGIN + timedelta(seconds=number, milliseconds=10 * is_versioned)),
        "_unique_id": f"{number}{as_format}",
        "_context_request_id": f"req-{one.request}",
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def _publisher(one: Told, *, is_versioned: bool) -> str:
    """Return the publisher_id; what a nova-compute saves, a conductor tells."""
    host = {"api": "api1", "cond": "cond1"}.get(one.teller, one.teller)
    service = "compute"
    if one.event in ("update", "hidden"):
        host = "api1" if one.teller == "api" else "cond1"
    elif one.event == "born":
        service = "conductor"
    elif one.event == "tags":
        return f"nova-api:{host}" if is_versioned else f"nova-api.{host}"
    elif one.action.startswith("compute_task"):
        service = "conductor" if is_versioned else "compute_task"
    elif is_versioned:
        service, host = _versioned_publisher(one, host)
    return f"nova-{service}:{host}" if is_versioned else f"{service}.{host}"


def _versioned_publisher(one: Told, host: str) -> tuple[str, str]:
    """Return service and host of a versioned action."""
    if one.action.startswith("share_"):
        return "api", host
    if one.action == "rebuild_scheduled":
        return "conductor", one.options.get("to", one.host or host)
    if one.teller == "cond" and one.action == "delete":
        return "conductor", host
    return ("api" if one.teller == "api" else "compute"), host


def _old_states(one: Told, updates: Updates) -> tuple[str, str | None]:
    """Return an update's old states as nova tells them: a null is the new value."""
    assert one.old is not None
    vm, task = one.old
    if updates == "vm_state" and vm == one.states.vm:
        return vm, one.states.task or None
    return vm, task or one.states.task or None


def _legacy(one: Told, updates: Updates) -> tuple[str, dict[str, Any]]:
    if one.action.startswith("compute_task"):
        reason = "No valid host was found."
        spec = {"instance_properties": {"uuid": INSTANCE}}
        failure = {"instance_id": INSTANCE, "state": one.states.vm, "reason": reason}
        return one.event, {**failure, **spec, "request_spec": spec, "method": one.event[13:]}
    payload: dict[str, Any] = spec_example() | {
        "state": one.states.vm,
        "state_description": one.states.task,
        "host": one.host,
        "node": one.host,
        "deleted_at": "2026-01-01T12:00:00.000000" if one.deleted_at else "",
        "terminated_at": "2026-01-01T12:00:00.000000" if one.terminated_at else "",
    }
    if "volume" in one.options:
        payload["volume_id"] = one.options["volume"]
    if one.event.endswith(".error") or "fault" in one.options:
        payload |= {"exception": "BuildAbortException()", "message": "aborted", "code": 500}
    if one.is_update:
        old_vm, old_task = _old_states(one, updates)
        payload |= {
            "old_state": old_vm,
            "old_task_state": old_task,
            "new_task_state": one.states.task or None,
            "audit_period_beginning": "2026-01-01T00:00:00.000000",
            "audit_period_ending": "2026-01-01T12:00:00.000000",
        }
        return "compute.instance.update", payload
    name = _LEGACY_NAMES.get(one.action, one.action)
    if one.action in ("volume_attach", "volume_detach"):
        return f"compute.instance.{name.replace('_', '.')}", payload
    return f"compute.instance.{name}{one.event[len(one.action) :]}", payload


def _versioned(one: Told, updates: Updates) -> tuple[str, dict[str, Any]]:
    if one.action.startswith("compute_task"):
        data: dict[str, Any] = {
            "instance_uuid": INSTANCE,
            "state": one.states.vm,
            "request_spec": None,
            "reason": versioned_object("ExceptionPayload", {"exception": "NoValidHost"}),
        }
        return f"{one.event}.error", versioned_object("ComputeTaskPayload", data)
    data = versioned_data(one.states.vm, one.states.task or None) | {
        "host": one.host,
        "node": one.host,
        "deleted_at": "2026-01-01T12:00:00Z" if one.deleted_at else None,
        "terminated_at": "2026-01-01T12:00:00Z" if one.terminated_at else None,
        "request_id": f"req-{one.request}",
        "fault": None,
    }
    data |= {f"{name}_id": one.options[name] for name in ("volume", "share") if name in one.options}
    if one.event.endswith(".error"):
        data["fault"] = versioned_object("ExceptionPayload", {"exception": "BuildAbortException"})
    if not one.is_update:
        del data["state_update"]
        return f"instance.{one.event}", versioned_object("InstanceActionPayload", data, "1.9")
    old_vm, old_task = _old_states(one, updates)
    update = {
        "old_state": old_vm,
        "state": one.states.vm,
        "old_task_state": old_task,
        "new_task_state": one.states.task or None,
    }
    data["state_update"] = versioned_object("InstanceStateUpdatePayload", update)
    return "instance.update", versioned_object("InstanceUpdatePayload", data, "2.1")
