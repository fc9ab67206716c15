"""A stop while somebody follows: from SIGTERM to the end of the process."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.stack import Stack
from tests.support.server_sent import event_stream
from vimfed.local.kafka import LocalKafka

pytestmark = pytest.mark.asyncio(loop_scope="package")

STOP_WITHIN = 3.0
"""Seconds from SIGTERM to the end."""
EVENTS = "/api/multicloud/v1/events"


async def test_open_streams_and_connections_do_not_hold_up_a_stop(
    tmp_path: Path, kafka: LocalKafka
) -> None:
    """A dashboard follows the events and keeps its connection; nobody reads the second stream."""
    async with Stack(tmp_path, kafka.bootstrap, []) as stack:
        worker = stack.start_worker()
        await stack.ready()
        url = f"http://127.0.0.1:{stack.ports['worker']}"
        async with (
            aiohttp.ClientSession() as session,
            event_stream(session, url + EVENTS) as dashboard,
            event_stream(session, url + EVENTS),
        ):
            async with session.get(url + "/readyz") as answer:
                await answer.read()
            began = time.monotonic()
            worker.terminate()
            with pytest.raises(EOFError):
                await dashboard.next()
            ended = await asyncio.to_thread(worker.wait, 30)
            took = time.monotonic() - began
    assert (ended, worker.returncode) == (True, 0)
    assert took < STOP_WITHIN
