"""Who must wait after failed logins. Decides, and does nothing.

What cannot be guessed (a token) is looked at whatever has failed before: only the failures of an
address that has failed too often wait. What can be guessed (a password) is not even looked at while
who guesses must wait: an answer would be what a guesser wants.
"""

import hashlib
from typing import NamedTuple

from vimfed.process.neighbours import network_of
from web.http.bounded_map import BoundedMap

FREE = 5
"""Failures that cost no wait: of an address, or of an address at one account."""
FREE_IN_ALL = 30
"""Failures after which further guesses wait, too: of an address at all accounts, of all addresses
at one account. A few people mistype behind one address, and guessers have more than one."""
MAX_PAUSE = 30.0
"""Seconds to wait at most; doubled from one second with each further failure."""
FORGOTTEN_AFTER = 600.0
MAX_ADDRESSES = 10_000
"""Addresses, accounts, and pairs of them that are remembered, those that failed last."""


class _Failures(NamedTuple):
    number: int
    last: float


class _Key(NamedTuple):
    network: str
    """Empty: all of them."""
    account: bytes
    """Empty: all of them. A digest, since strangers choose the names."""


class FailedLogins:
    """Remembers failures by address and by account; times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures: BoundedMap[_Key, _Failures] = BoundedMap(MAX_ADDRESSES)

    def wait(self, address: str, now: float) -> float:
        """Return how many seconds the next failure of an address must wait; 0: none."""
        return self._wait(_Key(network_of(address), b""), FREE, now)

    def wait_to_guess(self, address: str, account: str, now: float) -> float:
        """Return how many seconds an address must wait before it may guess at an account."""
        network, name = network_of(address), _digest(account)
        return max(
            self._wait(_Key(network, name), FREE, now),
            self._wait(_Key(network, b""), FREE_IN_ALL, now),
            self._wait(_Key("", name), FREE_IN_ALL, now),
        )

    def note(self, address: str, now: float, account: str = "") -> None:
        """Note a failure, also of the account that was tried."""
        network = network_of(address)
        keys = [_Key(network, b"")]
        if account:
            keys += [_Key(network, _digest(account)), _Key("", _digest(account))]
        for key in keys:
            before = self._recent(key, now)
            self._failures[key] = _Failures(before.number + 1 if before else 1, now)

    def _wait(self, key: _Key, free: int, now: float) -> float:
        failures = self._recent(key, now)
        if failures is None or failures.number < free:
            return 0.0
        pause: float = min(MAX_PAUSE, 2.0 ** min(failures.number - free, 10))
        return max(0.0, failures.last + pause - now)

    def _recent(self, key: _Key, now: float) -> _Failures | None:
        failures = self._failures.get(key)
        return None if failures is None or now - failures.last > FORGOTTEN_AFTER else failures


def _digest(account: str) -> bytes:
    return hashlib.sha256(account.encode(errors="surrogateescape")).digest()
