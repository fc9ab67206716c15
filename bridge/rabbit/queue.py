"""The exchange that nova made, and the queue that is ours, as RabbitMQ has them.

oslo.messaging declares both alike, durable or not. Where nova's exchange is transient it falls
back to a transient queue, without a word, and what waits in that is gone when RabbitMQ restarts.
Here the exchange is taken as it is, and the queue is declared as the settings say.
"""

import logging
from typing import Any, NamedTuple

from amqp import AccessRefused, AMQPError, NotFound, PreconditionFailed
from oslo_messaging._drivers import impl_rabbit

from bridge.rabbit.bus import Bus
from vimfed.settings import RabbitSettings

LOG = logging.getLogger(__name__)

_TRANSIENT_QUEUES = "transient_nonexcl_queues"
"""RabbitMQ's name of the feature: queues that are neither durable nor exclusive."""


class TransientRefusedError(Exception):
    """RabbitMQ refuses our queue as transient; the text says how to mend that."""


class Found(NamedTuple):
    """What of an exchange or queue is there."""

    exists: bool
    durable: bool | None = None
    """None: it could not be told."""
    inequivalent: str = ""
    """What RabbitMQ says of one that has other properties than ours would."""
    refused: str = ""
    """What it says where we may not ask."""


def queue_arguments(connection: Any) -> dict[str, Any]:
    """Return the arguments with which oslo's ``connection`` declares a queue."""
    arguments: dict[str, Any] = impl_rabbit._get_queue_arguments(
        connection.rabbit_ha_queues,
        0,
        connection.rabbit_quorum_queue,
        connection.rabbit_quorum_queue_config,
        rabbit_stream_fanout=False,
    )
    return arguments


def exchange_exists(channel: Any, name: str) -> bool:
    """Return whether an exchange is there; asks for no right. Raises AMQPError and OSError."""
    try:
        channel.exchange_declare(name, "topic", passive=True)
    except NotFound:
        return False
    return True


def find_exchange(channel: Any, name: str) -> Found:
    """Look for an exchange; changes nothing. Raises AMQPError and OSError."""
    if not exchange_exists(channel, name):
        return Found(exists=False)
    try:
        # It is there, so the same declaration only compares.
        channel.exchange_declare(name, "topic", durable=True, auto_delete=False)
    except PreconditionFailed as error:
        is_durable = None if "'durable'" not in str(error) else False
        return Found(True, is_durable, str(error))
    except AccessRefused as error:
        return Found(True, refused=str(error))
    return Found(True, True)


def find_queue(channel: Any, name: str, arguments: dict[str, Any]) -> Found:
    """Look for a queue; changes nothing. Raises AMQPError and OSError."""
    try:
        channel.queue_declare(name, passive=True)
    except NotFound:
        return Found(exists=False)
    for durable in (True, False):
        try:
            channel.queue_declare(name, durable=durable, auto_delete=False, arguments=arguments)
        except AccessRefused as error:
            return Found(True, refused=str(error))
        except PreconditionFailed as error:
            inequivalent = str(error)
            if "'durable'" not in inequivalent:
                break
        else:
            return Found(True, durable)
    return Found(True, None, inequivalent)


def declared(channel: Any, connection: Any, bus: Bus) -> bool:
    """Declare what is missing; return whether our queue is durable.

    ``connection`` is oslo's, for the arguments. Raises TransientRefusedError, AMQPError and
    OSError.
    """
    rabbit = bus.settings
    if not exchange_exists(channel, rabbit.exchange):
        durable = rabbit.durable_exchange
        channel.exchange_declare(rabbit.exchange, "topic", durable=durable, auto_delete=False)
        kind = "durable" if durable else "transient"
        LOG.info(
            "cloud %s: made the %s exchange %s before %s",
            bus.vim_id,
            kind,
            rabbit.exchange,
            rabbit.sender,
        )
    arguments = queue_arguments(connection)
    wanted = bool(connection.durable)
    found = find_queue(channel, rabbit.pool, arguments)
    if not found.exists:
        try:
            channel.queue_declare(
                rabbit.pool, durable=wanted, auto_delete=False, arguments=arguments
            )
        except AMQPError as error:
            if is_transient_refused(error):
                raise TransientRefusedError(transient_refusal(rabbit)) from error
            raise
    if found.durable is None:
        return wanted  # what else is wrong with it, the consumers' declaration says
    if found.durable != wanted:
        LOG.warning("cloud %s: %s", bus.vim_id, mismatch(rabbit, is_durable=found.durable))
    return found.durable


def refuses_transient(channel: Any) -> bool:
    """Return whether RabbitMQ refuses a transient queue: one without a name of ours, gone at once.

    False where the user may not make one. After a refusal the connection is closed. Raises
    AMQPError and OSError.
    """
    try:
        made = channel.queue_declare("", durable=False, exclusive=False, auto_delete=True)
        channel.queue_delete(made.queue)
    except AccessRefused:
        return False
    except AMQPError as error:
        if is_transient_refused(error):
            return True
        raise
    return False


def is_transient_refused(error: Exception) -> bool:
    """Return whether RabbitMQ says (AMQP 541) that it has no transient queues."""
    return _TRANSIENT_QUEUES in str(error)


def transient_refusal(rabbit: RabbitSettings) -> str:
    """Return the words for a RabbitMQ that refuses our queue as transient, and the remedy."""
    return (
        f"RabbitMQ refuses transient queues (541, {_TRANSIENT_QUEUES}), and queue {rabbit.pool} is "
        "to be one: leave durable_queues at its default, true, or set quorum_queues = true"
    )


def mismatch(rabbit: RabbitSettings, *, is_durable: bool) -> str:
    """Return the words for a queue that is not as durable as the settings say, and the remedy."""
    if is_durable:
        return (
            f"queue {rabbit.pool} is durable, the settings say durable_queues = false; it is used "
            "as it is"
        )
    return (
        f"queue {rabbit.pool} is transient, although durable_queues is set: a restart of RabbitMQ "
        f"loses what waits in it. Once it is empty, stop the bridge, rabbitmqctl delete_queue "
        f"{rabbit.pool}, and start it: it makes a durable one"
    )
