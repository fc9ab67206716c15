"""Fold a batch of notification records into rows and events. Decides, and does nothing."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Raw

from streams.core.alarms import TooManyAlarmsError
from streams.core.availability import compared, host_of_row
from streams.core.batch_rows import BatchRows, ReadRow
from streams.core.bounds import OutOfBoundsError
from streams.core.clouds import apply_cloud_report, heartbeat_event
from streams.core.headroom import with_headroom
from streams.core.hosts import apply_host_report, check_host, down_reason, time_of
from streams.core.news import InstanceNews, Outcome, Passed
from streams.core.normalise import (
    MalformedNotificationError,
    check_instance_id,
    decode_notification,
    normalise,
)
from streams.core.outside_alerts import (
    EXPIRE_AFTER,
    About,
    AlertOutcome,
    apply_alert,
    expire_alerts,
)
from streams.core.placement import Nowhere, Placement, is_down
from streams.core.quota import CloudQuota
from streams.core.transition import transition
from streams.core.vm_alarms import (
    NO_ACTIONS,
    AlarmedActions,
    has_alarms,
    with_alarms,
    without_alarms,
)
from vimfed.model.decoding import UNREADABLE
from vimfed.model.keys import alerts_key, cloud_key, home_key, host_key, instance_key
from vimfed.model.records import (
    MAX_RECORD_BYTES,
    HostState,
    InstanceState,
    NewerSchemaError,
    Notification,
    VmEvent,
    encode_event,
    encode_row,
    stray_schema,
)
from vimfed.model.rows import Row
from vimfed.nova.alert_report import ALERT, CLOCK, read_alert_report
from vimfed.nova.host_report import (
    HEARTBEAT,
    HOST_STATE,
    HOSTS_KNOWN,
    read_cloud_report,
    read_heartbeat,
    read_host_report,
)
from vimfed.nova.states import DELETED

R = TypeVar("R")

MAX_NOTIFICATION_BYTES = MAX_RECORD_BYTES - 16 * 1024
"""Largest notification from which rows and events are made: they hold its payload, and more."""
SURELY_FITS = MAX_RECORD_BYTES // 8
"""What is made of so many bytes of a notification and of an old payload need not be measured."""
MAX_HOSTS = 20_000
"""Maximum number of hosts of one cloud: twice what the largest known ones have."""


class SourceRecord(Protocol):
    """A record of the notifications topic."""

    @property
    def key(self) -> bytes:
        """The key of the instance."""

    @property
    def value(self) -> bytes | None:
        """The notification as JSON."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""

    @property
    def timestamp(self) -> int:
        """When Kafka took it, by the broker's clock: ms since 1970."""


def _counts() -> dict[str, int]:
    """Return what counts by name: a Counter takes thrice as long to make, and a batch has three."""
    return defaultdict(int)


@dataclass(slots=True)
class FoldedBatch:
    """What follows from a batch of records of one partition."""

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    """The last encoded row of each instance that changed, by key; None deletes it."""
    events: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Key and encoded VmEvent, in the order in which they are told."""
    rejected: list[tuple[SourceRecord, str]] = field(default_factory=list)
    """Records that cannot be handled, each with its error."""
    outcomes: dict[str, int] = field(default_factory=_counts)
    """How many notifications had which outcome."""
    passed: dict[str, int] = field(default_factory=_counts)
    """Event types that were passed over, by name."""
    reconciled: dict[str, int] = field(default_factory=_counts)
    """By cloud, how many of the events a poller has found before any notification told of them."""
    repaired: list[str] = field(default_factory=list)
    """What polling found of instances of which notifications had told last: instance and news."""
    received_at: str = ""
    """When the bridge received the newest of them."""
    told_until: list[int] = field(default_factory=list)
    """By folded record, from the first one on: where its events end in ``events``. What stands
    behind the last one, no record told, but the time."""

    @property
    def taken(self) -> int:
        """How many of the records have been folded, from the first one on."""
        return len(self.told_until)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of a partition beside its rows, and what limits a fold."""

    placement: Placement = field(default_factory=Nowhere)
    """As the rows were before the batch."""
    actions: AlarmedActions = NO_ACTIONS
    """Kinds of actions that are alarms."""
    alert_sources: Callable[[str], int] = lambda _vim_id: 0
    """Of how many sources of a cloud the partition has rows of alerts."""
    expiring: Callable[[str], Iterable[bytes]] = lambda _now: ()
    """The keys of rows of alerts of which one ages out until a time."""
    alerts_expire_after: float = EXPIRE_AFTER
    """Seconds without a repetition after which an alarm from outside ages out."""
    alarmed: Iterable[bytes] = ()
    """The keys of instances that were deleted long ago and have active alarms: they are cleared."""
    most_rows: float = math.inf
    """A fold ends behind the record with which so many rows have changed."""


