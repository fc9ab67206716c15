"""A process that is told to end does so as soon as nothing of it is left."""

import asyncio
from typing import Any, cast

import pytest

from streams.engine import apps


async def closes() -> None:
    await apps._Worker._sentinel_task(cast(Any, None))


async def test_where_nothing_is_left_no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_a_timer(*_arguments: Any, **_options: Any) -> None:
        pytest.fail("it waits for a time")

    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", set_a_timer)
    await closes()


async def test_what_was_cancelled_is_let_end() -> None:
    ended = []

    async def task() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            ended.append(True)

    running = asyncio.create_task(task())
    await asyncio.sleep(0)
    running.cancel()
    await closes()
    assert ended == [True]
    assert running.cancelled()
