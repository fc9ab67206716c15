"""What must come of what nova told: stated from nova's side, with no code of the product."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tests.simulated_nova.server import Server, State, Told
from vimfed.model.records import Notification


class Cloud(NamedTuple):
    """Which notifications a cloud sends."""

    name: str
    legacy: bool
    versioned: bool
    updates: bool
    """``notify_on_state_change`` is set."""

    def sends(self, told: Told) -> list[Notification]:
        """Return what it sends of one thing told."""
        if not (told.kind or self.updates):
            return []
        formats = ((self.legacy, told.legacy), (self.versioned, told.versioned))
        return [one for is_sent, one in formats if is_sent and one is not None]

    def sent(self, server: Server) -> list[Notification]:
        """Return all that it sends of a server, in order."""
        return [one for told in server.told for one in self.sends(told)]


CLOUDS = tuple(
    Cloud(f"{formats}{'' if updates else '-without-updates'}", legacy, versioned, updates)
    for formats, legacy, versioned in (
        ("legacy", True, False),
        ("versioned", False, True),
        ("both", True, True),
    )
    for updates in (True, False)
)


class Truth(NamedTuple):
    """What a right consumer of a cloud's notifications knows of a server at last."""

    state: State | None
    """None where no notification of this cloud tells the last change."""
    told: Counter[tuple[str, str]]
    """How often each (kind, phase) of an action was told."""
    changes: Counter[State]
    """How often each (old, new) vm_state was changed by what updates alone tell."""
    may_change: Counter[State]
    """The same where an action tells the change as well."""
    errors: int
    """How often it went into error."""


def truth(server: Server, cloud: Cloud) -> Truth:
    """Return what is to be known of ``server`` from what ``cloud`` sends."""
    sent = [told for told in server.told if cloud.sends(told)]
    states = [told.state for told in sent if told.state is not None]
    last = states[-1] if states else None
    end = (server.state, server.task)
    if cloud.updates and last != end:
        raise AssertionError(f"the model tells {last} where nova is {end}")
    return Truth(
        end if last == end else None,
        Counter((told.kind, told.phase) for told in sent if told.kind)
        + Counter(dict.fromkeys([("DELETE", "end")], len(_deletions_by_updates_alone(sent)))),
        Counter(told.change for told in sent if told.change),
        Counter(told.may_change for told in sent if told.may_change),
        _errors(states),
    )


def _deletions_by_updates_alone(sent: Iterable[Told]) -> set[str]:
    """Return the requests of which only an update tells that they deleted it."""
    told = list(sent)
    by_actions = {one.request for one in told if one.kind == "DELETE"}
    by_updates = {
        one.request for one in told if not one.kind and one.state and one.state[0] == "deleted"
    }
    return by_updates - by_actions


def _errors(states: list[State]) -> int:
    before = ["", *(state for state, _task in states)]
    return sum(old != "error" == new for old, (new, _task) in zip(before, states, strict=False))
