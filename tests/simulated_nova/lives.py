"""Whole lives of servers, drawn from nova's state machine."""

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

from tests.simulated_nova.attaching import ATTACHING
from tests.simulated_nova.building import BIRTHS, create
from tests.simulated_nova.deletion import DELETIONS, SURVIVED, delete, soft_delete
from tests.simulated_nova.live_migrating import LIVE_MIGRATING
from tests.simulated_nova.power import POWER, late_error, lock, over_one_task, shelve_and_offload
from tests.simulated_nova.rebuilding import REBUILDING
from tests.simulated_nova.resizing import RESIZING, resize_and_wait
from tests.simulated_nova.server import Server
from vimfed.model.records import Notification


class Operation(NamedTuple):
    """Something that can happen to a server."""

    name: str
    states: frozenset[str]
    """The vm_states in which it is possible."""
    operate: Callable[[Server], None]
    is_deadly: bool


_TABLES = (POWER, REBUILDING, RESIZING, LIVE_MIGRATING, ATTACHING, SURVIVED, DELETIONS)


def _operations() -> tuple[Operation, ...]:
    operations = []
    for table in _TABLES:
        for states, operate in table:
            operations.append(
                Operation(operate.__name__, frozenset(states.split()), operate, table is DELETIONS)
            )
    return tuple(operations)


OPERATIONS = _operations()
CHOICES = len(OPERATIONS)

_PLAIN = (
    *("power_off", "power_on", "pause", "unpause", "suspend", "resume", "reboot", "snapshot"),
    *("rescue", "unrescue", "shelve", "shelve_offload", "unshelve", "soft_delete", "restore"),
    *("set_metadata", "lock", "reset_state", "late_error", "rebuild", "rebuild_stopped"),
    *("resize", "live_migrate"),
)
PLAIN = tuple(one for one in OPERATIONS if one.name in _PLAIN)
"""Operations that tell nothing twice under one request, and whose every change an order tells."""

_ON_NO_HOST = (lock, *(operate for _, operate in DELETIONS))


def _is_possible(operation: Operation, server: Server) -> bool:
    if server.state not in operation.states or server.task:
        return False
    return (
        server.host is not None
        or server.state == "shelved_offloaded"
        or operation.operate in _ON_NO_HOST
    )


def live(
    choices: list[int],
    *,
    deleted: bool,
    born: int = 0,
    deadly: bool = False,
    gap: float = 0.01,
    among: tuple[Operation, ...] = OPERATIONS,
) -> Server:
    """Return a server after operations that ``choices`` pick from those that are possible.

    ``born`` picks how it is built; ``deadly`` operations are among them only if that is said;
    ``deleted`` deletes it at last.
    """
    server = Server(gap)
    server.begin()
    BIRTHS[born][1](server)
    for choice in choices:
        possible = [
            one for one in among if _is_possible(one, server) and (deadly or not one.is_deadly)
        ]
        if possible:
            server.begin()
            possible[choice % len(possible)].operate(server)
    if deleted and server.state != "deleted":
        server.begin()
        delete(server)
    return server


def plain_lives() -> st.SearchStrategy[Server]:
    """Draw lives of up to 12 operations that any reordering leaves as they are."""
    return st.builds(
        live,
        st.lists(st.integers(0, CHOICES - 1), max_size=12),
        deleted=st.booleans(),
        gap=st.sampled_from([0.0003, 0.01, 1.0]),
        among=st.just(PLAIN),
    )


def lives(most: int = 12) -> st.SearchStrategy[Server]:
    """Draw lives of up to ``most`` operations."""
    return st.builds(
        live,
        st.lists(st.integers(0, CHOICES - 1), max_size=most),
        deleted=st.booleans(),
        born=st.sampled_from([0] * len(BIRTHS) + list(range(len(BIRTHS)))),
        deadly=st.booleans(),
        gap=st.sampled_from([0.0003, 0.01, 1.0]),
    )


_WAYS: dict[str, Callable[[Server], None]] = {
    "stopped": over_one_task("power_off", "powering-off", "stopped"),
    "paused": over_one_task("pause", "pausing", "paused"),
    "suspended": over_one_task("suspend", "suspending", "suspended"),
    "rescued": over_one_task("rescue", "rescuing", "rescued"),
    "shelved": over_one_task("shelve", "shelving", "shelved"),
    "shelved_offloaded": shelve_and_offload,
    "soft-delete": soft_delete,
    "resized": resize_and_wait,
    "error": late_error,
}
"""How an active server comes into each other vm_state."""


def life_of(operation: Operation, state: str, gap: float = 0.01) -> Server:
    """Return a server to which only ``operation`` happened, in the vm_state ``state``."""
    server = Server(gap)
    server.begin()
    create(server)
    for operate in (_WAYS.get(state), operation.operate):
        if operate is not None:
            server.begin()
            operate(server)
    return server


def all_told(server: Server) -> list[Notification]:
    """Return all messages in the order in which they were sent."""
    return [one for told in server.told for one in (told.legacy, told.versioned) if one is not None]
