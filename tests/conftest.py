"""Fixtures that every kind of test shares."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, settings
from xdist.scheduler import LoadFileScheduling

from tests.support.brokers import RabbitMQ, new_kafka
from vimfed.local.kafka import LocalKafka

# For who only wants to know whether something fails.
settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.reuse, Phase.generate])


class InLanes(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Keeps the tests of a file together, and those that break things in one lane.

    Tests of chaos take all the power of a small machine: two of them at a time would measure each
    other. Marks of xdist's own cannot say so: xdist 3.8 does not put them into the ids of pytest
    9.2, and then shares single tests out.
    """

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        return "tests/chaos" if path.startswith("tests/chaos/") else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InLanes:
    """Share the tests between two processes (Makefile) in lanes."""
    return InLanes(config, log)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A Kafka that all tests of the session share: use topic names of your own."""
    with new_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ that all tests of the session share: use exchanges and pools of your own."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker
