"""Who is one neighbour on the network: what one client can have to itself."""

import ipaddress


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
