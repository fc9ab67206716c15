"""A TCP link that lets only so many bytes a second through, as a bad line to a far cloud does."""

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self


class SlowLink:
    """Forwards connections to a port, slowly in one direction.

    That is towards the client, or with ``upload`` towards the port.
    """

    def __init__(
        self, port: int, bytes_per_second: int, *, upload: bool = False, listen: int = 0
    ) -> None:
        self._target = port
        self._up = bytes_per_second if upload else None
        self._down = None if upload else bytes_per_second
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])
        self.port = listen
        """0 until it listens, unless it was told where."""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, far_writer, rate=self._up))
                both.create_task(_pump(far_reader, writer, rate=self._down))
        for each in (writer, far_writer):
            each.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int | None
) -> None:
    while content := await reader.read(4096):
        if rate is not None:
            await asyncio.sleep(len(content) / rate)
        writer.write(content)
        await writer.drain()
    writer.close()
