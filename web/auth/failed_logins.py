"""How long an address must wait after it has failed to log in. Decides, and does nothing."""

import ipaddress
from typing import NamedTuple

from web.http.bounded_map import BoundedMap

FREE = 5
"""Failures that cost no wait."""
MAX_PAUSE = 30.0
"""Seconds to wait at most; doubled from one second with each further failure."""
FORGOTTEN_AFTER = 600.0
MAX_ADDRESSES = 10_000
"""Addresses that are remembered, those that failed last."""


class _Failures(NamedTuple):
    number: int
    last: float


class FailedLogins:
    """Remembers failures by address; times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures: BoundedMap[str, _Failures] = BoundedMap(MAX_ADDRESSES)

    def wait(self, address: str, now: float) -> float:
        """Return how many seconds an address must wait before its next attempt; 0: none."""
        failures = self._recent(_network(address), now)
        if failures is None or failures.number < FREE:
            return 0.0
        pause: float = min(MAX_PAUSE, 2.0 ** min(failures.number - FREE, 10))
        return max(0.0, failures.last + pause - now)

    def note(self, address: str, now: float) -> None:
        """Note a failure."""
        network = _network(address)
        before = self._recent(network, now)
        self._failures[network] = _Failures(before.number + 1 if before else 1, now)

    def _recent(self, network: str, now: float) -> _Failures | None:
        failures = self._failures.get(network)
        return None if failures is None or now - failures.last > FORGOTTEN_AFTER else failures


def _network(address: str) -> str:
    """Return what one client has to itself: an IPv4 address, or the first half of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
