"""TCP ports on loopback: free ones, and a clear word on those that are taken."""

import secrets
import socket

from vimfed.errors import OperatorError

LAST_PORT = 65535


class PortInUseError(OperatorError):
    """Something else listens on a port that we need; the text says which and how to mend it."""


def refuse_port_in_use(port: int, who: str, setting: str) -> None:
    """Raise PortInUseError if ``who`` could not listen on ``port``, which ``setting`` names."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that linger in TIME_WAIT are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUseError(
                f"{who} cannot listen on 127.0.0.1:{port} ({error.strerror}): end what listens "
                f"there (ss -ltnp 'sport = :{port}' names it), or set another {setting}"
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
