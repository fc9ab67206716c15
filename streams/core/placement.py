"""Which hosts of a partition are down, and which instances are where, before a batch is folded."""

from collections.abc import Collection
from typing import Protocol

from vimfed.model.records import HostState


def is_down(row: HostState) -> bool:
    """Return whether instances on a host are unavailable."""
    return row.forced_down or not row.is_up


class Placement(Protocol):
    """What a partition knows of hosts beside their rows: kept up to date with them."""

    def hosts_held(self, vim_id: str) -> int:
        """Return how many hosts of a cloud have rows."""

    def down(self, vim_id: str) -> Collection[str]:
        """Return the names of a cloud's hosts that are down."""

    def instances_on(self, vim_id: str, host: str) -> Collection[str]:
        """Return the ids of the instances that are on a host, or were and are deleted."""


class Nowhere:
    """The placement of a partition without hosts."""

    def hosts_held(self, vim_id: str) -> int:
        """Return none."""
        del vim_id
        return 0

    def down(self, vim_id: str) -> Collection[str]:
        """Return none."""
        del vim_id
        return ()

    def instances_on(self, vim_id: str, host: str) -> Collection[str]:
        """Return none."""
        del vim_id, host
        return ()
