"""From bytes to news: what one notification, in either format, says about one instance.

Pure: no clock, no I/O. Times come from the notification.
"""

from streams.core.bounds import (
    KNOWN_TASK_STATES,
    KNOWN_VM_STATES,
    SURELY_WITHIN,
    OutOfBoundsError,
    bounded,
    bounded_fields,
)
from streams.core.kinds import (
    CONDUCTOR,
    EVENT_TYPES,
    FAILURES,
    EventType,
)
from streams.core.memory import Teller
from streams.core.news import InstanceNews, Passed, PassReason
from streams.core.payloads import (
    Payload,
    StateUpdate,
    VersionedData,
    decode_legacy,
    decode_legacy_task,
    decode_report,
    decode_versioned,
    decode_versioned_task,
    flatten_legacy_task,
    flatten_versioned_task,
    known_fields,
)
from vimfed.model.decoding import UNREADABLE
from vimfed.model.flat_payload import FlatPayload
from vimfed.model.records import Notification
from vimfed.model.records import decode_notification as decode_record
from vimfed.model.times import read_time
from vimfed.nova.bare_state import MAX_ID
from vimfed.nova.event_types import AUDIT_PREFIXES, INSTANCE_PREFIXES
from vimfed.nova.states import DELETED, OTHER


class MalformedNotificationError(Exception):
    """The bytes are no Notification; the text says why."""


_UNTOLD = (None, "", "None")
"""How nova spells a time that there is not."""


def decode_notification(value: bytes) -> Notification:
    """Read a record of the notifications topic. Raises MalformedNotificationError."""
    try:
        if not value.isascii():
            # What of the payload is only passed on is not decoded, and would break rows and events.
            value.decode()
        return decode_record(value)
    except UNREADABLE as error:
        raise MalformedNotificationError(f"not a notification: {error}") from None


def normalise(notification: Notification) -> InstanceNews | Passed:
    """Say what a notification tells about an instance. Raises OutOfBoundsError."""
    meaning = EVENT_TYPES.get(notification.event_type)
    if meaning is None:
        return Passed(_why_unknown(notification.event_type), notification.event_type)
    try:
        return _READERS[meaning.shape](notification, meaning)
    except UNREADABLE:
        return Passed("malformed_payload", notification.event_type)


def _why_unknown(event_type: str) -> PassReason:
    if event_type.startswith(AUDIT_PREFIXES):
        return "audit"
    if event_type.startswith(INSTANCE_PREFIXES):
        return "unknown_action"
    if event_type == FAILURES or "." not in event_type:
        return "failure"
    return "not_instance"


def _read_legacy(notification: Notification, meaning: EventType) -> InstanceNews | Passed:
    payload = decode_legacy(notification.payload)
    extras = payload.take_extras()
    if extras.failed and (meaning.kind, meaning.phase) == ("CREATE", "end"):
        meaning = _FAILED_BUILD
    vm_state, task_state = _states(
        meaning, payload, payload.state or "", payload.state_description or ""
    )
    return _news(
        notification,
        meaning,
        payload,
        payload.instance_id,
        vm_state,
        task_state,
        teller=Teller.LEGACY,
        apart=extras.volume_id,
        old_vm_state=extras.old_state,
        old_task_state=extras.old_task_state,
    )


def _read_versioned(notification: Notification, meaning: EventType) -> InstanceNews | Passed:
    payload = decode_versioned(notification.payload)
    if not payload.version.startswith(_KNOWN_MAJORS):
        return Passed("unknown_version", notification.event_type)
    data = payload.data
    update = _NO_UPDATE if data.state_update is None else data.state_update.data
    vm_state, task_state = _states(meaning, data, data.state or "", data.task_state or "")
    return _news(
        notification,
        meaning,
        data,
        data.uuid,
        vm_state,
        task_state,
        teller=Teller.VERSIONED,
        apart=data.volume_id or data.old_volume_id or data.share_id or "",
        old_vm_state=update.old_state or "",
        old_task_state=update.old_task_state or "",
        power_state=data.power_state or "",
        request_id=data.request_id,
    )


def _read_legacy_task(notification: Notification, meaning: EventType) -> InstanceNews | Passed:
    task = decode_legacy_task(notification.payload)
    return _task_news(notification, meaning, flatten_legacy_task(task), Teller.LEGACY)


def _read_versioned_task(notification: Notification, meaning: EventType) -> InstanceNews | Passed:
    payload = decode_versioned_task(notification.payload)
    if not payload.version.startswith(_KNOWN_MAJORS):
        return Passed("unknown_version", notification.event_type)
    task = flatten_versioned_task(payload.data)
    return _task_news(notification, meaning, task, Teller.VERSIONED)


def _task_news(
    notification: Notification, meaning: EventType, payload: FlatPayload, teller: Teller
) -> InstanceNews | Passed:
    return _news(
        notification,
        meaning,
        payload,
        payload.instance_id,
        payload.state or "",
        "",
        teller=teller,
        apart=CONDUCTOR,
        is_sparse=True,
    )


