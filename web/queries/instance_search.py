"""Which instances a query asks for, and one page of them out of what the workers found.

Decides, and does nothing. check_vim_status and the list of instances both ask this way.
"""

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from heapq import merge
from itertools import islice
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.core.kinds import KINDS
from streams.worker.host_index import CloudNews
from streams.worker.instance_index import (
    IndexEntry,
    Position,
    Selection,
    SortField,
    StateGroup,
    state_group,
)
from vimfed.model.decoding import decoded
from vimfed.model.records import InstanceState, Outage, Phase, Recorded
from vimfed.model.times import as_utc_text
from vimfed.nova.states import DELETED
from web.http.errors import ApiError
from web.queries.availability import UNAVAILABLE, Availability, availability, spelled
from web.queries.peer_query import PeerQuery
from web.queries.state_names import ACCEPTED_NAMES, canonical, matcher
from web.queries.tenants import Tenants, is_tenant_shown

Order = Literal["asc", "desc"]
Limit = Annotated[int, Meta(ge=1, le=1000, description="instances in the answer")]


class InstanceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One instance in an answer."""

    instance_id: str
    display_name: str | None
    tenant_id: str | None
    kind: str
    """Of the last action."""
    phase: Phase
    """Of the last action."""
    state: str
    """nova's vm_state."""
    state_description: str
    """nova's task_state, or the vm_state at rest."""
    launched_at: str
    """The time of the state change, as the specification says."""
    instance_launched_at: str | None
    """The time of the instance's launch, as nova spells it."""
    host: str | None
    available: bool | None = None
    """Whether its host is up; None where that is not known."""
    unavailable_since: str | None = None
    """Since when its host is known to be down."""
    unavailable_reason: str | None = None
    """``host_down`` or ``host_forced_down``."""


class InstancesParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for a VIM's instances."""

    state: Annotated[
        list[str],
        Meta(
            description="names of states, as check_vim_status understands them: instances that "
            "match one of them; without it all but the deleted ones"
        ),
    ] = []
    kind: Annotated[
        list[str], Meta(description="kinds: instances whose last action was one of them")
    ] = []
    tenant_id: Annotated[str, Meta(description="instances of this tenant (a project id)")] = ""
    host: Annotated[str, Meta(description="instances on this host")] = ""
    name: Annotated[str, Meta(description="a part of the display name, in any case")] = ""
    available: Annotated[
        Availability | Literal[""],
        Meta(description="instances whose host is up, is down, or of whose host that is unknown"),
    ] = ""
    changed_since: Annotated[
        str,
        Meta(description="ISO 8601, UTC by default: instances that changed then or later"),
    ] = ""
    sort: SortField = "changed_at"
    order: Annotated[
        Order | msgspec.UnsetType,
        Meta(description="by default desc for changed_at, asc for the others"),
    ] = msgspec.UNSET
    limit: Limit = 100
    marker: Annotated[str, Meta(description="next_marker of the page before")] = ""


class InstanceSearch(PeerQuery, frozen=True, kw_only=True):
    """A request that has been checked; what the workers ask each other."""

    vim_id: str
    states: tuple[str, ...] = ()
    """Canonical names of states and kinds, any of which may match; empty: all but the deleted."""
    kinds: tuple[str, ...] = ()
    """Kinds, any of which may be the last action's; empty: all."""
    instance_id: str | None = None
    tenant_id: str | None = None
    host: str | None = None
    name: str | None = None
    unavailable: bool = False
    """Whether instances that are unavailable match like those in one of the states."""
    available: Availability | Literal[""] = ""
    """How it is with their hosts; empty: however."""
    changed_since: str = ""
    """Spelled like ``InstanceState.changed_at``."""
    sort: SortField = "changed_at"
    order: Order = "desc"
    limit: int = 100
    after: Position | None = None
    """Where the last instance of the page before stands."""
    tenants: Tenants = None
    """Whose instances the caller may see."""

    def shown_tenants(self) -> Tenants:
        """Return the tenants that are asked for, of those that the caller may see."""
        if self.tenant_id is None:
            return self.tenants
        return (self.tenant_id,) if self.tenants is None or self.tenant_id in self.tenants else ()


