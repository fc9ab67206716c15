"""How long a bridge gathers messages for a batch."""

import pytest

from bridge.rabbit.listener import interval_after


@pytest.mark.parametrize(
    ("took", "interval"),
    [
        (0.0, 0.01),
        (0.002, 0.01),  # a machine that does little else
        (0.01, 0.03),  # one that is busy: fewer and larger batches
        (0.1, 0.04),
        (60.0, 0.04),  # Kafka was away: the next batch begins at once
    ],
)
def test_the_longer_a_batch_takes_the_longer_the_next_one_gathers(
    took: float, interval: float
) -> None:
    assert interval_after(took, 0.01) == pytest.approx(interval)
