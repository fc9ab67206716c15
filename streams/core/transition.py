"""What one piece of news changes: the next row of an instance, and the events to be told.

Pure: no clock, no I/O; times are those of the notifications. The rules:

1. A message id that is known already is a redelivery and changes nothing. Of an older message, by
   its sender's clock, than the row remembers nobody knows: what it says is taken, where it is new.
2. A thing is told once, whichever format or path tells it first: the n-th telling of an identity in
   one format is the n-th in the other. What could be the repetition of something forgotten is too
   late to tell. (streams/core/telling.py)
3. Within one queue arrival decides what is newer; else the senders' clocks do.
   (streams/core/versions.py)
4. What is not newer than the row's state leaves the state alone; its event is told, marked late. So
   does a copy that can be old; only where no state is known, it says what the vm_state may be.
5. A deleted instance stays deleted.
6. An update tells an event where no action can: a change of vm_state while no task was running, any
   change to error, and what an action leaves untold. (streams/core/telling.py, kinds.py)
7. A report (a bare state, or a found action) that says nothing new leaves no trace; that an
   instance is on another host is new, and tells no event. A state that it
   shows, and that no action told, is told as the event of the action that it shows, marked
   inferred; that action itself, if it is told after all, is then the same news.
   (streams/core/inference.py)
"""

import math

import msgspec
from msgspec.structs import replace

from streams.core.inference import (
    found_state,
    infer,
    inference_met,
    inferences_after,
    tells_inferred,
)
from streams.core.kinds import STATE
from streams.core.memory import clock_and_time, clock_tag, find, hash_of, message_entry, remember
from streams.core.news import InstanceNews, Outcome, Place, Result, Telling
from streams.core.payloads import (
    encode_flat,
    encode_with_state,
    host_of_payload,
    merged,
    told_host,
    with_state,
)
from streams.core.revision import next_revision
from streams.core.telling import as_told, event_id, forgotten_at, tell, tell_first
from streams.core.versions import arrived_later, is_newer, version_of
from vimfed.model.records import SCHEMA_VERSION, InstanceState, VmEvent
from vimfed.model.times import seconds_between
from vimfed.nova.states import DELETED

MAX_MESSAGES = 64
"""How many message ids a row remembers; older ones are known by their senders' clocks."""

MAX_CLOCKS = 16
"""Of how many clocks a row knows how far it has forgotten their message ids."""

OTHER_CLOCKS = -1
"""Stands for all clocks of which it does not know that any more: no clock's tag."""


def transition(
    row: InstanceState | None,
    news: InstanceNews,
    offset: int,
    deleted_retention: float = math.inf,
) -> Outcome:
    """Return what ``news``, which lies at ``offset`` in its topic, makes of ``row``. Never raises.

    ``deleted_retention`` says for how many seconds the row of a deleted instance is kept.
    """
    is_first = row is None
    if row is None:
        age = seconds_between(news.timestamp, news.notification.received_at)
        if news.vm_state == DELETED and age > deleted_retention:
            return _tell_unknown_deleted(news)
        row = _blank_row(news)
    message = hash_of(news.notification.message_id)
    if find(row.messages, message) >= 0:  # rule 1
        return Outcome("duplicate")
    place = _place(row, news)  # rules 3 to 5
    subject, telling = _telling(row, news, place)  # rules 2 and 6
    if telling.is_too_late:
        # Who finds an action finds it again and again: it was told then.
        return Outcome("known" if news.is_report else "too_late")
    if news.is_report and (telling.is_known or news.is_update):  # rule 7
        if not place.changes:
            moved = _moved(row, news, place, offset)
            return Outcome(_result_of_report(row, news)) if moved is None else moved
        news = subject = infer(row, news)
        telling = Telling(row.told, row.told_forgotten)
        if tells_inferred(row, news, is_first=is_first):
            telling = tell_first(row, news)
    return _outcome(row, news, subject, telling, place, message, offset)


def _moved(row: InstanceState, news: InstanceNews, place: Place, offset: int) -> Outcome | None:
    """Return what follows from a report that shows the known state on another host; else None.

    Nobody else may tell where an evacuated server of a cloud is that does not notify.
    """
    fields = news.payload
    if not place.applies or not isinstance(fields, dict) or "host" not in fields:
        return None
    if row.vm_state == DELETED:
        return None  # it is on no host any more
    if told_host(fields["host"]) in ("", host_of_payload(row.payload)):
        return None
    payload = _payload(row, news)
    return Outcome(
        "changed", replace(row, **_written(row, news, offset), **_state(row, news, place, payload))
    )


def _telling(row: InstanceState, news: InstanceNews, place: Place) -> tuple[InstanceNews, Telling]:
    """Return what ``news`` is told as, and what there is to tell."""
    subject = None
    if not place.is_of_old_copy:
        subject = as_told(row, news, in_order=place.in_order)  # rule 6
    if subject is None:
        return news, Telling(row.told, row.told_forgotten)
    telling = tell(row, subject, is_fresh=place.is_fresh)  # rule 2
    if news.is_update and place.in_order and news.vm_state == row.vm_state:
        telling = replace(telling, is_known=True)  # the change is known already
    return subject, telling


