"""What a report of a state shows that no action has told: rule 7 of streams/core/transition.py."""

import msgspec

from streams.core.kinds import KINDS, STATE, shown_kind
from streams.core.news import InstanceNews
from vimfed.model.records import Inference, InstanceState
from vimfed.model.times import seconds_between
from vimfed.nova.states import DELETED

MAX_INFERENCES = 16
"""How many inferred events a row keeps in mind, until their actions are told."""

INFERENCE_SLACK = 5.0
"""Seconds by which an action's notification may come after the state that it makes was seen."""

HISTORY = 3600.0
"""Seconds: what changed longer ago when an instance is first seen makes a row, but no event."""


def infer(row: InstanceState, news: InstanceNews) -> InstanceNews:
    """Return a report as news of the action that its state shows."""
    kind, phase = shown_kind((row.vm_state, row.task_state), (news.vm_state, news.task_state))
    return msgspec.structs.replace(
        news,
        kind=kind,
        phase=phase,
        is_update=False,
        operation=news.notification.message_id,
        apart="",
        is_inferred=True,
    )


def tells_inferred(row: InstanceState, news: InstanceNews, *, is_first: bool) -> bool:
    """Return whether an inferred action is to be told: the row's last one has been told already."""
    if is_first and seconds_between(news.changed_at, news.notification.received_at) > HISTORY:
        return False
    if news.kind == STATE or news.vm_state == DELETED:
        # The end of a deletion may have been told before: it had failed.
        return news.vm_state != row.vm_state
    return (news.kind, news.phase) != (row.kind, row.phase)


def inference_met(row: InstanceState, news: InstanceNews) -> Inference | None:
    """Return the inference by which an action has been told already."""
    if news.is_inferred:
        return None
    for inference in row.inferences:
        if (
            (inference.kind, inference.phase) == (news.kind, news.phase)
            and seconds_between(inference.after, news.timestamp) >= 0
            and seconds_between(inference.until, news.timestamp) <= INFERENCE_SLACK
        ):
            return inference
    return None


def inferences_after(
    row: InstanceState, news: InstanceNews, met: Inference | None
) -> tuple[Inference, ...]:
    """Return the row's inferences without the one that was met, and with a new one."""
    kept = tuple(inference for inference in row.inferences if inference is not met)
    if not news.is_inferred:
        return kept
    after = row.state_version.timestamp if row.state_version else ""
    return (*kept, Inference(news.kind, news.phase, after, news.timestamp))[-MAX_INFERENCES:]


def found_state(row: InstanceState, news: InstanceNews) -> tuple[str, str]:
    """Return the states that a found action had then, as far as its kind says so."""
    action = KINDS[news.kind]
    if news.phase == "start":
        return row.vm_state, next(iter(action.task_states), "")
    return (action.end_vm_state if news.phase == "end" else "") or row.vm_state, ""
