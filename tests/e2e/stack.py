"""The job's real processes against the shared brokers, with topics and ports of their own."""

import asyncio
import contextlib
import io
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

from tests.support.described import Described
from tests.support.sections import table_lines
from vimfed.kafka.topics import TopicNames
from vimfed.local.child import Child
from vimfed.process.ports import free_ports

T = TypeVar("T")

MAX_LOG_LINES, MAX_LOG_LINE = 25, 400
"""Lines of a process's log that a failure shows, and characters of each."""


async def eventually(
    condition: Callable[[], Awaitable[T]], *, within: float, every: float = 0.1
) -> T:
    """Return what ``condition`` returns as soon as that is true; its last word in the failure."""
    deadline = time.monotonic() + within
    while True:
        result = await condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within} s; the last answer was {result!r}"
        await asyncio.sleep(every)


class Stack:
    """Bridge, workers and publisher as children; ``async with`` ends what was started.

    ``clouds`` are tables of ``[[vims]]``; ``sections`` further lines of the settings file.
    """

    def __init__(
        self, folder: Path, bootstrap: str, clouds: Sequence[Mapping[str, Any]], sections: str = ""
    ) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.names = TopicNames(self.prefix)
        self.dmaap_topic = f"{self.prefix}.dmaap"
        self.children: dict[str, Child] = {}
        self.ports: dict[str, int] = {}
        self.environment: dict[str, str] = {}
        """Variables of the processes that are started from now on, beside our own."""
        self._workers: set[str] = set()
        self._described: Described | None = None
        config = folder / "vimfed.toml"
        config.write_text(self._settings(clouds, sections))
        self._vimfed = [sys.executable, "-m", "vimfed", "--config", str(config)]

    def _settings(self, clouds: Sequence[Mapping[str, Any]], sections: str) -> str:
        self.ports["bridge"], self.ports["publisher"] = free_ports(2)
        lines = [
            f'state_dir = "{self.folder / "state"}"',
            "[kafka]",
            f'bootstrap = "{self.bootstrap}"',
            f'topic_prefix = "{self.prefix}"',
            "[dmaap]",
            f"port = {self.ports['publisher']}",
            "[[dmaap.outputs]]",
            f'url = "kafka://{self.bootstrap}/{self.dmaap_topic}"',
            "[bridge]",
            f"port = {self.ports['bridge']}",
            "heartbeat_interval = 0",
            "[worker]",
            "session_timeout = 6",
            sections,
        ]
        for cloud in clouds:
            lines.extend(table_lines("[[vims]]", cloud))
        return "\n".join(lines) + "\n"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        if kind is not None:
            await self._describe_failure()
        await self._session.close()
        for child in self.children.values():  # each takes a second or two for it
            child.terminate()
        for child in self.children.values():
            child.stop()

    async def _describe_failure(self) -> None:
        """Print how the workers are, and the last lines of each process's log."""
        for worker in sorted(self._workers):
            for path in ("/readyz", "/api/multicloud/v1/workers"):
                with contextlib.suppress(TimeoutError, AssertionError, aiohttp.ClientError):
                    async with asyncio.timeout(5):
                        print(worker, path, await self.get(path, worker))
        for name, child in self.children.items():
            print(f"{name}: {'runs' if child.running else f'ended with {child.returncode}'}")
            log = self.folder / f"{name}.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            print("\n".join(line[:MAX_LOG_LINE] for line in lines[-MAX_LOG_LINES:]))

    def start(self, name: str, command: str = "", *options: str) -> Child:
        """Start ``vimfed <command>`` as ``name`` (by default the same), or start it again."""
        child = self.children.get(name)
        if child is None:
            child = self.children[name] = Child(
                [*self._vimfed, command or name, *options],
                env={**os.environ, **self.environment},
                log=self.folder / f"{name}.log",
            )
        child.spawn()
        return child

    def start_worker(self, name: str = "worker") -> Child:
        """Start a worker at a port of its own, the same one every time."""
        if name not in self.ports:
            (self.ports[name],) = free_ports(1)
        self._workers.add(name)
        return self.start(name, "worker", "--port", str(self.ports[name]))

    async def get(self, path: str, worker: str = "worker", **headers: str) -> tuple[int, Any]:
        """Return status and JSON of a GET, or (0, the error) where nobody answers."""
        return await self._ask("GET", path, worker, None, **headers)

    async def post(
        self, path: str, body: bytes | object, worker: str = "worker", **headers: str
    ) -> tuple[int, Any]:
        """Return status and JSON of a POST of bytes, or of JSON."""
        return await self._ask("POST", path, worker, body, **headers)

    async def text(self, path: str, worker: str = "worker", **headers: str) -> str:
        """Return the text of a GET that succeeds."""
        url = f"http://127.0.0.1:{self.ports[worker]}{path}"
        async with self._session.get(url, headers=headers, raise_for_status=True) as response:
            return await response.text()

    async def put(self, path: str, body: object, worker: str = "worker") -> tuple[int, Any]:
        """Return status and JSON of a PUT of JSON."""
        return await self._ask("PUT", path, worker, body)

    async def delete(self, path: str, worker: str = "worker") -> tuple[int, Any]:
        """Return status and JSON of a DELETE."""
        return await self._ask("DELETE", path, worker, None)

    async def _ask(
        self, method: str, path: str, worker: str, body: Any, **headers: str
    ) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.ports[worker]}{path}"
        content: dict[str, Any]
        content = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        try:
            async with self._session.request(method, url, headers=headers, **content) as response:
                answer = await response.json()
            if worker in self._workers:
                described = self._described or await self._describe(worker)
                request = None if isinstance(body, bytes) else body
                if described is not None:
                    described.check(
                        method, path, request, response.status, response.content_type, answer
                    )
        except aiohttp.ClientConnectionError as error:
            return 0, repr(error)
        return response.status, answer

    async def _describe(self, worker: str) -> Described | None:
        """Return the API as the workers describe it: whatever they answer is held against it.

        None where this one still waits for Kafka.
        """
        url = f"http://127.0.0.1:{self.ports[worker]}/openapi.json"
        async with self._session.get(url) as response:
            if response.status == 503:
                return None
            response.raise_for_status()
            self._described = Described(await response.json())
        return self._described

    async def ready(self, worker: str = "worker", within: float = 60) -> None:
        """Wait until a worker answers queries."""

        async def is_ready() -> bool:
            assert self.children[worker].running, self.children[worker].last_log_line()
            return (await self.get("/readyz", worker))[0] == 200

        await eventually(is_ready, within=within)

    async def serving(self, *workers: str, within: float = 60) -> None:
        """Wait until these workers, and no others, own the table, and each of them answers."""
        urls = {f"http://127.0.0.1:{self.ports[worker]}" for worker in workers}

        async def each_knows() -> bool:
            answers = [await self.get("/readyz", worker) for worker in workers]
            return all(
                status == 200 and answer["owners"].keys() == urls for status, answer in answers
            )

        await eventually(each_knows, within=within)

    async def bridge_connected(self, within: float = 30) -> None:
        """Wait until the bridge listens to all of its clouds."""

        async def is_connected() -> bool:
            assert self.children["bridge"].running, self.children["bridge"].last_log_line()
            return (await self.get("/readyz", "bridge"))[0] == 200

        await eventually(is_connected, within=within)
