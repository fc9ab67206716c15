"""Counts what nova itself told about each server: plain reading of the messages, nothing else.

It shares no code with the product. One operation's messages share a request id in both formats, so
(instance, action, phase, request id) names one thing told. Where a format tells it again, in
another message, it happened again: on another host, with another volume.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from vimfed.model.records import Notification

OTHER_NAMES = {
    "SHUTDOWN": "SHUT_DOWN",
    "FINISH_RESIZE": "RESIZE_FINISH",
    "BUILD_INSTANCES": "CREATE",
    "MIGRATE_SERVER": "MIGRATE",
    "REBUILD_SERVER": "REBUILD",
    "FORCE_DELETE": "DELETE",
}
NO_ACTIONS = ("UPDATE", "EXISTS")
"""Among what is told of instances: no action; all other names without a phase tell an end."""


class Action(NamedTuple):
    """A start, end or error of an action that a message tells."""

    instance: str
    kind: str
    phase: str
    request: str | None


class Change(NamedTuple):
    """A change of vm_state that an update tells; the tasks that ran before and after it."""

    instance: str
    old: str
    new: str
    request: str | None
    at_rest: bool


def told_by_nova(played: Iterable[Notification]) -> dict[str, Counter[tuple[str, str]]]:
    """Return how often each (kind, phase) was told, by instance."""
    formats: tuple[dict[Action, set[str]], ...] = (defaultdict(set), defaultdict(set))
    for message in played:
        payload, versioned = _payload(message)
        for action in _told(message, payload):
            formats[versioned][action].add(message.message_id)
    for messages in formats:
        _tell_deletions(messages)
    counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for action in formats[0].keys() | formats[1].keys():
        counts[action.instance][action.kind, action.phase] += max(
            len(messages.get(action, ())) for messages in formats
        )
    return {instance: Counter(told) for instance, told in counts.items() if told.total()}


def _told(message: Notification, payload: dict[str, Any]) -> Iterator[Action]:
    action = _action(message, payload)
    if action is not None:
        yield action
    change = _change(message, payload)
    if change is not None and change.new == "deleted":
        yield Action(change.instance, "deleted", "", change.request)


def _tell_deletions(messages: dict[Action, set[str]]) -> None:
    """An update to deleted is the end of a deletion that this format's actions do not tell."""
    for update in [one for one in messages if one.kind == "deleted"]:
        del messages[update]
        if not any(update._replace(kind="DELETE", phase=one) in messages for one in _PHASES):
            messages[update._replace(kind="DELETE", phase="end")] = {"the update"}


_PHASES = ("start", "end", "error")


def _payload(message: Notification) -> tuple[dict[str, Any], bool]:
    """Return what is read of the payload's fields, and whether it is a versioned one."""
    return _fields(bytes(message.payload))


@lru_cache(maxsize=20_000)  # each recorded message is played, and read here, a hundred times
def _fields(text: bytes) -> tuple[dict[str, Any], bool]:
    payload = json.loads(text)
    fields = payload.get("nova_object.data", payload)
    return {name: fields[name] for name in _READ if name in fields}, "nova_object.data" in payload


_READ = (
    "instance_id",
    "uuid",
    "instance_uuid",
    "state",
    "old_state",
    "old_task_state",
    "new_task_state",
    "state_update",
    "task_state",
    "state_description",
)
"""What is read of a payload, whatever it tells."""


def _instance(payload: dict[str, Any]) -> str:
    return payload.get("instance_id") or payload.get("uuid") or payload.get("instance_uuid") or ""


def _action(message: Notification, payload: dict[str, Any]) -> Action | None:
    source, _, name = message.event_type.removeprefix("compute.").partition(".")
    instance, request = _instance(payload), message.request_id
    if source == "compute_task":
        kind = name.removesuffix(".error").upper()
        return Action(instance, OTHER_NAMES.get(kind, kind), "error", request)
    if source != "instance":
        return None
    words = name.replace("._", ".").split(".")
    phase = words.pop() if words[-1] in _PHASES else "end"
    kind = "_".join(words).upper()
    if kind in NO_ACTIONS:
        return None
    return Action(instance, OTHER_NAMES.get(kind, kind), phase, request)


def _change(message: Notification, payload: dict[str, Any]) -> Change | None:
    if not message.event_type.endswith("instance.update"):
        return None
    told = payload.get("state_update", {}).get("nova_object.data") or payload
    old, new = told["old_state"], told["state"]
    if old == new:
        return None
    at_rest = not told["old_task_state"] and not told["new_task_state"]
    return Change(_instance(payload), old, new, message.request_id, at_rest)


def changes_told_by_updates_alone(played: Iterable[Notification]) -> Counter[Change]:
    """Return the changes of vm_state of which only updates tell, and how often.

    These are changes while no task was running, but for the end of a resize's confirmation, which
    an action tells; and those to and from error, but for those that an action's own message says.
    """
    changes, said = _changes(played)
    return Counter({one: n for one, n in changes.items() if _is_told_by_update(one, said)})


def _changes(
    played: Iterable[Notification],
) -> tuple[Counter[Change], set[tuple[str, str | None, str]]]:
    """Return all changes of vm_state that updates tell, and what the ends of actions say.

    That is (instance, request id, vm_state).
    """
    formats: tuple[dict[Change, set[str]], ...] = (defaultdict(set), defaultdict(set))
    said: set[tuple[str, str | None, str]] = set()
    for message in played:
        payload, versioned = _payload(message)
        action = _action(message, payload)
        if action is not None and action.phase != "start":
            said.add((action.instance, action.request, payload.get("state") or ""))
        change = _change(message, payload)
        if change is not None:
            formats[versioned][change].add(message.message_id)
    changes = formats[0].keys() | formats[1].keys()
    return Counter({one: max(len(each.get(one, ())) for each in formats) for one in changes}), said


def errors_told(played: Iterable[Notification]) -> Counter[str]:
    """Return how often updates say that an instance's vm_state became error, by instance."""
    told: Counter[str] = Counter()
    for change, count in _changes(played)[0].items():
        if change.new == "error":
            told[change.instance] += count
    return told


def _is_told_by_update(change: Change, said: set[tuple[str, str | None, str]]) -> bool:
    if change.new == "deleted":
        return False
    if "error" in (change.old, change.new):
        return (change.instance, change.request, change.new) not in said
    return change.at_rest and change.old != "resized"


def requests_with_actions(played: Iterable[Notification]) -> set[str | None]:
    """Return the request ids under which an action was told."""
    return {message.request_id for message in played if _action(message, _payload(message)[0])}


def states_in_actions(played: Iterable[Notification]) -> dict[str, set[tuple[str, str]]]:
    """Return each (vm_state, task_state) that the messages of actions carry, by instance.

    The end of a deletion says deleted, whatever the state of its copy.
    """
    states: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for message in played:
        payload, _ = _payload(message)
        action = _action(message, payload)
        if action is None:
            continue
        # Legacy actions carry the task only as part of the state's description.
        task = payload.get("task_state", payload.get("state_description")) or ""
        states[action.instance].add((payload.get("state") or "", task))
        if (action.kind, action.phase) == ("DELETE", "end"):
            states[action.instance].add(("deleted", ""))
    return dict(states)
