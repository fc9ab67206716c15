"""Lives of servers, told as nova tells them, for property tests.

A life is a sequence of operations drawn from nova's state machine. Each tells its messages in both
formats, the versioned one shortly after the legacy one. What is told follows nova 34's source
(nova/compute/api.py, compute/manager.py, conductor/manager.py) and the recorded runs (tests/data)
operation by operation: stale copies, hosts that change, failures and late errors included.
"""

from tests.simulated_nova.building import BIRTHS, create
from tests.simulated_nova.lives import (
    OPERATIONS,
    PLAIN,
    all_told,
    life_of,
    live,
    lives,
    plain_lives,
)
from tests.simulated_nova.power import lock, over_one_task, reset_state, set_metadata
from tests.simulated_nova.server import Server, Told
from tests.simulated_nova.truth import CLOUDS, Cloud, Truth, truth

__all__ = [
    "BIRTHS",
    "CLOUDS",
    "OPERATIONS",
    "PLAIN",
    "Cloud",
    "Server",
    "Told",
    "Truth",
    "all_told",
    "create",
    "life_of",
    "live",
    "lives",
    "lock",
    "over_one_task",
    "plain_lives",
    "reset_state",
    "set_metadata",
    "truth",
]
