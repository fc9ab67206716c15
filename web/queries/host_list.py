"""Which hosts a cloud has, and how they are. Decides, and does nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.worker.host_index import HostCondition, HostEntry
from web.queries.markers import marker_of, read_marker
from web.queries.peer_query import PeerQuery


class HostsParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query string of a request for a cloud's hosts."""

    state: Annotated[
        list[HostCondition], Meta(description="hosts in one of these states; without it all")
    ] = []
    limit: Annotated[int, Meta(ge=1, le=1000, description="hosts in the answer")] = 100
    marker: Annotated[str, Meta(description="next_marker of the page before")] = ""


class HostsQuery(PeerQuery, frozen=True):
    """What the workers ask each other: all hosts of a cloud."""

    vim_id: str


class FoundHosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker knows: the hosts whose own partitions it has, and its instances on any."""

    known: bool
    """Whether the VIM has rows here."""
    unknown_since: str | None
    """Since when the cloud does not tell how its hosts are (empty: it does); None: another worker
    knows."""
    hosts: list[HostEntry]
    instances: dict[str, int]
    """By host, how many instances are on it, without the deleted ones."""


class HostSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One host in an answer."""

    host: str
    state: HostCondition
    since: str | None
    """Since when it is down, or its state unknown; None of a host that is up."""
    last_state: HostCondition
    """What was last told of it: differs from the state where that is unknown."""
    disabled: bool
    """Whether nova places no further instances on it."""
    disabled_reason: str | None
    disabled_since: str | None
    instances: int
    """How many instances are on it, without the deleted ones."""


class HostPage(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud's hosts that match, by name, a page of them."""

    vim_id: str
    count: int
    """How many match in all."""
    states: dict[str, int]
    """How many of all hosts, whether they match or not, are in which state."""
    next_marker: str | None
    """The marker of the next page; None on the last one."""
    hosts: list[HostSummary]


def combine(vim_id: str, parameters: HostsParameters, parts: Sequence[FoundHosts]) -> HostPage:
    """Make a page out of the parts that together cover every partition. Raises ApiError (400)."""
    after = read_marker(parameters.marker, str)
    unknown_since = next((part.unknown_since for part in parts if part.unknown_since), "")
    instances: Counter[str] = Counter()
    for part in parts:
        instances.update(part.instances)
    everyone = [
        _summary(entry, unknown_since, instances[entry.host])
        for part in parts
        for entry in part.hosts
    ]
    wanted = sorted(
        (each for each in everyone if not parameters.state or each.state in parameters.state),
        key=lambda each: each.host,
    )
    following = [each for each in wanted if after is None or each.host > after]
    page = following[: parameters.limit]
    return HostPage(
        vim_id=vim_id,
        count=len(wanted),
        states=dict(Counter[str](each.state for each in everyone)),
        next_marker=marker_of(page[-1].host) if len(following) > len(page) else None,
        hosts=page,
    )


def _summary(entry: HostEntry, unknown_since: str, instances: int) -> HostSummary:
    return HostSummary(
        host=entry.host,
        state="unknown" if unknown_since or entry.unknown_since else entry.told,
        since=unknown_since or entry.unknown_since or entry.down_since or None,
        last_state=entry.told,
        disabled=entry.disabled,
        disabled_reason=entry.disabled_reason or None,
        disabled_since=entry.disabled_since or None,
        instances=instances,
    )
