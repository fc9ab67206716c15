"""What is told of an event loop that comes late."""

import asyncio
import time

from prometheus_client import CollectorRegistry

from streams.engine.loop_delays import EVERY, IDLE_EVERY, LoopDelays


async def test_a_pause_of_the_event_loop_is_told() -> None:
    registry = CollectorRegistry()
    watching = asyncio.create_task(LoopDelays(registry, "delays", "of a loop").watch())
    while not registry.get_sample_value("delays_count"):  # noqa: ASYNC110 - a timer is awaited
        await asyncio.sleep(EVERY)

    def longer_than_100_ms() -> float:
        count, short = (
            registry.get_sample_value("delays_count"),
            registry.get_sample_value("delays_bucket", {"le": "0.1"}),
        )
        assert count is not None
        assert short is not None
        return count - short

    before = longer_than_100_ms()
    time.sleep(0.1 + IDLE_EVERY + EVERY)  # noqa: ASYNC251 - the pause
    while longer_than_100_ms() == before:  # noqa: ASYNC110 - a timer is awaited
        await asyncio.sleep(EVERY)
    watching.cancel()
