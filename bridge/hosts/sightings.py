"""What follows from one list of a cloud's compute services after the other.

nova calls a service up as long as its last word in the database is younger than
``service_down_time``, so a late write or a slow database makes it blink: that a service went down,
or came up, counts when two consecutive answers say so. What somebody has ordered (disabled, forced
down) counts at once, and so does the state with which a forced down service comes back.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from bridge.poller.nova_api import ComputeService
from vimfed.nova.host_report import MAX_REASON, HostReport, is_host_name


class _Told(NamedTuple):
    """What has been told of a host."""

    is_up: bool | None = None
    """None: it was not seen up, or down, twice yet."""
    forced_down: bool | None = False
    """None: a nova before microversion 2.11 does not say."""
    disabled: bool = False
    disabled_reason: str = ""
    is_known: bool = True


_UNDISTURBED = _Told()


class Sightings:
    """One cloud's compute services, over all answers since the start."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._seen_up: dict[str, bool] = {}
        """What the last answer said of each host."""
        self._known: set[str] = set()
        """Hosts that others have told, as long as no answer lists them."""
        self._missing: set[str] = set()
        """Hosts that the last answer lacked."""
        self.unreadable: set[str] = set()
        """Names of services that no host can have."""
        self.unknown: set[str] = set()
        """Hosts whose cell did not answer."""

    def count(self) -> dict[str, int]:
        """Return how many hosts are up, down (or forced down), and unknown (see ``unknown``)."""
        found = {"up": 0, "down": 0, "unknown": len(self.unknown)}
        for host, told in self._told.items():
            if host not in self.unknown and told.is_up is not None:
                found["up" if told.is_up and not told.forced_down else "down"] += 1
        return found

    def know(self, hosts: Iterable[str]) -> None:
        """Take note of hosts that the table has: one that is not listed is gone."""
        self._known |= set(hosts) - self._told.keys()

    def heed(
        self,
        services: Sequence[ComputeService],
        *,
        is_whole: bool,
        repeat: bool,
        again: Collection[str] = (),
    ) -> list[HostReport]:
        """Return what is to be told after this answer.

        ``repeat``: of all hosts, changed or not; ``again``: of these, too. ``is_whole``: no service
        is left out, whatever cell does not answer.
        """
        reports = []
        listed = _by_host(services)
        self.unreadable = {host for host in listed if not is_host_name(host)}
        self.unknown = set()
        for host, service in listed.items():
            if host in self.unreadable:
                continue
            before = self._told.get(host, _UNDISTURBED)
            now = self._look(service, before)
            if repeat or now != before or host in again:
                reports.append(self._report(host, now))
            self._told[host] = now
        return reports + self._gone(listed.keys(), is_whole=is_whole and bool(listed))

    def _look(self, service: ComputeService, before: _Told) -> _Told:
        if service.state not in ("up", "down"):
            self.unknown.add(service.host)
            self._seen_up.pop(service.host, None)
            return before._replace(is_known=False)
        return _Told(
            self._is_up(service, before),
            service.forced_down,
            service.status == "disabled",
            (service.disabled_reason or "")[:MAX_REASON],
        )

    def _is_up(self, service: ComputeService, before: _Told) -> bool | None:
        if service.forced_down:  # then nova calls it down, alive or not
            self._seen_up.pop(service.host, None)
            return before.is_up
        is_up = service.state == "up"
        is_sure = before.forced_down or self._seen_up.get(service.host) == is_up
        self._seen_up[service.host] = is_up
        return is_up if is_sure else before.is_up

    def _report(self, host: str, now: _Told) -> HostReport:
        """Return a report that says of up or down only what was seen just now."""
        if not now.is_known:
            return HostReport(host=host, is_known=False)
        is_up = now.is_up if self._seen_up.get(host) == now.is_up else None
        return HostReport(
            host=host,
            is_up=is_up,
            forced_down=now.forced_down,
            disabled=now.disabled,
            disabled_reason=now.disabled_reason,
            is_known=True,
        )

    def _gone(self, listed: Iterable[str], *, is_whole: bool) -> list[HostReport]:
        """Return the reports of hosts that two whole answers lack.

        An answer without any host is none of a cloud that has had some.
        """
        self._known -= set(listed)
        missing = (self._told.keys() | self._known) - set(listed) if is_whole else set()
        gone = missing & self._missing
        self._missing = missing - gone
        self._known -= gone
        for host in gone:
            self._told.pop(host, None)
            self._seen_up.pop(host, None)
        return [HostReport(host=host, is_gone=True) for host in sorted(gone)]


def _by_host(services: Sequence[ComputeService]) -> dict[str, ComputeService]:
    """Return the services by host; of several with one name the liveliest."""
    ranks = {"up": 2, "down": 1}
    return {each.host: each for each in sorted(services, key=lambda one: ranks.get(one.state, 0))}