def fold(
    records: Sequence[SourceRecord],
    read_row: ReadRow,
    deleted_retention: float = math.inf,
    quota: CloudQuota | None = None,
    surroundings: Surroundings | None = None,
) -> FoldedBatch:
    """Fold ``records``, reading a row with ``read_row`` when it is first needed.

    ``deleted_retention`` is in seconds: what is told of an instance that was deleted longer ago,
    and has no row, makes none. What would make a row beyond its cloud's ``quota`` is rejected.
    Raises NewerSchemaError where a newer version is known to have written a record.
    """
    around = surroundings or Surroundings()
    quota = quota or CloudQuota()
    folding = _Folding(
        FoldedBatch(),
        BatchRows(read_row, around.placement),
        around,
        deleted_retention,
        quota,
        CloudQuota(MAX_HOSTS, around.placement.hosts_held),
        CloudQuota(quota.most, around.alert_sources),
    )
    texts = [record.value or b"" for record in records]
    return with_headroom(texts, lambda: _fold(records, folding))


class _RefusedError(Exception):
    """A record cannot be handled; the text says why."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


class _Folding(NamedTuple):
    """A batch that is being folded."""

    folded: FoldedBatch
    rows: BatchRows
    around: Surroundings
    deleted_retention: float
    quota: CloudQuota
    host_quota: CloudQuota
    alert_quota: CloudQuota


def _fold(records: Iterable[SourceRecord], folding: _Folding) -> FoldedBatch:
    folded, rows, most_rows = folding.folded, folding.rows, folding.around.most_rows
    for record in records:
        try:
            notification = _read(record, folded)
            own = _OWN_NEWS.get(notification.event_type, _take_instance_news)
            own(folding, record, notification)
        except _RefusedError as refused:
            folded.rejected.append((record, str(refused)))
            folded.outcomes[refused.outcome] += 1
        except OutOfBoundsError as error:
            folded.rejected.append((record, str(error)))
            folded.outcomes["out_of_bounds"] += 1
        folded.told_until.append(len(folded.events))
        if len(rows.changed) >= most_rows:
            break
    _expire_alerts(folding)
    _clear_alarms(folding)
    folded.rows = {
        key: None if row is None else encode_row(row) for key, row in rows.changed.items()
    }
    return folded


def _read(record: SourceRecord, folded: FoldedBatch) -> Notification:
    """Return a record's notification.

    Raises _RefusedError, and NewerSchemaError where a newer version wrote it.
    """
    value = record.value or b""
    if len(value) > MAX_NOTIFICATION_BYTES:
        raise _RefusedError("too_large", f"too large for a row: {len(value)} bytes")
    try:
        notification = decode_notification(value)
    except MalformedNotificationError as error:
        raise _RefusedError("malformed", str(error)) from None
    except NewerSchemaError as newer:
        stray = stray_schema(newer, record.headers)
        if not stray:
            raise
        raise _RefusedError("newer_schema", stray) from None
    folded.received_at = max(folded.received_at, notification.received_at)
    return notification


def _check_key(record: SourceRecord, key: bytes) -> None:
    if key != record.key:
        # The row would lie in a partition where nobody looks for it.
        raise _RefusedError("malformed", f"the record's key is not {key.decode()}")


# -- what nova tells of an instance


def _take_instance_news(
    folding: _Folding, record: SourceRecord, notification: Notification
) -> None:
    folded, rows = folding.folded, folding.rows
    news = normalise(notification)
    if isinstance(news, Passed):
        folded.passed[news.event_type] += 1
        folded.outcomes[news.reason] += 1
        return
    _check_key(record, instance_key(notification.vim_id, news.instance_id))
    row = rows.instance(record.key)
    outcome, after, events = _applied(folding, record, notification, row, news)
    _count(folded, record, row, notification, outcome)
    if after is not None:
        rows.put_instance(record.key, after)
    folded.events.extend((record.key, event) for event in events)


def _applied(
    folding: _Folding,
    record: SourceRecord,
    notification: Notification,
    row: InstanceState | None,
    news: InstanceNews,
) -> tuple[Outcome, InstanceState | None, list[bytes]]:
    """Return what ``news`` makes of ``row``: the outcome, the next row, and its encoded events.

    Raises _RefusedError.
    """
    around, quota = folding.around, folding.quota
    try:
        outcome = with_alarms(
            row,
            transition(row, news, record.offset, folding.deleted_retention),
            around.actions,
        )
        after, told = outcome.row, outcome.events
        if after is not None and (
            after.outage is not None or folding.rows.has_down(notification.vim_id)
        ):
            host = folding.rows.host(notification.vim_id, host_of_row(after))
            at = time_of(notification)
            found = compared(after, host, notification, record.offset, at)
            after, told = found.row, (*told, *found.events)
    except RecursionError:
        raise _RefusedError("malformed", "nested too deeply") from None
    events = [encode_event(event) for event in told]
    size = len(record.value or b"") + (0 if row is None else len(row.payload))
    if size > SURELY_FITS and _is_too_large(record.key, after, events):
        raise _RefusedError("too_large", "too large: what it says, with what was known before")
    if row is None and after is not None and not quota.take(notification.vim_id):
        raise _RefusedError("over_quota", _over_quota(notification.vim_id, quota.most))
    return outcome, after, events


def _over_quota(vim_id: str, most: float) -> str:
    return (
        f"cloud {vim_id} has {most:.0f} instances in this partition, its share of "
        "worker.instances_per_cloud: a new one is not taken in"
    )


def _count(
    folded: FoldedBatch,
    record: SourceRecord,
    row: InstanceState | None,
    notification: Notification,
    outcome: Outcome,
) -> None:
    folded.outcomes[outcome.result] += 1
    if outcome.result == "too_late":
        folded.rejected.append((record, "too late to know whether it was told before"))
    if notification.source != "poller":
        return
    if row is not None and row.source == "oslo":
        folded.repaired += _repaired(record.key, outcome)
    if outcome.events:
        folded.reconciled[notification.vim_id] += len(outcome.events)


def _is_too_large(key: bytes, row: Row | None, events: list[bytes]) -> bool:
    """Return whether a row or an event is too large for a record of its own.

    It can be where the notification is not: states stand there more than once, and a report keeps
    what was known.
    """
    values = events if row is None else [*events, encode_row(row)]
    return any(len(key) + len(value) > MAX_RECORD_BYTES for value in values)


def _repaired(key: bytes, outcome: Outcome) -> list[str]:
    news = [f"{event.kind} {event.phase}" for event in outcome.events]
    if not news and outcome.result == "changed" and outcome.row is not None:
        news = [f"now {outcome.row.vm_state} {outcome.row.task_state}".rstrip()]
    return [f"{key.decode()}: {each}" for each in news]


# -- what bridges and monitors tell of hosts, clouds and alerts


def _report_of(notification: Notification, read: Callable[[Raw], R]) -> R:
    try:
        return read(notification.payload)
    except UNREADABLE as error:
        raise _RefusedError("malformed", f"not a report: {error}") from None


def _take_host_report(folding: _Folding, record: SourceRecord, notification: Notification) -> None:
    folded, rows, vim_id = folding.folded, folding.rows, notification.vim_id
    report = _report_of(notification, read_host_report)
    check_host(report)
    _check_key(record, host_key(vim_id, report.host))
    before = rows.host(vim_id, report.host)
    outcome = apply_host_report(before, report, notification, record.offset)
    after = outcome.row
    if before is None and after is not None and not folding.host_quota.take(vim_id):
        reason = f"cloud {vim_id} has {MAX_HOSTS} hosts: a new one is not taken in"
        raise _RefusedError("over_quota", reason)
    folded.outcomes[f"host_{outcome.result}"] += 1
    if after is before:
        return
    rows.put_host(vim_id, report.host, after)
    _tell(folded, outcome.events)
    if _outage_reason(before) != _outage_reason(after):
        _compare_instances(folding, record, notification, report.host)


def _outage_reason(row: HostState | None) -> str:
    return down_reason(row) if row is not None and is_down(row) else ""


def _compare_instances(
    folding: _Folding, record: SourceRecord, notification: Notification, name: str
) -> None:
    """Begin and end the episodes of a host's instances."""
    folded, rows, vim_id = folding.folded, folding.rows, notification.vim_id
    host = rows.host(vim_id, name)
    at = time_of(notification)
    for key in rows.instances_on(vim_id, name):
        row = rows.instance(key)
        if row is None or host_of_row(row) != name:
            continue
        found = compared(row, host, notification, record.offset, at)
        if found.row is row:
            continue
        events = [encode_event(event) for event in found.events]
        if len(row.payload) > SURELY_FITS and _is_too_large(key, found.row, events):
            folded.rejected.append((record, f"too large: the row of {key.decode()}, with it"))
            continue
        rows.put_instance(key, found.row)
        folded.events.extend((key, event) for event in events)


