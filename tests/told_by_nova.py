"""Counts what nova itself told about each server: plain reading of the messages, nothing else.

It shares no code with the product. One operation's messages share a request id in both formats, so
(instance, action, phase, request id) names one thing told.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable

from vimfed.records import Notification

OTHER_NAMES = {
    "SHUTDOWN": "SHUT_DOWN",
    "FINISH_RESIZE": "RESIZE_FINISH",
    "BUILD_INSTANCES": "CREATE",
}
WITHOUT_PHASE = ("LOCK", "UNLOCK", "REBUILD_SCHEDULED")


def told_by_nova(played: Iterable[Notification]) -> dict[str, Counter[tuple[str, str]]]:
    """Return how often each (kind, phase) was told, by instance."""
    told = {
        (instance, kind, phase, message.request_id)
        for message in played
        for instance, kind, phase in [_action(message)]
        if phase
    }
    counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for instance, kind, phase, _request in told:
        counts[instance][kind, phase] += 1
    return dict(counts)


def _action(message: Notification) -> tuple[str, str, str]:
    source, _, name = message.event_type.removeprefix("compute.").partition(".")
    payload = json.loads(bytes(message.payload))
    data = payload.get("nova_object.data", payload)
    instance = data.get("instance_id") or data.get("uuid") or data.get("instance_uuid") or ""
    if source == "compute_task":
        return instance, OTHER_NAMES[name.removesuffix(".error").upper()], "error"
    if source != "instance":
        return "", "", ""
    words = name.replace("._", ".").split(".")
    phase = words.pop() if words[-1] in ("start", "end", "error") else ""
    kind = "_".join(words).upper()
    if kind in WITHOUT_PHASE:
        phase = "end"
    return instance, OTHER_NAMES.get(kind, kind), phase


def changes_told_by_updates_alone(
    played: Iterable[Notification],
) -> set[tuple[str, str, str, str | None]]:
    """Return each (instance, old vm_state, new vm_state, request id) of which only updates tell.

    These are changes while no task was running, but for the end of a resize's confirmation, which
    an action tells.
    """
    told = set()
    for message in played:
        if message.event_type != "compute.instance.update":
            continue
        payload = json.loads(bytes(message.payload))
        old, new = payload["old_state"], payload["state"]
        at_rest = not payload["old_task_state"] and not payload["new_task_state"]
        if at_rest and old != new and old != "resized":
            told.add((payload["instance_id"], old, new, message.request_id))
    return told


def requests_with_actions(played: Iterable[Notification]) -> set[str | None]:
    """Return the request ids under which an action was told."""
    return {message.request_id for message in played if _action(message)[2]}
