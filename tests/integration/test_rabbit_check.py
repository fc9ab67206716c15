"""What ``vimfed check`` says of a cloud's exchange and queue, with a real RabbitMQ."""

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest

from bridge.rabbit.bus import Bus, buses_of
from bridge.rabbit.check import look_at_bus
from tests.support.brokers import RabbitMQ
from tests.support.sections import rabbit_cloud, vim_of


class Cloud:
    """A cloud whose exchange and queue somebody else makes."""

    def __init__(self, rabbitmq: RabbitMQ, channel: amqp.Channel) -> None:
        self.name = f"t{uuid.uuid4().hex[:10]}"
        self.rabbitmq = rabbitmq
        self.channel = channel

    def exchange(self, *, durable: bool) -> None:
        self.channel.exchange_declare(self.name, "topic", durable=durable, auto_delete=False)

    def queue(self, *, durable: bool, **arguments: str) -> None:
        wanted = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.channel.queue_declare(self.name, durable=durable, auto_delete=False, arguments=wanted)

    def found(self, **settings: bool) -> list[tuple[bool, str]]:
        bus = bus_of(self.rabbitmq.url, self.name, **settings)
        findings = look_at_bus(bus)
        assert look_at_bus(bus) == findings, "it changes nothing"
        return [(finding.is_failure, finding.text) for finding in findings]


def bus_of(url: str, name: str, **settings: Any) -> Bus:
    """Return the only message bus of a cloud with these settings."""
    vim = vim_of(rabbit_cloud(url, exchange=name, pool=name, **settings))
    (bus,) = buses_of(vim).values()
    return bus


@pytest.fixture
def cloud(rabbitmq: RabbitMQ) -> Iterator[Cloud]:
    parts = urlsplit(rabbitmq.url)
    with amqp.Connection(host=f"{parts.hostname}:{parts.port}") as connection:
        yield Cloud(rabbitmq, connection.channel())


def test_of_a_cloud_that_is_as_the_settings_say_nothing_is_found(cloud: Cloud) -> None:
    cloud.exchange(durable=False)
    cloud.queue(durable=True)
    assert cloud.found() == []


def test_what_is_not_there_is_no_failure(cloud: Cloud) -> None:
    [(exchange_fails, exchange), (queue_fails, queue)] = cloud.found()
    assert not exchange_fails
    assert not queue_fails
    assert exchange.startswith(f"exchange {cloud.name} does not exist (yet): ")
    assert "rabbitmqctl list_exchanges" in exchange
    assert queue.startswith(f"queue {cloud.name} does not exist yet: the bridge makes it")


@pytest.mark.parametrize("durable", [True, False])
def test_an_exchange_of_the_other_kind_is_said(cloud: Cloud, *, durable: bool) -> None:
    cloud.exchange(durable=durable)
    cloud.queue(durable=True)
    [(fails, text)] = cloud.found(durable_exchange=not durable)
    assert not fails
    kind = "durable" if durable else "transient"
    assert text.startswith(
        f"exchange {cloud.name} is {kind}: set durable_exchange = {str(durable).lower()}, "
    )
    assert cloud.found(durable_exchange=durable) == []


def test_a_transient_queue_is_said_with_the_remedy(cloud: Cloud) -> None:
    cloud.exchange(durable=False)
    cloud.queue(durable=False)
    [(fails, text)] = cloud.found()
    assert not fails
    assert text.startswith(f"queue {cloud.name} is transient, although durable_queues is set")
    assert f"rabbitmqctl delete_queue {cloud.name}" in text
    assert cloud.found(durable_queues=False) == []


@pytest.mark.parametrize("durable", [True, False])
def test_a_queue_with_other_arguments_is_a_failure(cloud: Cloud, *, durable: bool) -> None:
    cloud.exchange(durable=False)
    cloud.queue(durable=durable, x_queue_type="classic")
    [(fails, text)] = cloud.found(quorum_queues=True)
    assert fails
    assert text.startswith(
        f"queue {cloud.name} has other arguments than the settings say: set quorum_queues as "
    )
    assert "inequivalent arg" in text


def test_without_the_right_to_compare_the_exchange_it_says_so(cloud: Cloud) -> None:
    cloud.exchange(durable=True)
    cloud.queue(durable=True)
    user = cloud.name
    cloud.rabbitmq.ctl("add_user", user, "secret")
    cloud.rabbitmq.ctl("set_permissions", user, f"^{user}-none$", ".*", ".*")
    url = cloud.rabbitmq.url.replace("guest:guest", f"{user}:secret")
    exchange, queue = look_at_bus(bus_of(url, cloud.name))
    assert exchange.text.startswith(f"exchange {cloud.name}: it cannot be told whether it is durab")
    assert queue.is_failure
    assert "needs configure, write and read on it" in queue.text