def _take_cloud_report(folding: _Folding, record: SourceRecord, notification: Notification) -> None:
    vim_id = notification.vim_id
    report = _report_of(notification, read_cloud_report)
    _check_key(record, cloud_key(vim_id))
    outcome = apply_cloud_report(folding.rows.cloud(vim_id), report, notification, record.offset)
    folding.folded.outcomes[f"cloud_{outcome.result}"] += 1
    if outcome.row is not None:
        folding.rows.put_cloud(outcome.row)


def _take_heartbeat(folding: _Folding, record: SourceRecord, notification: Notification) -> None:
    _report_of(notification, read_heartbeat)
    _check_key(record, cloud_key(notification.vim_id))
    folding.folded.outcomes["heartbeat"] += 1
    _tell(folding.folded, (heartbeat_event(notification),))


def _take_alert(folding: _Folding, record: SourceRecord, notification: Notification) -> None:
    rows, vim_id = folding.rows, notification.vim_id
    report = _report_of(notification, read_alert_report)
    instance_id, host = report.instance_id, report.host
    if instance_id:
        check_instance_id(instance_id)
    _check_key(record, home_key(vim_id, instance_id, host))
    row = rows.alerts(vim_id, instance_id, host)
    about = _about(rows, vim_id, instance_id, host)
    try:
        outcome = apply_alert(
            row,
            report,
            notification,
            about,
            record.offset,
            expire_after=folding.around.alerts_expire_after,
        )
    except TooManyAlarmsError as error:
        raise _RefusedError("too_many_alarms", str(error)) from None
    events = [encode_event(event) for event in outcome.events]
    if _is_too_large(record.key, outcome.row, events):
        raise _RefusedError("too_large", "too large: what it says, with what was known before")
    if row is None and outcome.row is not None and not folding.alert_quota.take(vim_id):
        raise _RefusedError("over_quota", _over_quota(vim_id, folding.alert_quota.most))
    _put_alerts(folding, alerts_key(vim_id, instance_id, host), outcome)


