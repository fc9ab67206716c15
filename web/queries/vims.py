"""Which VIMs there are, and how many of their instances are in which state."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from vimfed.nova.states import DELETED
from web.queries.peer_query import PeerQuery
from web.queries.tenants import Tenants


class VimsQuery(PeerQuery, frozen=True):
    """What the workers ask each other."""

    tenants: Tenants = None
    """Whose instances are counted."""


class FoundVims(msgspec.Struct, frozen=True):
    """What one worker counts among its own."""

    states: dict[str, dict[str, int]]
    """For each VIM, how many instances are in which vm_state."""


class TroublesQuery(PeerQuery, frozen=True):
    """What the workers ask each other of all clouds' hosts and alarms."""


class FoundTroubles(msgspec.Struct, frozen=True):
    """What one worker counts among its own; by cloud."""

    hosts: dict[str, dict[str, int]]
    """How many hosts are how."""
    unavailable: dict[str, int]
    """How many instances are unavailable since their host is down."""
    alarms: dict[str, dict[str, int]]
    """How many active alarms there are of which class of conditions."""


class Vim(msgspec.Struct, frozen=True, kw_only=True):
    """One cloud."""

    vim_id: str
    configured: bool
    """Whether the settings name it; else it has only been heard of."""
    instances: int
    """How many it has, without the deleted ones."""
    states: dict[str, int]
    """How many are in which of nova's vm_states, ``deleted`` among them while they are kept."""
    hosts: dict[str, int] | None = None
    """How many hosts are ``up``, ``down``, ``forced_down``, ``unknown``. This and the next two are
    None of callers that are limited to some tenants, and while a worker cannot tell."""
    unavailable: int | None = None
    """How many instances are unavailable since their host is down."""
    alarms: dict[str, int] | None = None
    """How many active alarms there are of which class of conditions, e.g. ``vm_error``."""


class VimList(msgspec.Struct, frozen=True):
    """All clouds, by their vim_id."""

    vims: list[Vim]


def with_troubles(vims: Iterable[Vim], parts: Sequence[FoundTroubles]) -> list[Vim]:
    """Return the clouds with their hosts and alarms; the parts together cover every partition."""
    hosts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    alarms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    unavailable: Counter[str] = Counter()
    for part in parts:
        unavailable.update(part.unavailable)
        for told, counts in ((part.hosts, hosts), (part.alarms, alarms)):
            for vim_id, each in told.items():
                counts[vim_id].update(each)
    return [
        msgspec.structs.replace(
            vim,
            hosts=dict(sorted(hosts[vim.vim_id].items())),
            unavailable=unavailable[vim.vim_id],
            alarms=dict(sorted(alarms[vim.vim_id].items())),
        )
        for vim in vims
    ]


def combine(configured: Iterable[str], parts: Sequence[FoundVims]) -> VimList:
    """Add up the parts that together cover every partition."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        for vim_id, states in part.states.items():
            counts[vim_id].update(states)
    named = frozenset(configured)
    return VimList(
        [
            Vim(
                vim_id=vim_id,
                configured=vim_id in named,
                instances=counts[vim_id].total() - counts[vim_id][DELETED],
                states=dict(sorted((+counts[vim_id]).items())),
            )
            for vim_id in sorted(named | counts.keys())
        ]
    )
