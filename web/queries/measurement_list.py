"""What was measured of an instance or host, and of which a meter shows most. Decides alone."""

from collections.abc import Iterable, Sequence
from heapq import nlargest, nsmallest
from itertools import chain
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.worker.instance_index import IndexEntry
from streams.worker.newest_values import Measured, Newest, NewestValue
from vimfed.model.samples import CPU_UTIL, MetersState, MeterValue
from web.queries.instance_search import Order
from web.queries.peer_query import PeerQuery
from web.queries.tenants import Tenants

Figure = Literal["volume", "rate", "delta"]
"""What of a meter is compared."""


class TopParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for those of which a meter shows most."""

    meter: Annotated[
        str, Meta(description="the meter's name, such as cpu_util, memory_util or disk.read.bytes")
    ] = CPU_UTIL
    device: Annotated[
        str,
        Meta(description="of this disk, port or device alone; without it each counts for itself"),
    ] = ""
    sort: Annotated[
        Figure,
        Meta(
            description="by volume, the newest value; of cumulative meters by rate, a second, or "
            "by delta, both since the sample before"
        ),
    ] = "volume"
    order: Annotated[Order, Meta(description="the largest ones first (desc), or the smallest")] = (
        "desc"
    )
    about: Annotated[
        Literal["instances", "hosts"],
        Meta(description="of instances, or of hosts: callers limited to tenants see no hosts"),
    ] = "instances"
    tenant_id: Annotated[str, Meta(description="instances of this tenant (a project id)")] = ""
    host: Annotated[str, Meta(description="this host, or instances on it")] = ""
    max_age: Annotated[
        int,
        Meta(
            ge=1,
            le=7 * 24 * 3600,
            description="seconds before now in which what is compared was measured",
        ),
    ] = 600
    limit: Annotated[int, Meta(ge=1, le=1000, description="entries in the answer")] = 10


class TopQuery(PeerQuery, frozen=True, kw_only=True):
    """A request that has been checked; what the workers ask each other."""

    vim_id: str
    meter: str
    device: str = ""
    sort: Figure = "volume"
    order: Order = "desc"
    about: Literal["instances", "hosts"] = "instances"
    tenant_id: str = ""
    host: str = ""
    since: str = ""
    """Measured until then, or later: ISO 8601, UTC, microseconds, ``Z``."""
    limit: int = 10
    tenants: Tenants = None
    """Whose instances the caller may see."""


class TopEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a meter showed of one instance or host, or of one of its devices."""

    instance_id: str | None
    """None of a host."""
    display_name: str | None
    tenant_id: str | None
    host: str | None
    """The host that was measured, or on which the instance was."""
    state: str | None
    """The instance's vm_state when it was measured."""
    meter: str
    device: str | None
    """The disk, port or device; None: the instance or host itself."""
    unit: str
    kind: str
    """``gauge``, ``cumulative`` or ``delta``."""
    volume: float
    """The newest value of the interval; of a delta meter the sum of its samples."""
    rate: float | None
    """Of a cumulative meter: ``unit`` a second, since the sample before."""
    delta: float | None
    """Of a cumulative meter: what was counted since then."""
    begin: str
    """Of the interval that was measured; times here: ISO 8601, UTC, microseconds, ``Z``."""
    end: str