def _take_time(folding: _Folding, _record: SourceRecord, _notification: Notification) -> None:
    """Take note of the time, which ``_read`` has done."""
    folding.folded.outcomes["clock"] += 1


def _about(rows: BatchRows, vim_id: str, instance_id: str, host: str) -> About:
    instance = rows.instance(instance_key(vim_id, instance_id)) if instance_id else None
    name = host if instance is None else host_of_row(instance)
    return About(instance, rows.host(vim_id, name) if name else None)


def _put_alerts(folding: _Folding, key: bytes, outcome: AlertOutcome) -> None:
    folding.folded.outcomes[outcome.result] += 1
    if outcome.row is not None or outcome.is_removed:
        folding.rows.put_alerts(key, None if outcome.is_removed else outcome.row)
    _tell(folding.folded, outcome.events)


def _expire_alerts(folding: _Folding) -> None:
    """End what ages out by the time at which the newest of the records was received."""
    rows, now = folding.rows, folding.folded.received_at
    for key in folding.around.expiring(now) if now else ():
        row = rows.alerts_at(key)
        if row is not None:
            about = _about(rows, row.vim_id, row.instance_id, row.host)
            _put_alerts(folding, key, expire_alerts(row, now, about))


def _clear_alarms(folding: _Folding) -> None:
    rows, now = folding.rows, folding.folded.received_at
    for key in folding.around.alarmed:
        row = rows.instance(key)
        if now and row is not None and row.vm_state == DELETED and has_alarms(row):
            row, events = without_alarms(row, now)
            rows.put_instance(key, row)
            _tell(folding.folded, events)


def _tell(folded: FoldedBatch, events: Iterable[VmEvent]) -> None:
    for event in events:
        host = event.host if isinstance(event.host, str) else ""
        key = home_key(event.vim_id, event.instance_id, host)
        folded.events.append((key, encode_event(event)))


_OWN_NEWS: dict[str, Callable[[_Folding, SourceRecord, Notification], None]] = {
    HOST_STATE: _take_host_report,
    HOSTS_KNOWN: _take_cloud_report,
    HEARTBEAT: _take_heartbeat,
    ALERT: _take_alert,
    CLOCK: _take_time,
}
"""By event type; all others tell of instances."""
