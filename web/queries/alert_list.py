"""Which alarms a cloud has: of instances, hosts and itself. Decides, and does nothing."""

from collections.abc import Callable, Sequence
from heapq import nlargest
from itertools import chain
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.worker.alarm_index import AlarmSelection, PlacedAlarm, Position, class_of
from streams.worker.instance_index import IndexEntry
from web.queries.markers import marker_of, read_marker
from web.queries.peer_query import PeerQuery
from web.queries.tenants import Tenants

AlertState = Literal["active", "cleared"]


class AlertsParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for a cloud's alarms."""

    state: Annotated[
        list[AlertState],
        Meta(description="active ones, or the newest cleared ones; without it the active ones"),
    ] = []
    condition: Annotated[
        list[str],
        Meta(
            description="alarms of these conditions: vm_error, vm_unavailable, host_down, "
            "action_failed/KIND, alert/FINGERPRINT; action_failed or alert alone mean all of those"
        ),
    ] = []
    severity: Annotated[
        list[str], Meta(description="alerts from outside of these severities, in any case")
    ] = []
    instance_id: Annotated[str, Meta(description="alarms of this instance")] = ""
    host: Annotated[str, Meta(description="alarms of this host, and of instances on it")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="alarms in the answer")] = 100
    marker: Annotated[str, Meta(description="next_marker of the page before")] = ""


class AlertSearch(PeerQuery, frozen=True, kw_only=True):
    """A request that has been checked; what the workers ask each other."""

    vim_id: str
    states: tuple[AlertState, ...] = ("active",)
    conditions: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    """In lower case."""
    instance_id: str = ""
    host: str = ""
    limit: int = 100
    after: Position | None = None
    tenants: Tenants = None
    """Of whose instances alone the caller may see alarms; None: of all, hosts and clouds too."""


class AlertQuery(PeerQuery, frozen=True):
    """What the workers ask each other of one alarm."""

    vim_id: str
    id: str
    tenants: Tenants = None


class AlertSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm in an answer."""

    id: str
    condition: str
    """``vm_error``, ``vm_unavailable``, ``host_down``, ``action_failed/<KIND>``, or
    ``alert/<fingerprint>`` of an alert from outside."""
    state: AlertState
    source: Literal["instance", "host", "cloud"]
    """What it is about."""
    instance_id: str | None
    display_name: str | None
    host: str | None
    """The host that it is about, or on which the instance is now."""
    name: str | None
    """What an alert from outside is called."""
    severity: str | None
    """What an alert from outside says; our own conditions have theirs where they are published."""
    summary: str | None
    started_at: str
    """When it was raised; times here: ISO 8601, UTC, microseconds, ``Z``."""
    changed_at: str
    """Of its last step."""
    cleared_at: str | None
    sequence: int
    """Number of its last step: 0 raised it."""


class FoundAlerts(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker found among its own."""

    known: bool
    """Whether the VIM has rows here that the caller may see."""
    count: int
    """How many match in all."""
    alerts: list[tuple[Position, AlertSummary]]
    more: bool
    """Whether others follow these."""


class FoundAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm, if this worker has it, and all that its row keeps of its source and condition."""

    alert: AlertSummary | None
    history: list[AlertSummary] = []
    """Newest first, the alarm itself among them."""


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud's alarms that match, the newest first, a page of them."""

    vim_id: str
    count: int
    """How many match in all."""
    next_marker: str | None
    """The marker of the next page; None on the last one."""
    alerts: list[AlertSummary]


class AlertAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm, and those of the same source and condition before and after it."""

    vim_id: str
    alert: AlertSummary
    history: list[AlertSummary]
    """Newest first, the alarm itself among them: the newest ones that are kept."""


EntryOf = Callable[[PlacedAlarm], IndexEntry | None]
"""Returns what is known of the instance that an alarm is about; None where it is about none."""


def parse_alerts(vim_id: str, parameters: AlertsParameters, tenants: Tenants) -> AlertSearch:
    """Check a query string. Raises ApiError (400)."""
    return AlertSearch(
        vim_id=vim_id,
        states=tuple(dict.fromkeys(parameters.state)) or ("active",),
        conditions=tuple(parameters.condition),
        severities=tuple(each.casefold() for each in parameters.severity),
        instance_id=parameters.instance_id,
        host=parameters.host,
        limit=parameters.limit,
        after=read_marker(parameters.marker, Position),  # type: ignore[arg-type]
        tenants=tenants,
    )


def selection(search: AlertSearch, entry_of: EntryOf) -> AlarmSelection:
    """Return what the index is asked for."""
    conditions, severities = frozenset(search.conditions), frozenset(search.severities)

    def passes(placed: PlacedAlarm) -> bool:
        alarm, source, _partition = placed
        return (
            _state(placed) in search.states
            and (not conditions or not conditions.isdisjoint(_names(alarm.condition)))
            and (not severities or alarm.severity.casefold() in severities)
            and (not search.instance_id or source.instance_id == search.instance_id)
            and (not search.host or _host(placed, entry_of) == search.host)
            and is_shown(placed, entry_of, search.tenants)
        )

    return AlarmSelection(search.vim_id, passes, search.after, search.limit)


def is_shown(placed: PlacedAlarm, entry_of: EntryOf, tenants: Tenants) -> bool:
    """Return whether an alarm is shown to who may see the instances of ``tenants`` alone."""
    if tenants is None:
        return True
    entry = entry_of(placed)
    return entry is not None and entry.tenant_id in tenants


def summary(placed: PlacedAlarm, entry_of: EntryOf) -> AlertSummary:
    """Return what an answer says of an alarm."""
    alarm, source, _partition = placed
    entry = entry_of(placed)
    return AlertSummary(
        id=alarm.id,
        condition=alarm.condition,
        state=_state(placed),
        source="instance" if source.instance_id else "host" if source.host else "cloud",
        instance_id=source.instance_id or None,
        display_name=(entry.display_name or None) if entry else None,
        host=_host(placed, entry_of) or None,
        name=alarm.name or None,
        severity=alarm.severity or None,
        summary=alarm.summary or None,
        started_at=alarm.started_at,
        changed_at=alarm.changed_at,
        cleared_at=alarm.cleared_at or None,
        sequence=alarm.sequence,
    )


def combine(search: AlertSearch, parts: Sequence[FoundAlerts]) -> AlertPage:
    """Make a page out of the parts that together cover every partition."""
    found = list(chain.from_iterable(part.alerts for part in parts))
    page = nlargest(search.limit, found, key=lambda placed: placed[0])
    has_more = len(found) > len(page) or any(part.more for part in parts)
    return AlertPage(
        vim_id=search.vim_id,
        count=sum(part.count for part in parts),
        next_marker=marker_of(page[-1][0]) if has_more and page else None,
        alerts=[alert for _position, alert in page],
    )


def found_alert(history: Sequence[PlacedAlarm], query: AlertQuery, entry_of: EntryOf) -> FoundAlert:
    """Return the alarm that is asked for, out of those of its source and condition."""
    placed = next((each for each in history if each.alarm.id == query.id), None)
    if placed is None or not is_shown(placed, entry_of, query.tenants):
        return FoundAlert(alert=None)
    return FoundAlert(
        alert=summary(placed, entry_of), history=[summary(each, entry_of) for each in history]
    )


def _state(placed: PlacedAlarm) -> AlertState:
    return "cleared" if placed.alarm.cleared_at else "active"


def _names(condition: str) -> tuple[str, str]:
    """Return the names by which a condition can be asked for."""
    return condition, class_of(condition)


def _host(placed: PlacedAlarm, entry_of: EntryOf) -> str:
    """Return the host that an alarm is about, or on which its instance is."""
    if placed.source.host:
        return placed.source.host
    entry = entry_of(placed)
    return entry.host if entry else ""
