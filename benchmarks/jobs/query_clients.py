"""Many clients of one worker that ask, each as soon as it has its answer: ``PORT CLIENTS``.

Prints a line once all have been answered and, after SIGTERM, one of JSON with how many answers of
which status there were since. Who is answered 503 waits as long as that says.
"""

import asyncio
import json
import signal
import sys
from collections import Counter

BODY = b'{"states": ["ACTIVE", "PAUSED"], "limit": 20}'
REQUEST = (
    b"POST /Benchmark_one/check_vim_status HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Ask once; return the status, and how many seconds to wait."""
    writer.write(REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()

    def number(name: bytes) -> int:
        return int(head.partition(name + b": ")[2].partition(b"\r")[0] or 0)

    await reader.readexactly(number(b"content-length"))
    return int(head.split(b" ", 2)[1]), number(b"retry-after")


async def client(port: int, answers: Counter[int], begun: asyncio.Barrier) -> None:
    """Ask for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await ask(reader, writer)
    await begun.wait()
    while True:
        status, wait = await ask(reader, writer)
        answers[status] += 1
        await asyncio.sleep(wait)


async def main(port: int, clients: int) -> None:
    """Ask until SIGTERM, and print what was answered."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    answers: Counter[int] = Counter()
    begun = asyncio.Barrier(clients + 1)
    tasks = [asyncio.create_task(client(port, answers, begun)) for _ in range(clients)]
    await begun.wait()
    print("connected", flush=True)
    await stop.wait()
    for task in tasks:
        task.cancel()
    print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
