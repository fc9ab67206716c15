"""``vimfed check``: validate the settings and try every connection."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import aiohttp
import click
import oslo_messaging
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from amqp import AMQPError
from kombu.exceptions import KombuError

from bridge.kafka import cluster_of
from bridge.nova_api import CloudApiError, NovaApi
from bridge.rabbit_check import Finding, look_at_cloud
from streams.kafka_output import dmaap_cluster
from streams.message_router_output import MessageRouterOutput
from streams.publisher import refuse_unknown_kinds
from vimfed.kafka import client_options, no_broker
from vimfed.settings import DmaapOutput, KafkaSettings, KeystoneSettings, Settings, VimSettings
from web.access import refuse_open_door
from web.errors import UnavailableError
from web.keystone import Keystone

_ERRORS = (
    KafkaError,
    KombuError,
    AMQPError,
    oslo_messaging.MessagingException,
    aiohttp.ClientError,
    OSError,
    UnavailableError,
    CloudApiError,
)


Attempt = Callable[[], Sequence[Finding] | None]
"""Tries one connection, and raises one of _ERRORS; returns what it found on the other side."""


def run(settings: Settings) -> int:
    """Print a line for each connection; return 0 if all can be made, else 1.

    Raises SettingsError where a worker or a publisher would not start.
    """
    refuse_open_door(settings.web)
    for output in settings.outputs():
        refuse_unknown_kinds(settings, output)
    attempts: dict[str, Attempt] = {"kafka": partial(_try_kafka, settings.kafka)}
    for output in settings.outputs():
        attempts[f"output {output.name}"] = partial(_try_output, settings, output)
    if settings.web.auth.keystone.url:
        attempts["keystone"] = partial(_try_keystone, settings.web.auth.keystone)
    for vim in settings.vims:
        if vim.transport_url:
            attempts[f"cloud {vim.vim_id}"] = partial(_try_cloud, vim)
        if vim.auth_url:
            attempts[f"cloud {vim.vim_id}: API"] = partial(_try_api, vim)
    failures = sum(not _succeeds(name, attempt) for name, attempt in attempts.items())
    return 1 if failures else 0


def _succeeds(name: str, attempt: Attempt) -> bool:
    try:
        findings = attempt() or ()
    except _ERRORS as error:
        click.echo(f"{name}: {str(error) or type(error).__name__}")
        return False
    for finding in findings:
        click.echo(f"{name}: {finding.text}")
    if any(finding.is_failure for finding in findings):
        return False
    click.echo(f"{name}: ok")
    return True


def _try_keystone(keystone: KeystoneSettings) -> None:
    async def ask() -> None:
        client = Keystone(keystone)
        async with client.connected() as client.session:
            await client.owner_of("none")

    asyncio.run(ask())


def _try_output(settings: Settings, output: DmaapOutput) -> None:
    if output.is_kafka:
        _try_kafka(dmaap_cluster(settings, output))
    else:
        _try_message_router(settings, output)


def _try_cloud(vim: VimSettings) -> Sequence[Finding] | None:
    if not vim.transport_url.startswith("kafka"):
        return look_at_cloud(vim)
    _try_kafka(cluster_of(vim))
    return None


def _try_api(vim: VimSettings) -> None:
    api = NovaApi(vim)
    try:
        api.check()
    finally:
        api.close()


def _try_kafka(kafka: KafkaSettings) -> None:
    async def connect() -> None:
        admin = AIOKafkaAdminClient(**client_options(kafka))
        try:
            await admin.start()
        except KafkaConnectionError:
            raise ConnectionError(no_broker(kafka)) from None
        finally:
            await admin.close()

    asyncio.run(connect())


def _try_message_router(settings: Settings, output: DmaapOutput) -> None:
    """Raise OSError or aiohttp.ClientError where no server answers, whatever it answers."""

    async def connect() -> None:
        router = MessageRouterOutput(settings, output)
        try:
            await router.check()
        finally:
            await router.close()

    asyncio.run(connect())