class FoundInstances(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker found among its own."""

    known: bool
    """Whether the VIM has rows here that the caller may see."""
    count: int
    """How many match in all."""
    instances: list[tuple[Position, InstanceSummary]]
    until: Position | None
    """Up to here it has looked; others follow. None where none does."""


class InstancePage(msgspec.Struct, frozen=True, kw_only=True):
    """A VIM's instances that match, a page of them."""

    vim_id: str
    count: int
    """How many match in all."""
    next_marker: str | None
    """The marker of the next page; None on the last one."""
    instances: list[InstanceSummary]


class _Marker(msgspec.Struct, frozen=True, array_like=True):
    sort: SortField
    order: Order
    position: Position


class _Payload(msgspec.Struct, gc=False):
    display_name: str | None = None
    tenant_id: str | None = None
    launched_at: str | None = None
    host: str | None = None


_decode_payload = msgspec.json.Decoder(_Payload).decode


class ListedRow(Recorded, frozen=True, gc=False, kw_only=True):
    """As much of an encoded InstanceState as a list says of it."""

    instance_id: str
    vm_state: str
    task_state: str
    kind: str
    phase: Phase
    changed_at: str
    outage: Outage | None = None
    payload: _Payload


decode_listed_row = msgspec.json.Decoder(ListedRow).decode


def parse_search(
    vim_id: str, parameters: InstancesParameters, tenant_id: str | None
) -> InstanceSearch:
    """Check a query string. Raises ApiError (400)."""
    names = state_names("state", parameters.state)
    order = parameters.order or ("desc" if parameters.sort == "changed_at" else "asc")
    return InstanceSearch(
        vim_id=vim_id,
        states=without_unavailable(names),
        unavailable=UNAVAILABLE in names,
        kinds=kind_names(parameters.kind),
        tenant_id=parameters.tenant_id or tenant_id,
        host=parameters.host or None,
        name=parameters.name.casefold() or None,
        available=parameters.available,
        changed_since=_parse_time(parameters.changed_since),
        sort=parameters.sort,
        order=order,
        limit=parameters.limit,
        after=parse_marker(parameters.marker or None, parameters.sort, order),
    )


def state_names(what: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return the canonical names of states and kinds, each once. Raises ApiError (400)."""
    return _known_names(what, given, ACCEPTED_NAMES)


def without_unavailable(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names without UNAVAILABLE, which workers of an earlier version do not know."""
    return tuple(name for name in names if name != UNAVAILABLE)


def kind_names(given: Sequence[str], accepted: Collection[str] = KINDS.keys()) -> tuple[str, ...]:
    """Return the canonical names of kinds, each once. Raises ApiError (400)."""
    return _known_names("kind", given, accepted)


def _known_names(what: str, given: Sequence[str], accepted: Collection[str]) -> tuple[str, ...]:
    unknown = [name for name in given if canonical(name) not in accepted]
    if unknown:
        names = ", ".join(sorted(accepted))
        raise ApiError(400, f"{what}: unknown {unknown}: accepted, in any case, are {names}")
    return tuple(dict.fromkeys(map(canonical, given)))


def _parse_time(time: str) -> str:
    """Return a time as ``InstanceState.changed_at`` is spelled; empty where none is given."""
    if not time:
        return ""
    try:
        return as_utc_text(time)
    except (ValueError, OverflowError):
        raise ApiError(
            400,
            f"changed_since: {time!r} is no time in ISO 8601, such as 2026-01-01T12:00:00Z (in a "
            "query string a + is written %2B)",
        ) from None


def parse_marker(marker: str | None, sort: SortField, order: Order) -> Position | None:
    """Return where the page before ended. Raises ApiError (400)."""
    if marker is None:
        return None
    try:
        read = decoded(_decode_marker, urlsafe_b64decode(marker))
    except ValueError:
        raise ApiError(400, "marker must be the next_marker of an earlier answer") from None
    if (read.sort, read.order) != (sort, order):
        raise ApiError(400, f"marker is of a list by {read.sort} {read.order}: ask for the same")
    return read.position


_decode_marker = msgspec.json.Decoder(_Marker).decode


def selection(search: InstanceSearch, news: CloudNews) -> Selection:
    """Return what the index is asked for; ``news`` is what is known of the cloud's hosts."""
    return Selection(
        search.vim_id,
        _group_test(search),
        search.instance_id,
        search.changed_since,
        _entry_test(search, news),
        search.sort,
        search.order == "desc",
        search.after,
        search.limit,
        search.shown_tenants(),
    )


def _group_test(search: InstanceSearch) -> Callable[[StateGroup], bool]:
    in_state = matcher(search.states) if search.states else None
    kinds = frozenset(search.kinds)

    def matches(group: StateGroup) -> bool:
        if in_state is not None or search.unavailable:
            wanted = bool(in_state and in_state(group)) or (search.unavailable and group.is_out)
        else:
            wanted = group.vm_state != DELETED or "DELETE" in kinds
        return wanted and (not kinds or group.kind in kinds)

    return matches


def _entry_test(search: InstanceSearch, news: CloudNews) -> Callable[[IndexEntry], bool] | None:
    """Return what tells whether an instance passes; None where all do."""
    host, name, available = search.host, search.name, search.available
    if host is None and name is None and not available:
        return None

    def passes(entry: IndexEntry) -> bool:
        return (host is None or entry.host == host) and (
            (name is None or name in entry.display_name.casefold())
            and (not available or available == _availability(entry, news))
        )

    return passes


def _availability(entry: IndexEntry, news: CloudNews) -> Availability:
    return spelled(availability(is_out=entry.group.is_out, host=entry.host, news=news))


def is_available(row: InstanceState, news: CloudNews) -> bool | None:
    """Return whether an instance is available; None: that is not known."""
    host = _decode_payload(row.payload).host or ""
    return availability(is_out=row.outage is not None, host=host, news=news)


def is_wanted(row: ListedRow, wanted: Selection) -> bool:
    """Return whether a row is still one of those that were asked for, and of their tenants."""
    group = state_group(row.vm_state, row.task_state, row.kind, row.outage)
    return wanted.matches(group) and is_tenant_shown(row.payload.tenant_id, wanted.tenants)


def summary(row: ListedRow, news: CloudNews) -> InstanceSummary:
    """Return what an answer says of an instance; ``news`` is what is known of its cloud's hosts."""
    payload = row.payload
    return InstanceSummary(
        instance_id=row.instance_id,
        display_name=payload.display_name,
        tenant_id=payload.tenant_id,
        kind=row.kind,
        phase=row.phase,
        state=row.vm_state,
        state_description=row.task_state or row.vm_state,
        launched_at=row.changed_at,
        instance_launched_at=payload.launched_at,
        host=payload.host,
        available=availability(is_out=row.outage is not None, host=payload.host or "", news=news),
        unavailable_since=row.outage.since if row.outage else None,
        unavailable_reason=row.outage.reason if row.outage else None,
    )


def for_parts(search: InstanceSearch, largest_share: float) -> InstanceSearch:
    """Return what the owners are asked for a page, none of whom owns more than such a share.

    Instances are spread evenly: a page has hardly ever more than half as many again of one owner,
    and ten. What nobody would see is not read.
    """
    limit = min(search.limit, math.ceil(1.5 * largest_share * search.limit) + 10)
    return msgspec.structs.replace(search, limit=limit)


def is_short(search: InstanceSearch, page: InstancePage) -> bool:
    """Return whether a page has less than was asked for, though others follow."""
    return len(page.instances) < search.limit and page.next_marker is not None


def combine(search: InstanceSearch, parts: Sequence[FoundInstances]) -> InstancePage:
    """Make a page out of the parts that together cover every partition."""
    descending = search.order == "desc"
    bounds = [part.until for part in parts if part.until is not None]
    bound = (max if descending else min)(bounds, default=None)

    def is_complete(position: Position) -> bool:
        """Return whether no part holds back what comes before."""
        return bound is None or (position >= bound if descending else position <= bound)

    merged = merge(
        *(part.instances for part in parts), key=lambda placed: placed[0], reverse=descending
    )
    following = (placed for placed in merged if is_complete(placed[0]))
    page = list(islice(following, search.limit))
    end = bound if len(page) < search.limit else page[-1][0]
    is_last = bound is None and next(following, None) is None
    marker = None
    if end is not None and not is_last:
        encoded = msgspec.json.encode(_Marker(search.sort, search.order, end))
        marker = urlsafe_b64encode(encoded).decode()
    return InstancePage(
        vim_id=search.vim_id,
        count=sum(part.count for part in parts),
        next_marker=marker,
        instances=[one for _position, one in page],
    )
