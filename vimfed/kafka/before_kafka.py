"""The time before a process has Kafka: it waits, answers probes, and ends at once."""

import asyncio
import contextlib
import logging
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from aiohttp import web

from vimfed.errors import OperatorError
from vimfed.kafka.aio import KafkaError
from vimfed.process.backoff import Backoff
from vimfed.process.connections import problem
from vimfed.process.metrics import MonitoringServer, new_registry
from vimfed.process.new_life import NO_PAUSE, Pause

LOG = logging.getLogger(__name__)

KAFKA_AWAY = (KafkaError, ConnectionError, TimeoutError)
"""What an attempt raises that Kafka does not answer; what it refuses is an OperatorError."""
FIRST_PATIENCE = 3.0
"""Seconds that Kafka has before the process answers probes without it."""
TELL_EVERY = 300.0
"""Seconds between two lines of the log that say so."""
RETRY_AFTER = 2
"""Seconds after which a client of the API is told to ask again."""

T = TypeVar("T")


class Port(msgspec.Struct, frozen=True):
    """Where a process answers probes; ``setting`` names what says so."""

    host: str
    number: int
    setting: str
    tls: ssl.SSLContext | None = None


class Probes(NamedTuple):
    """Where a process answers probes, and by which names it is asked on loopback."""

    ports: Sequence[Port]
    allowed_hosts: Sequence[str]


class StoppedError(Exception):
    """A signal has ended the wait."""


async def once_there(
    attempt: Callable[[], Awaitable[T]], probes: Probes, pause: Pause = NO_PAUSE
) -> T:
    """Return what ``attempt`` returns, once it does not raise that Kafka is away.

    The first one is made after ``pause``. Meanwhile /healthz answers 200 where ``probes`` says,
    everything else 503 with the reason. Raises StoppedError at SIGTERM and SIGINT, OperatorError
    where a port cannot be had, and whatever else the attempt raises.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    wrong = {"kafka": "has not answered yet"}
    attempts = asyncio.create_task(_attempts(attempt, wrong, pause))
    stopped = asyncio.create_task(stop.wait())
    try:
        await _first({attempts, stopped}, FIRST_PATIENCE)
        if not attempts.done() and not stopped.done():
            async with _probed(probes, wrong):
                await _first({attempts, stopped}, None)
        if not attempts.done():
            raise StoppedError
        return attempts.result()
    finally:
        for task in (attempts, stopped):
            task.cancel()
        await asyncio.wait([attempts, stopped], timeout=1.0)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _first(tasks: set[asyncio.Task[T] | asyncio.Task[bool]], patience: float | None) -> None:
    await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)


async def _attempts(attempt: Callable[[], Awaitable[T]], wrong: dict[str, str], pause: Pause) -> T:
    """Try until it succeeds; note why it does not in ``wrong``."""
    if pause.seconds:
        wrong["kafka"] = f"answered, and failed this process, {pause.failures} times in a row"
        LOG.warning("Kafka %s: trying again in %.0f s", wrong["kafka"], pause.seconds)
        await asyncio.sleep(pause.seconds)
    begun, told = time.monotonic(), -TELL_EVERY
    backoff = Backoff(0.5, 5.0)
    while True:
        try:
            result = await attempt()
        except KAFKA_AWAY as error:
            reason = " ".join(str(error).split()) or repr(error)
            wrong["kafka"] = reason
            if time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                waited = f" for {told - begun:.0f} s" if told - begun > TELL_EVERY else ""
                LOG.warning("waiting for Kafka%s: %s; is kafka.bootstrap right?", waited, reason)
            await asyncio.sleep(backoff.pause())
        else:
            if told > 0:
                LOG.info("Kafka is there, after %.0f s", time.monotonic() - begun)
            return result


@contextlib.asynccontextmanager
async def _probed(probes: Probes, wrong: dict[str, str]) -> AsyncIterator[None]:
    """Answer probes at all ports while the context is open."""

    async def not_yet(_request: web.Request) -> web.StreamResponse:
        text = f"not ready yet: kafka {wrong['kafka']}"
        return problem(text, 503, **{"Retry-After": str(RETRY_AFTER)})

    async with contextlib.AsyncExitStack() as stack:
        for port in probes.ports:
            server = MonitoringServer(
                new_registry(),
                live=dict,
                ready=lambda: wrong,
                allowed_hosts=probes.allowed_hosts,
                otherwise=not_yet,
            )
            stack.push_async_callback(server.close)
            try:
                await server.start(port.host, port.number, port.tls)
            except OSError as error:
                raise OperatorError(
                    f"cannot listen on {port.host}:{port.number}: {error.strerror}; choose another "
                    f"{port.setting}"
                ) from None
        yield
