"""Fixtures that every kind of test shares."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings

from tests.support.brokers import RabbitMQ, new_kafka
from tests.support.paths import PROJECT
from vimfed.local.kafka import LocalKafka

# For who only wants to know whether something fails.
settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, and those that break things in one line.

    Two processes share the groups (Makefile). Tests of chaos take all the power of a small machine:
    two of them at a time would measure each other.
    """
    for item in items:
        folder = item.path.relative_to(PROJECT / "tests").parts[0]
        group = folder if folder == "chaos" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


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
