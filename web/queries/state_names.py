"""The names by which check_vim_status knows states, and which instances each of them matches."""

from collections.abc import Callable, Iterable

from streams.core.kinds import API_STATUSES, KINDS, api_status
from streams.worker.instance_index import StateGroup
from vimfed.nova.states import DELETED, TASK_STATES, VM_STATES
from web.queries.availability import UNAVAILABLE

Matcher = Callable[[StateGroup], bool]

_MATCH_DELETED = frozenset({"DELETE", "DELETED"})
_SPELLINGS = {"SHUTDOWN": "SHUT_DOWN"}


def canonical(name: str) -> str:
    """Return the one spelling of a state's name: ``power-off`` and ``Power_Off`` are POWER_OFF."""
    upper = name.strip().upper().replace("-", "_")
    return _SPELLINGS.get(upper, upper)


_VM_STATES = {canonical(state): state for state in VM_STATES}
_TASK_STATES = {canonical(state): state for state in TASK_STATES}

ACCEPTED_NAMES = frozenset({*_VM_STATES, *_TASK_STATES, *API_STATUSES, *KINDS, UNAVAILABLE})
"""Every canonical name that can be asked for."""


def matcher(names: Iterable[str]) -> Matcher:
    """Return what tells whether an instance matches one of the canonical ``names``.

    A vm_state, a task_state or an API status matches an instance that is in it; a kind matches one
    in that kind's task_state at its start or its vm_state at its end, or, where it leaves no state
    of its own, one whose last action it was. UNAVAILABLE is no state: InstanceSearch has it apart.
    Deleted instances match only DELETE and DELETED.
    """
    wanted = frozenset(names)
    vm_states = {_VM_STATES[name] for name in wanted & _VM_STATES.keys()}
    task_states = {_TASK_STATES[name] for name in wanted & _TASK_STATES.keys()}
    last_kinds = set()
    for action in (KINDS[name] for name in wanted & KINDS.keys()):
        task_states.update(action.task_states)
        if action.end_vm_state:
            vm_states.add(action.end_vm_state)
        else:
            last_kinds.add(action.kind)

    def matches(group: StateGroup) -> bool:
        if group.vm_state == DELETED:
            return bool(wanted & _MATCH_DELETED)
        return (
            group.vm_state in vm_states
            or group.task_state in task_states
            or group.kind in last_kinds
            or api_status(group.vm_state, group.task_state) in wanted
        )

    return matches