def _place(row: InstanceState, news: InstanceNews) -> Place:
    clock = clock_tag(news.notification.publisher_id)
    forgotten = row.messages_forgotten
    is_fresh = not forgotten or news.timestamp_ms > forgotten.get(
        clock, forgotten.get(OTHER_CLOCKS, -1)
    )
    version = version_of(news)
    known = row.state_version
    came_later = arrived_later(version, known)
    in_order = came_later is True
    state, known_state = (news.vm_state, news.task_state), (row.vm_state, row.task_state)
    is_of_old_copy = _is_of_old_copy(row, news, in_order=in_order)
    applies = (
        news.tells_state
        and not is_of_old_copy
        and is_newer(version, known, came_later, is_fresh=is_fresh, wins_tie=state >= known_state)
    )
    return Place(
        version,
        clock,
        is_fresh,
        in_order,
        is_of_old_copy,
        applies,
        applies and state != known_state,
    )


def _is_of_old_copy(row: InstanceState, news: InstanceNews, *, in_order: bool) -> bool:
    """Return whether an update tells of a copy of the instance that is not the newest.

    A save tells the database's own state, and heals a row that an old copy has led astray. Only
    setting a tag sends the copy that the call began with, and the API's own service publishes it
    (nova/api/openstack/compute/server_tags.py): it changes no vm_state, and has another one than is
    known. And a resize between cells leaves a row behind that is migrated for ever
    (nova/conductor/tasks/cross_cell_migrate.py).
    """
    if not news.is_update:
        return False
    if row.vm_state == "resized" and "resize_migrated" in (news.task_state, news.old_task_state):
        return True
    is_tag = in_order and news.notification.publisher_id.startswith("nova-api")
    return is_tag and news.old_vm_state == news.vm_state != row.vm_state


def _outcome(
    row: InstanceState,
    news: InstanceNews,
    subject: InstanceNews,
    telling: Telling,
    place: Place,
    message: bytes,
    offset: int,
) -> Outcome:
    """Return the outcome of ``news``, which tells ``subject``."""
    is_new = telling.digest != b"" and not telling.is_known
    inference = inference_met(row, subject) if is_new else None  # rule 7
    tells = is_new and inference is None
    applies, changes = place.applies, place.changes
    acts = tells and _is_last_action(row, subject, place)
    is_late = not (applies if news.tells_state else acts)  # rule 4
    payload = row.payload
    if tells or (applies and (changes or not telling.is_known)):
        payload = _payload(row, news)
    events = (_event(row, subject, telling, payload, is_late=is_late),) if tells else ()
    result = _result(row, news, place, tells=tells, is_known=telling.is_known)
    if not (place.is_fresh or applies or is_new):  # rule 1, as far as anybody can know
        return Outcome(result)
    messages, messages_forgotten = row.messages, row.messages_forgotten
    if place.is_fresh:  # else its clock tells again that it may be a redelivery
        messages, messages_forgotten = _with_message(row, news, message, place.clock)
    fields = _written(row, news, offset)
    fields["told"] = telling.told
    fields["told_forgotten"] = telling.forgotten
    fields["messages"] = messages
    fields["messages_forgotten"] = messages_forgotten
    if is_new:
        fields["inferences"] = inferences_after(row, subject, inference)
    if applies:
        fields |= _state(row, news, place, payload)
    elif row.vm_state == "" and not news.tells_state:  # rule 4: better than nothing
        fields |= {"vm_state": news.vm_state, "task_state": "", "power_state": news.power_state}
    if acts:
        fields["kind"] = subject.kind
        fields["phase"] = subject.phase
        fields["action_version"] = place.version
    if changes or (acts and (applies or not news.tells_state)):
        fields["changed_at"] = news.changed_at
    return Outcome(result, replace(row, **fields), events)


def _written(row: InstanceState, news: InstanceNews, offset: int) -> dict[str, object]:
    """Return what the row says of the notification that writes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "received_at": news.notification.received_at,
        "source_offset": offset,
        "revision": next_revision(row.revision, news.notification.received_at),
    }


def _state(
    row: InstanceState, news: InstanceNews, place: Place, payload: msgspec.Raw
) -> dict[str, object]:
    """Return what the row says of the state that ``news`` tells."""
    # A power_state that was told with another vm_state is no longer known.
    known = row.power_state if news.vm_state == row.vm_state else ""
    return {
        "vm_state": news.vm_state,
        "task_state": news.task_state,
        "power_state": news.power_state or known,
        "source": news.notification.source,
        "payload": payload,
        "state_version": place.version,
        "operation": news.operation if place.changes else row.operation,
    }


def _is_last_action(row: InstanceState, subject: InstanceNews, place: Place) -> bool:
    """Return whether what is told is newer than the row's last action."""
    return is_newer(
        place.version,
        row.action_version,
        arrived_later(place.version, row.action_version),
        is_fresh=place.is_fresh,
        wins_tie=(subject.kind, subject.phase) >= (row.kind, row.phase),
    )


