"""What of a cloud's exchange and queue in RabbitMQ is not as the bridge needs it."""

from typing import NamedTuple

from oslo_messaging._drivers.common import PURPOSE_LISTEN

from bridge.rabbit.bus import Bus
from bridge.rabbit.listener import transport_of
from bridge.rabbit.queue import (
    Found,
    find_exchange,
    find_queue,
    mismatch,
    queue_arguments,
    refuses_transient,
    transient_refusal,
)
from vimfed.settings import RabbitSettings


class Finding(NamedTuple):
    """One line for the operator: what is not as it should be, and how to mend it."""

    text: str
    is_failure: bool = False
    """Whether the bridge cannot work so; else it is a warning."""


def look_at_bus(bus: Bus) -> list[Finding]:
    """Connect to a message bus and look at its exchange and at our queue; changes neither.

    Raises MessagingException, KombuError, AMQPError or OSError where that cannot be done.
    """
    transport = transport_of(bus)
    # The driver's own connections will not do: those for listening are tried for ever, and of the
    # others a thread reads the heartbeats, and our answers with them.
    connection = None
    try:
        connection = transport._driver._connection_pool.create(PURPOSE_LISTEN, retry=1)
        channel = connection.connection.channel()
        exchange = find_exchange(channel, bus.settings.exchange)
        queue = find_queue(channel, bus.settings.pool, queue_arguments(connection))
        wants_durable = bool(connection.durable)
        findings = [
            *exchange_findings(bus.settings, exchange),
            *queue_findings(bus.settings, queue, wants_durable=wants_durable),
        ]
        if not (queue.exists or wants_durable) and refuses_transient(channel):
            findings.append(Finding(transient_refusal(bus.settings), is_failure=True))
        return findings
    finally:
        if connection is not None:
            connection.close()
        transport.cleanup()


def exchange_findings(rabbit: RabbitSettings, found: Found) -> list[Finding]:
    """Return what an operator has to know of the exchange."""
    name = rabbit.exchange
    if not found.exists:
        kind = "durable" if rabbit.durable_exchange else "transient"
        return [
            Finding(
                f"exchange {name} does not exist (yet): is `exchange` {rabbit.sender}'s "
                f"control_exchange? `rabbitmqctl list_exchanges` shows all. The bridge makes a "
                f"{kind} one: durable_exchange has to be as {rabbit.sender}'s amqp_durable_queues "
                "or rabbit_quorum_queue"
            )
        ]
    if found.durable is None:
        return [
            Finding(
                f"exchange {name}: it cannot be told whether it is durable "
                f"({found.refused or found.inequivalent})"
            )
        ]
    if found.durable != rabbit.durable_exchange:
        kind, value = ("durable", "true") if found.durable else ("transient", "false")
        return [
            Finding(
                f"exchange {name} is {kind}: set durable_exchange = {value}, so that it is made "
                "like that again where it is missing"
            )
        ]
    return []


def queue_findings(rabbit: RabbitSettings, found: Found, *, wants_durable: bool) -> list[Finding]:
    """Return what an operator has to know of our queue."""
    name = rabbit.pool
    if not found.exists:
        return [
            Finding(
                f"queue {name} does not exist yet: the bridge makes it at its first start, and "
                f"hears what {rabbit.sender} sends from then on"
            )
        ]
    if found.refused:
        return [
            Finding(
                f"queue {name} cannot be declared: the user needs configure, write and read on it "
                f"({found.refused})",
                is_failure=True,
            )
        ]
    if found.durable is None:
        return [
            Finding(
                f"queue {name} has other arguments than the settings say: set quorum_queues as the "
                f"queue is, or stop the bridge and `rabbitmqctl delete_queue {name}` once it is "
                f"empty ({found.inequivalent})",
                is_failure=True,
            )
        ]
    if found.durable != wants_durable:
        return [Finding(mismatch(rabbit, is_durable=found.durable))]
    return []
