"""Who is one neighbour on the network: what one client can have to itself."""

import ipaddress
from collections.abc import Sequence


class Networks:
    """Addresses and networks, such as those of trusted proxies. Raises ValueError for others."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in texts]

    def __contains__(self, address: str) -> bool:
        """Return whether an address is in one of them; what is no address is in none."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def network_of(address: str) -> str:
    """Return the neighbour that an address is of: an IPv4 address, or a /48 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 48), strict=False))
    return str(parsed)
