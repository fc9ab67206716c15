"""The kinds of outputs: which scheme of a URL means which, how each is made, and how it is tried.

A further kind is a module beside this one, a line here, and the form of its URLs in
vimfed/settings/checks.py.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from streams.publisher.delivery import Output
from streams.publisher.outputs import kafka, message_router, tenants, ves_collector
from streams.publisher.outputs.webhook import output as webhook
from vimfed.kafka.topic_settings import Finding
from vimfed.settings import DmaapOutput, Settings


class OutputKind(NamedTuple):
    """One kind of output."""

    build: Callable[[Settings, DmaapOutput], Output]
    probe: Callable[[Settings, DmaapOutput], Awaitable[list[Finding]]]
    """Returns what would keep it from taking messages; makes nothing.

    Raises KafkaError, aiohttp.ClientError, TimeoutError or OSError where no server answers.
    """


_KAFKA = OutputKind(kafka.KafkaOutput, kafka.probe)
_TENANTS = OutputKind(tenants.TenantsOutput, tenants.probe)
_MESSAGE_ROUTER = OutputKind(message_router.MessageRouterOutput, message_router.probe)
_COLLECTOR = OutputKind(ves_collector.CollectorOutput, ves_collector.probe)
_WEBHOOK = OutputKind(webhook.WebhookOutput, webhook.probe)
KINDS = {
    "kafka": _KAFKA,
    "ves+kafka": _KAFKA,
    "http": _MESSAGE_ROUTER,
    "https": _MESSAGE_ROUTER,
    "ves+http": _COLLECTOR,
    "ves+https": _COLLECTOR,
    "webhook+http": _WEBHOOK,
    "webhook+https": _WEBHOOK,
}
"""By scheme of the URL; a Kafka topic for each project is a kind of its own."""


def kind_of(output: DmaapOutput) -> OutputKind:
    """Return the kind of an output."""
    return _TENANTS if output.is_of_tenants else KINDS[urlsplit(output.url).scheme]
