"""By which name a server is asked: a page of any site can have its own name lead to our address."""

import ipaddress
from collections.abc import Sequence

from vimfed.settings import is_loopback


def is_address(name: str) -> bool:
    """Return whether it is an IP address, which is no site's name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(authority: str) -> str:
    """Return the name of ``name:port``, or the address."""
    name, _, port = authority.partition("/")[0].rpartition(":")
    return (name if name and port.isdecimal() else authority.partition("/")[0]).strip("[]").lower()


class AllowedHosts:
    """The names of ``web.allowed_hosts``, by which browsers reach a server through a proxy."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    def __contains__(self, authority: str) -> bool:
        """Return whether ``name:port`` is one of them; one without a port stands for every port."""
        whole = authority.lower()
        name, _, port = whole.rpartition(":")
        return whole in self._hosts or (port.isdecimal() and name in self._hosts)

    def is_own(self, authority: str) -> bool:
        """Return whether a server on loopback, without a name of its own, is asked so by no site.

        By a loopback name, by an address, or by one of the names.
        """
        name = host_name(authority)
        return is_loopback(name) or is_address(name) or authority in self
