"""Which addresses a client may connect to where somebody else says which host it is.

A name is checked by what it has led to, at the moment of the connection: it may lead elsewhere at
the next look-up (DNS rebinding).
"""

import errno
import socket
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from aiohttp import AddrInfoType

_NAT64 = ip_network("64:ff9b::/96")
"""RFC 6052: a gateway behind it connects to the IPv4 address in the last 32 bits."""


class ForbiddenAddressError(OSError):
    """A host is at an address to which nothing is to be sent."""


def real_address(text: str) -> IPv4Address | IPv6Address:
    """Return the address that is reached by ``text``, which may wrap an IPv4 address in IPv6.

    A zone (``%eth0``) is left out. Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    return wrapped or address


class PublicAddresses:
    """Lets connections through to public addresses, and to those of some networks."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """``allowed``: networks such as 10.1.0.0/16. Raises ValueError."""
        self._allowed: list[IPv4Network | IPv6Network] = [
            ip_network(each, strict=False) for each in allowed
        ]

    def check(self, text: str) -> None:
        """Raise ForbiddenAddressError where ``text`` is neither public nor allowed."""
        address = real_address(text)
        if any(address in network for network in self._allowed):
            return
        is_odd = address.is_multicast or address.is_reserved
        is_odd |= isinstance(address, IPv6Address) and address.is_site_local
        if is_odd or not address.is_global:
            raise ForbiddenAddressError(
                errno.EACCES,
                f"{address} is no public address: if it is meant, name its network in "
                "allowed_networks",
            )

    def socket(self, info: AddrInfoType) -> socket.socket:
        """Return a socket for an address that was found, as aiohttp's connector asks for one.

        Raises ForbiddenAddressError.
        """
        family, kind, protocol, _name, place = info
        self.check(str(place[0]))
        return socket.socket(family, kind, protocol)
