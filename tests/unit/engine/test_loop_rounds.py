"""What is told of an event loop's rounds."""

import asyncio

from prometheus_client import CollectorRegistry

from streams.engine.loop_rounds import LoopRounds


def test_a_round_is_counted_by_its_length() -> None:
    registry = CollectorRegistry()
    rounds = LoopRounds("rounds", "of a loop")
    registry.register(rounds)
    for seconds in (0.001, 0.05, 0.3, 20.0):
        rounds.took(seconds)

    def until(bound: str) -> float | None:
        return registry.get_sample_value("rounds_bucket", {"le": bound})

    bounds = ("0.005", "0.025", "0.05", "0.25", "0.5", "10.0", "+Inf")
    assert [until(bound) for bound in bounds] == [1, 1, 2, 2, 3, 3, 4]
    assert registry.get_sample_value("rounds_count") == 4
    assert registry.get_sample_value("rounds_sum") == 20.351


def test_a_loop_tells_of_each_round_that_ends() -> None:
    registry = CollectorRegistry()
    rounds = LoopRounds("rounds", "of a loop")
    registry.register(rounds)

    async def three_times() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=rounds.new_loop) as runner:
        runner.run(three_times())
    count = registry.get_sample_value("rounds_count")
    assert count is not None
    assert count >= 4