def has_outlived(row: InstanceState, arrival: str, deleted_retention: float) -> bool:
    """Return whether the instance is deleted, and was for ``deleted_retention`` seconds before
    ``arrival``, the time at which a later notification was received.
    """
    return row.vm_state == DELETED and seconds_between(row.received_at, arrival) > deleted_retention


def _event(
    row: InstanceState, news: InstanceNews, telling: Telling, payload: msgspec.Raw, *, is_late: bool
) -> VmEvent:
    old, new = (row.vm_state, row.task_state), (news.vm_state, news.task_state)
    if news.is_update:
        old = (news.old_vm_state, news.old_task_state)
    elif not news.tells_state:
        new = found_state(row, news) if news.is_report else old
    elif is_late:
        old = ("", "")
    return VmEvent(
        id=event_id(telling.digest),
        vim_id=news.notification.vim_id,
        instance_id=news.instance_id,
        kind=news.kind,
        phase=news.phase,
        old_state=old[0],
        old_task_state=old[1],
        new_state=new[0],
        new_task_state=new[1],
        changed_at=news.changed_at,
        late=is_late,
        inferred=news.is_inferred,
        source=news.notification.source,
        payload=payload,
    )


def _payload(row: InstanceState, news: InstanceNews) -> msgspec.Raw:
    """Return the news' payload, with the state that it tells or else the row's.

    Where it says little, it is what is known with that state.
    """
    if isinstance(news.payload, dict):
        known = merged(row.payload, news.payload)
        return known if news.tells_state else with_state(known, *found_state(row, news))
    if news.is_sparse:
        return with_state(row.payload, news.vm_state or row.vm_state, news.task_state)
    if news.tells_state or not row.vm_state:
        return encode_with_state(news.payload, news.vm_state, news.task_state)
    return encode_with_state(news.payload, row.vm_state, row.task_state)


def _result_of_report(row: InstanceState, news: InstanceNews) -> Result:
    """Return the result of a report that tells and changes nothing."""
    if (news.vm_state, news.task_state) == (row.vm_state, row.task_state):
        return "agrees"
    if not news.tells_state:
        return "known"
    return "after_deletion" if row.vm_state == DELETED else "late"


def _blank_row(news: InstanceNews) -> InstanceState:
    """Return the row of an instance of which nothing is known yet."""
    return InstanceState(
        vim_id=news.notification.vim_id,
        instance_id=news.instance_id,
        vm_state="",
        task_state="",
        kind=STATE,
        phase="end",
        changed_at=news.changed_at,
        payload=encode_flat(news.payload),
    )


def _tell_unknown_deleted(news: InstanceNews) -> Outcome:
    """Return what follows from old news of a deletion, where the row has probably been swept.

    Only an action tells then: nobody knows what else its request told.
    """
    if news.is_update:
        return Outcome("unknown_deleted")
    row = _blank_row(news)
    telling = tell_first(row, news)
    event = _event(row, news, telling, _payload(row, news), is_late=True)
    return Outcome("unknown_deleted", None, (event,))


def _result(
    row: InstanceState, news: InstanceNews, place: Place, *, tells: bool, is_known: bool
) -> Result:
    if not news.tells_state or place.is_of_old_copy:
        return "stale"
    if not place.applies:
        return "after_deletion" if row.vm_state == DELETED != news.vm_state else "late"
    if place.changes:
        return "changed"
    if tells:
        return "told"
    return "known" if is_known else "unchanged"


def _with_message(
    row: InstanceState, news: InstanceNews, message: bytes, clock: int
) -> tuple[bytes, dict[int, int]]:
    """Return the row's messages with one more, and per clock until when it has forgotten some."""
    entry = message_entry(message, clock, news.timestamp_ms)
    messages, lost = remember(row.messages, entry, MAX_MESSAGES)
    if not lost:
        return messages, row.messages_forgotten
    lost_clock, at_ms = clock_and_time(lost)
    return messages, _forget(row.messages_forgotten, lost_clock, forgotten_at(at_ms, row, news))


def _forget(forgotten: dict[int, int], clock: int, at_ms: int) -> dict[int, int]:
    """Return ``forgotten`` with the time of one more message id, of at most MAX_CLOCKS clocks."""
    after = {**forgotten, clock: max(at_ms, forgotten.get(clock, at_ms))}
    if len(after) - (OTHER_CLOCKS in after) > MAX_CLOCKS:
        oldest = min(after.keys() - {OTHER_CLOCKS}, key=after.__getitem__)
        after[OTHER_CLOCKS] = max(after.pop(oldest), after.get(OTHER_CLOCKS, -1))
    return after
