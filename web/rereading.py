"""A worker that is told by SIGHUP of clouds that the settings name by now."""

import asyncio
import signal
from collections.abc import AsyncIterator

from aiohttp import web

from streams.worker.worker import StreamWorker
from vimfed.process.audit import Trail
from vimfed.process.hangup import Hangup, Reload, reread
from web.pushing import Pushing

READ = ("kafka", "dmaap", "filter", "worker", "alerts", "web", "log")
"""The sections of the settings that a worker reads, beside the clouds."""


class Rereading:
    """Reads the settings again at each SIGHUP."""

    def __init__(self, reload: Reload, hangup: Hangup) -> None:
        """``hangup`` knows whether one came before the worker heeded it."""
        self._reload = reload
        self._came_before = hangup
        self._hangup = asyncio.Event()

    def heed(
        self, worker: StreamWorker, pushing: Pushing, trail: Trail, app: web.Application
    ) -> None:
        """Let a worker learn of clouds for as long as its web server runs."""
        settings = worker.settings

        async def follow() -> None:
            now = settings
            while await self._hangup.wait():
                self._hangup.clear()
                now = reread(self._reload, now, READ, trail)
                worker.vim_ids = now.vim_ids
                pushing.heed(now)

        async def heeding(_app: web.Application) -> AsyncIterator[None]:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
            if self._came_before.came:
                self._hangup.set()
            task = asyncio.create_task(follow())
            yield
            task.cancel()

        app.cleanup_ctx.append(heeding)
