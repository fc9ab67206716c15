"""check_vim_status: what a request asks for, and what the answer says. Decides, and does nothing.

The request's ``states`` and the first two fields of the answer are those of ONAP multicloud's
specification "Event Federation"; the rest serves clients that want more.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from vimfed.model.decoding import UNREADABLE
from web.http.errors import ApiError
from web.queries.availability import UNAVAILABLE
from web.queries.instance_search import (
    InstancePage,
    InstanceSearch,
    InstanceSummary,
    Limit,
    parse_marker,
    state_names,
    without_unavailable,
)


class StatusRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a check_vim_status request."""

    states: Annotated[list[str], Meta(min_length=1)]
    """Names of states and kinds, any of which may match."""
    instance_id: str | None = None
    tenant_id: str | None = None
    limit: Limit = 100
    marker: str | None = None
    """The next_marker of the page before."""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the answer."""

    state_description: str
    """Of the newest match: its task_state, or its vm_state at rest; empty where none matches."""
    launched_at: str
    """The time of the newest match's state change."""
    vim_id: str
    count: int
    """How many match in all."""
    next_marker: str | None
    """The marker of the next page; None on the last one."""
    instances: list[InstanceSummary]


_decode_request = msgspec.json.Decoder(StatusRequest).decode

_EXAMPLE = 'e.g. {"states": ["POWER_OFF", "PAUSE"]}'


def parse_request(vim_id: str, body: bytes, tenant_id: str | None) -> InstanceSearch:
    """Read a request's body. Raises ApiError (400)."""
    try:
        request = _decode_request(body)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"{error}; {_EXAMPLE}") from None
    except UNREADABLE as error:
        raise ApiError(400, f"the body is not JSON: {error}; {_EXAMPLE}") from None
    names = state_names("states", request.states)
    return InstanceSearch(
        vim_id=vim_id,
        states=without_unavailable(names),
        unavailable=UNAVAILABLE in names,
        instance_id=request.instance_id,
        tenant_id=request.tenant_id or tenant_id,
        limit=request.limit,
        after=parse_marker(request.marker, "changed_at", "desc"),
    )


def status_answer(page: InstancePage) -> StatusAnswer:
    """Return a page, newest first, with the specification's two fields."""
    newest = page.instances[0] if page.instances else None
    return StatusAnswer(
        state_description=newest.state_description if newest else "",
        launched_at=newest.launched_at if newest else "",
        vim_id=page.vim_id,
        count=page.count,
        next_marker=page.next_marker,
        instances=page.instances,
    )
