"""Fixtures that every kind of test shares."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings

from tests.support.brokers import RabbitMQ, new_kafka
from vimfed.local.kafka import LocalKafka

# For who only wants to know whether something fails.
settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.reuse, Phase.generate])


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
