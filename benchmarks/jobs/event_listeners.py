"""Many clients of one worker's live events, some of which never read: ``PORT CLIENTS SLOW``.

Prints a line once all are connected. After SIGTERM the slow ones read, too; then it prints one of
JSON with what all were sent.
"""

import asyncio
import json
import resource
import signal
import sys
from collections import Counter

REQUEST = b"GET /api/multicloud/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENTS = (b"event: vm_event", b"event: resync", b"event: cut")


class Listener(asyncio.Protocol):
    """Counts what it is sent, or reads nothing after the greeting."""

    def __init__(self, sent: Counter[bytes], *, slow: bool) -> None:
        self._sent = sent
        self._slow = slow
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the events."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        """Count events; one whose name lies across two reads is missed."""
        if not self.greeted.done():
            self.greeted.set_result(None)
            if self._slow:
                self._transport.pause_reading()
        self._sent[b"bytes"] += len(data)
        for event in EVENTS:
            self._sent[event] += data.count(event)

    def connection_lost(self, _error: Exception | None) -> None:
        """Count it."""
        self._sent[b"ended"] += 1


async def main(port: int, clients: int, slow: int) -> None:
    """Connect, wait for SIGTERM, and print what came."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    sent: Counter[bytes] = Counter()
    transports = []
    for number in range(clients):
        transport, listener = await loop.create_connection(
            lambda number=number: Listener(sent, slow=number < slow),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        await listener.greeted
        transports.append(transport)
    print("connected", flush=True)
    await stop.wait()
    for transport in transports[:slow]:
        transport.resume_reading()
    await asyncio.sleep(3)
    cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    told = {name.decode().removeprefix("event: "): count for name, count in sent.items()}
    print(json.dumps({**told, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(*map(int, sys.argv[1:])))
