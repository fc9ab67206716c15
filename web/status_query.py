"""check_vim_status: what a request asks for, and what the answer says. Decides, and does nothing.

The request's ``states`` and the first two fields of the answer are those of ONAP multicloud's
specification "Event Federation"; the rest serves clients that want more.
"""

from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.kinds import api_status
from vimfed.records import InstanceState, Phase
from web.errors import ApiError
from web.state_names import ACCEPTED_NAMES, canonical


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a check_vim_status request."""

    states: list[str]
    instance_id: str | None = None
    tenant_id: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    marker: str | None = None


class StatusQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has been checked; what the workers ask each other."""

    vim_id: str
    names: tuple[str, ...]
    """Canonical names of states and kinds; any of them may match."""
    instance_id: str | None
    tenant_id: str | None
    limit: int
    before: tuple[str, str] | None
    """The (changed_at, instance_id) of the last instance of the page before."""


class InstanceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One instance in the answer."""

    instance_id: str
    display_name: str | None
    tenant_id: str | None
    kind: str
    phase: Phase
    state: str
    """nova's vm_state."""
    state_description: str
    """nova's task_state, or the vm_state at rest."""
    launched_at: str
    """The time of the state change, as the specification says."""
    instance_launched_at: str | None
    """The time of the instance's launch, as nova spells it."""
    host: str | None


class StatusPart(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker answers for the partitions that it owns."""

    generation: int
    partitions: tuple[int, ...]
    known: bool
    """Whether the VIM has rows here."""
    count: int
    instances: list[InstanceSummary]


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer."""

    state_description: str
    launched_at: str
    vim_id: str
    count: int
    next_marker: str | None
    instances: list[InstanceSummary]


class InstanceParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query string of a request for one instance."""

    stale: Literal["ok", ""] = ""
    """``ok``: where its owner cannot answer, what a standby here knows."""


class InstanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one instance."""

    vim_id: str
    instance_id: str
    vm_state: str
    task_state: str | None
    power_state: str | None
    """None where no notification told it."""
    status: str
    """What nova's API calls the two states together."""
    kind: str
    phase: Phase
    changed_at: str
    payload: msgspec.Raw
    """The specification's flat payload."""
    stale: bool | msgspec.UnsetType = msgspec.UNSET
    """True where a standby answered."""
    lag: int | msgspec.UnsetType = msgspec.UNSET
    """By so many changes it was behind."""


class _Payload(msgspec.Struct, gc=False):
    display_name: str | None = None
    tenant_id: str | None = None
    launched_at: str | None = None
    host: str | None = None


_decode_request = msgspec.json.Decoder(StatusRequest).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode

_EXAMPLE = 'e.g. {"states": ["POWER_OFF", "PAUSE"]}'


def parse_request(vim_id: str, body: bytes, tenant_id: str | None) -> StatusQuery:
    """Read a request's body. Raises ApiError (400)."""
    try:
        request = _decode_request(body)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"{error}; {_EXAMPLE}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}; {_EXAMPLE}") from None
    if not request.states:
        raise ApiError(400, f"states is empty: name at least one of {_accepted()}")
    names = tuple(dict.fromkeys(map(canonical, request.states)))
    unknown = [name for name in request.states if canonical(name) not in ACCEPTED_NAMES]
    if unknown:
        raise ApiError(400, f"unknown states {unknown}: accepted, in any case, are {_accepted()}")
    return StatusQuery(
        vim_id=vim_id,
        names=names,
        instance_id=request.instance_id,
        tenant_id=request.tenant_id or tenant_id,
        limit=request.limit,
        before=_parse_marker(request.marker),
    )


def _accepted() -> str:
    return ", ".join(sorted(ACCEPTED_NAMES))


def _parse_marker(marker: str | None) -> tuple[str, str] | None:
    if marker is None:
        return None
    changed_at, comma, instance_id = marker.partition(",")
    if not comma:
        raise ApiError(400, "marker must be the next_marker of an earlier answer")
    return changed_at, instance_id


def summary(row: InstanceState) -> InstanceSummary:
    """Return what an answer says of an instance."""
    payload = _decode_payload(row.payload)
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
    )


def combine(query: StatusQuery, parts: Sequence[StatusPart]) -> StatusAnswer:
    """Make the answer out of the parts that together cover every partition."""
    count = sum(part.count for part in parts)
    found: Iterable[InstanceSummary] = (one for part in parts for one in part.instances)
    newest = nlargest(query.limit, found, key=_age)
    more = sum(len(part.instances) for part in parts) > len(newest) or any(
        len(part.instances) == query.limit for part in parts
    )
    first = newest[0] if newest else None
    return StatusAnswer(
        state_description=first.state_description if first else "",
        launched_at=first.launched_at if first else "",
        vim_id=query.vim_id,
        count=count,
        next_marker=",".join(_age(newest[-1])) if newest and more and count > query.limit else None,
        instances=newest,
    )


def _age(one: InstanceSummary) -> tuple[str, str]:
    return one.launched_at, one.instance_id


def instance_answer(row: InstanceState, lag: int | None = None) -> InstanceAnswer:
    """Return everything that is known of one instance; ``lag`` where a standby answers."""
    return InstanceAnswer(
        vim_id=row.vim_id,
        instance_id=row.instance_id,
        vm_state=row.vm_state,
        task_state=row.task_state or None,
        power_state=row.power_state or None,
        status=api_status(row.vm_state, row.task_state),
        kind=row.kind,
        phase=row.phase,
        changed_at=row.changed_at,
        payload=row.payload,
        stale=msgspec.UNSET if lag is None else True,
        lag=msgspec.UNSET if lag is None else lag,
    )