class FoundTop(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker found among its own."""

    known: bool
    """Whether the VIM has rows here that the caller may see."""
    count: int
    """How many match in all."""
    entries: list[TopEntry]
    """The first of them, in the order asked for."""


class TopList(msgspec.Struct, frozen=True, kw_only=True):
    """Those of which a meter shows most, over all workers."""

    vim_id: str
    meter: str
    count: int
    """How many match in all."""
    entries: list[TopEntry]


class MeasuredQuery(PeerQuery, frozen=True):
    """What a worker asks the owner of an instance, or of a host."""

    vim_id: str
    instance_id: str = ""
    tenants: Tenants = None
    """Of whose the instance must be."""
    host: str = ""
    """In place of an instance."""


class MeteredValue(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples of one interval say of one meter."""

    meter: str
    device: str | None
    """The disk, port or device; None: the instance or host itself."""
    unit: str
    kind: str
    """``gauge``, ``cumulative`` or ``delta``."""
    volume: float
    """The newest value of the interval; of a delta meter the sum of its samples."""
    at: str
    """Time of the newest sample."""
    rate: float | None
    """Of a cumulative meter: ``unit`` a second, since the sample before the interval; None where
    there is none, or the counter has restarted since."""
    delta: float | None
    """Of a cumulative meter: what was counted since then."""


class IntervalMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of an instance or host in one interval."""

    id: str
    """The same as where it is published."""
    begin: str
    """The interval holds its begin, and not its end: ISO 8601, UTC, microseconds, ``Z``."""
    end: str
    values: list[MeteredValue]
    """By meter and device."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy an instance was in one interval."""

    end: str
    """Of the interval."""
    cpu_percent: float | None
    """Of all its virtual CPUs together; None: not known."""
    memory_percent: float | None


class FoundMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """The owner's answer."""

    known: bool
    """Whether there is such an instance, or host, that the caller may see."""
    measurements: list[IntervalMeasurement] = []
    recent: list[Load] = []


class InstanceMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """The newest that was measured of an instance."""

    vim_id: str
    instance_id: str
    measurements: list[IntervalMeasurement]
    """Of the newest intervals, the newest last; empty where nothing was measured yet."""
    recent: list[Load]
    """Of the intervals before, too, the newest last."""


class HostMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """The newest that was measured of a host."""

    vim_id: str
    host: str
    measurements: list[IntervalMeasurement]
    """Of the newest intervals, the newest last; empty where nothing was measured yet."""


_MORE = 500
"""Entries beside the first ones, after which they are put into order."""


def top_query(vim_id: str, parameters: TopParameters, since: str, tenants: Tenants) -> TopQuery:
    """Return what the workers are asked; ``since``: see TopQuery."""
    return TopQuery(
        vim_id=vim_id,
        meter=parameters.meter,
        device=parameters.device,
        sort=parameters.sort,
        order=parameters.order,
        about=parameters.about,
        tenant_id=parameters.tenant_id,
        host=parameters.host,
        since=since,
        limit=parameters.limit,
        tenants=tenants,
    )


class TopSearch:
    """Finds the first entries among those that are shown to it, of any number."""

    def __init__(self, query: TopQuery) -> None:
        self._query = query
        self._found: list[TopEntry] = []
        self._last: float | None = None
        """The figure of the last of the first entries so far, where they are as many as asked for:
        what comes behind it is counted alone."""
        self.count = 0
        """How many match in all."""

    def add(self, newest: Newest, entry: IndexEntry | None) -> None:
        """Take the newest values of an instance or host.

        ``entry`` is what is known now of the instance; None: nothing, or they are of a host.
        """
        query, of = self._query, newest.of
        tenant_id = entry.tenant_id if entry else of.tenant_id
        if (
            of.end < query.since
            or query.tenant_id not in ("", tenant_id)
            or query.host not in ("", of.host)
        ):
            return
        for value in newest.values:
            figure: float | None = getattr(value, query.sort)
            if figure is None or query.device not in ("", value.device):
                continue
            self.count += 1
            if not self._is_behind(figure):
                self._found.append(_entry(of, value, tenant_id))
        if len(self._found) > query.limit + _MORE:
            self._found = self.first()
            self._last = _figure(query, self._found[-1])

    def first(self) -> list[TopEntry]:
        """Return the first entries so far."""
        return first_of(self._query, self._found)

    def _is_behind(self, figure: float) -> bool:
        if self._last is None:
            return False
        return figure > self._last if self._query.order == "asc" else figure < self._last


def _entry(of: Measured, value: NewestValue, tenant_id: str) -> TopEntry:
    return TopEntry(
        instance_id=of.instance_id or None,
        display_name=of.display_name or None,
        tenant_id=tenant_id or None,
        host=of.host or None,
        state=of.vm_state or None,
        meter=value.meter,
        device=value.device or None,
        unit=value.unit,
        kind=value.kind,
        volume=value.volume,
        rate=value.rate,
        delta=value.delta,
        begin=of.begin,
        end=of.end,
    )


def first_of(query: TopQuery, entries: Iterable[TopEntry]) -> list[TopEntry]:
    """Return the first entries in the order asked for; equal ones by instance, host and device."""
    if query.order == "asc":
        return nsmallest(query.limit, entries, key=lambda each: (_figure(query, each), _name(each)))
    # nlargest keeps equal ones in the order in which they come.
    return nlargest(query.limit, sorted(entries, key=_name), key=lambda each: _figure(query, each))


def _figure(query: TopQuery, entry: TopEntry) -> float:
    figure: float = getattr(entry, query.sort)
    return figure


def _name(entry: TopEntry) -> tuple[str, str, str]:
    return entry.instance_id or "", entry.host or "", entry.device or ""


def combine(query: TopQuery, parts: Sequence[FoundTop]) -> TopList:
    """Make a list out of the parts that together cover every partition."""
    return TopList(
        vim_id=query.vim_id,
        meter=query.meter,
        count=sum(part.count for part in parts),
        entries=first_of(query, chain.from_iterable(part.entries for part in parts)),
    )


def found_measurements(row: MetersState | None) -> FoundMeasurements:
    """Return what a row says of an instance or host that the caller may see."""
    if row is None:
        return FoundMeasurements(known=True)
    return FoundMeasurements(
        known=True,
        measurements=[
            IntervalMeasurement(
                id=each.id,
                begin=each.begin,
                end=each.end,
                values=[_value(value) for value in each.values],
            )
            for each in row.measurements
        ],
        recent=[
            Load(end=point.end, cpu_percent=point.cpu_percent, memory_percent=point.memory_percent)
            for point in row.recent
        ],
    )


def _value(value: MeterValue) -> MeteredValue:
    return MeteredValue(
        meter=value.meter,
        device=value.device or None,
        unit=value.unit,
        kind=value.kind,
        volume=value.volume,
        at=value.at,
        rate=value.rate,
        delta=value.delta,
    )
