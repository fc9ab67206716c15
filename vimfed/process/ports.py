"""TCP ports: free ones on loopback, and a clear word on those that are taken."""

import errno
import secrets
import socket

from vimfed.errors import OperatorError
from vimfed.settings import GatewaySettings, WebSettings

LAST_PORT = 65535


class PortInUseError(OperatorError):
    """We cannot listen where we should; the text says where, why and how to mend it."""


def refuse_port_in_use(port: int, who: str, setting: str, host: str = "127.0.0.1") -> None:
    """Raise PortInUseError if ``who`` could not listen on ``port``, which ``setting`` names."""
    try:
        for family, kind, _protocol, _name, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            with socket.socket(family, kind) as probe:
                # As servers do: connections of an earlier run that linger in TIME_WAIT are no
                # hindrance.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        cure = f"set another {setting}"
        if error.errno == errno.EADDRINUSE:
            cure = f"end what listens there (ss -ltnp 'sport = :{port}' names it), or {cure}"
        raise PortInUseError(
            f"{who} cannot listen on {host}:{port} ({error.strerror}): {cure}"
        ) from None


def free_ports(count: int) -> list[int]:
    """Return distinct ports on which nothing listens now.

    They lie below those that systems hand out to clients' ends of connections: such a one could be
    taken before a server listens.
    """
    probes: list[socket.socket] = []
    try:
        while len(probes) < count:
            probe = socket.socket()
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probes.append(probe)
            while True:
                try:
                    probe.bind(("127.0.0.1", 10_000 + secrets.randbelow(22_000)))
                    break
                except OSError:
                    continue
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def own_url(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL under which this machine reaches what listens on ``host`` and ``port``."""
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    return f"{scheme}://{'127.0.0.1' if everywhere else host}:{port}"


def monitoring_url(server: WebSettings | GatewaySettings, number: int = 0) -> str:
    """Return the URL of /healthz, /readyz and /metrics of a worker, or of the gateway.

    ``number`` is that of the worker among those of ``vimfed run``, from 0.
    """
    if server.monitoring_port:
        return own_url(server.host, server.monitoring_port + number)
    return own_url(server.host, server.port + number, server.scheme)