def _read_report(notification: Notification, meaning: EventType) -> InstanceNews | Passed:
    report = decode_report(notification.payload)
    host = host_of(notification.publisher_id)
    return _news(
        notification,
        meaning,
        known_fields(notification.payload),
        report.instance_id,
        report.state,
        report.state_description,
        teller=Teller.OTHER,
        apart=host if host == CONDUCTOR else "",
        power_state=report.power_state,
        changed_at=report.changed_at,
        is_report=True,
    )


_KNOWN_MAJORS = ("1.", "2.")
_NO_UPDATE = StateUpdate()
_FAILED_BUILD = EVENT_TYPES["compute.instance.create.error"]
"""What releases up to Mitaka tell of a failed build: its end, with an exception."""
_READERS = {
    "legacy": _read_legacy,
    "versioned": _read_versioned,
    "legacy_task": _read_legacy_task,
    "versioned_task": _read_versioned_task,
    "report": _read_report,
}


def _states(
    meaning: EventType, payload: FlatPayload | VersionedData, vm_state: str, task_state: str
) -> tuple[str, str]:
    """Return (vm_state, task_state): ``deleted`` and nothing where the payload's times say so.

    A soft delete sets deleted_at alone and can be undone. One on a host that is down destroys the
    instance for good, which terminated_at beside it tells. A server that never had a host is
    destroyed with the vm_state that it had: then the end of its deletion tells it by deleted_at,
    unless what ends there is a soft delete that failed (nova/compute/api.py, _delete).
    """
    if payload.deleted_at in _UNTOLD:
        return vm_state, "" if vm_state == DELETED else task_state
    is_unplaced = (
        (meaning.kind, meaning.phase) == ("DELETE", "end")
        and not payload.host
        and vm_state != "soft-delete"
        and task_state != "soft-deleting"
    )
    if payload.terminated_at not in _UNTOLD or is_unplaced or vm_state == DELETED:
        return DELETED, ""
    return vm_state, task_state


def _news(
    notification: Notification,
    meaning: EventType,
    payload: Payload,
    instance_id: str,
    vm_state: str,
    task_state: str,
    *,
    teller: Teller,
    apart: str,
    old_vm_state: str = "",
    old_task_state: str = "",
    power_state: str = "",
    request_id: str | None = None,
    is_sparse: bool = False,
    changed_at: str = "",
    is_report: bool = False,
) -> InstanceNews | Passed:
    if not instance_id:
        return Passed("malformed_payload", notification.event_type)
    check_instance_id(instance_id)
    if vm_state not in KNOWN_VM_STATES:
        vm_state = OTHER
    if task_state not in KNOWN_TASK_STATES:
        task_state = OTHER
    if old_vm_state not in KNOWN_VM_STATES:
        old_vm_state = OTHER
    if old_task_state not in KNOWN_TASK_STATES:
        old_task_state = OTHER
    if len(notification.payload) > SURELY_WITHIN:
        payload = bounded_fields(payload) if isinstance(payload, dict) else bounded(payload)
    times = read_time(notification.timestamp) or read_time(notification.received_at) or ("", 0)
    timestamp, timestamp_ms = times
    since = read_time(changed_at) if changed_at else None
    if meaning.told_apart_by == "host" and apart != CONDUCTOR:
        apart = host_of(notification.publisher_id)
    return InstanceNews(
        notification,
        instance_id,
        meaning.kind,
        meaning.phase,
        meaning.is_update,
        vm_state != "" and (meaning.tells_state or _is_believed(meaning, vm_state)),
        vm_state,
        task_state,
        power_state,
        old_vm_state,
        old_task_state,
        notification.request_id or request_id or notification.message_id,
        apart,
        teller,
        timestamp,
        timestamp_ms,
        timestamp if since is None else since[0],
        payload,
        is_sparse,
        is_report,
    )


def check_instance_id(instance_id: str) -> None:
    """Raise OutOfBoundsError where nova cannot have given an id, or it would name another row."""
    if len(instance_id) > MAX_ID:
        raise OutOfBoundsError(f"the instance's id has {len(instance_id)} characters: not nova's")
    if "/" in instance_id:
        raise OutOfBoundsError("the instance's id has a slash: not nova's")


def _is_believed(meaning: EventType, vm_state: str) -> bool:
    """Return whether a copy that can be old is believed all the same.

    It is where what it says is final (a deletion), or what the message is about (an error).
    """
    return vm_state == DELETED or (meaning.phase == "error" and vm_state == "error")


def host_of(publisher_id: str) -> str:
    """Return the host of ``compute.host`` (legacy) or ``nova-compute:host`` (versioned).

    Split once: the host can be a domain name.
    """
    service, colon, host = publisher_id.partition(":")
    return host if colon else service.partition(".")[2]
