"""Secrets that would go over a network in the clear, or to a server that nobody checks.

The table below says where; ``insecure = true`` in the section says that this is meant. On loopback
nobody listens: there it is always fine.
"""

import ipaddress
import logging
import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from vimfed.settings.sections import (
    DmaapOutput,
    GatewaySettings,
    KafkaConnection,
    KeystoneSettings,
    PollSettings,
    PrometheusSettings,
    RabbitSettings,
    Settings,
    SettingsError,
    WebSettings,
)

LOG = logging.getLogger(__name__)


class Exposure(NamedTuple):
    """A secret that others could read or be given."""

    where: str
    """The section, and what in it."""
    text: str
    """One line: what is exposed, and how to mend it."""
    refused: bool
    """Whether a process does not start with it; else it is a warning."""


class _Found(NamedTuple):
    """What a section exposes."""

    what: str
    mend: str
    insecure: bool
    """Whether the section says that it is meant."""
    is_norm: bool = False
    """Whether it is so usual that it is warned of, and not refused."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _are_loopback(hosts: str) -> bool:
    """Return whether all of ``host:port,host:port`` are; a user may stand before each."""
    names = [part.rpartition("@")[2].strip() for part in hosts.split(",")]
    return all(is_loopback(re.sub(r"(?<=[^:]):\d+$|(?<=\]):\d+$", "", name)) for name in names)


def _is_plain_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _kafka(kafka: KafkaConnection) -> Iterator[_Found]:
    return _sasl(kafka, kafka.bootstrap)


def _sasl(kafka: KafkaConnection | DmaapOutput, brokers: str) -> Iterator[_Found]:
    is_plain = kafka.security_protocol == "SASL_PLAINTEXT" and kafka.sasl_mechanism == "PLAIN"
    if is_plain and not _are_loopback(brokers):
        yield _Found(
            "SASL PLAIN without TLS sends the password in the clear",
            'set security_protocol = "SASL_SSL", or sasl_mechanism = "SCRAM-SHA-512"',
            kafka.insecure,
        )


def _output(output: DmaapOutput) -> Iterator[_Found]:
    parts = urlsplit(output.url)
    if output.is_kafka:  # without security_protocol it is as [kafka], which has its row
        yield from _sasl(output, parts.netloc)
    elif parts.scheme == "webhook+http" and not _are_loopback(parts.netloc):
        told = "what is sent to a webhook+http:// url can be read and changed on its way"
        yield _Found(told, "use webhook+https://", output.insecure)
    elif output.username and parts.scheme.endswith("http") and not _are_loopback(parts.netloc):
        told = f"the password goes to {'a' if output.is_ves else 'an'} {parts.scheme}:// url"
        yield _Found(told, f"use {parts.scheme}s://", output.insecure)


def _web(web: WebSettings) -> Iterator[_Found]:
    if web.auth.is_on and not web.cert_file and not is_loopback(web.host):
        yield _Found(
            f"users log in over plain HTTP at host = {web.host!r}", "set cert_file", web.insecure
        )


def _keystone(keystone: KeystoneSettings) -> Iterator[_Found]:
    if _is_plain_http(keystone.url):
        yield _Found("users' tokens go to an http:// url", "use https://", keystone.insecure)


def _gateway(gateway: GatewaySettings) -> Iterator[_Found]:
    if gateway.users and not gateway.cert_file and not is_loopback(gateway.host):
        yield _Found(
            f"users log in over plain HTTP at host = {gateway.host!r}",
            "set cert_file",
            gateway.insecure,
        )


def _rabbit(rabbit: RabbitSettings) -> Iterator[_Found]:
    for bus, url in rabbit.buses.items():
        hosts = urlsplit(url.reveal()).netloc
        if _are_loopback(hosts):
            continue
        if not rabbit.tls:
            if "@" in hosts:
                yield _Found(
                    f"{bus}: the password goes over AMQP without TLS",
                    "set tls and ca_file",
                    rabbit.insecure,
                    is_norm=True,
                )
        elif not rabbit.ca_file:
            yield _Found(
                f"{bus}: without ca_file nobody checks whose server it is",
                "set ca_file",
                rabbit.insecure,
            )
        elif "," in hosts:
            yield _Found(
                f"{bus}: of several hosts in one URL the certificates' names are not checked",
                "name one host, such as that of a load balancer",
                rabbit.insecure,
            )


def _poll(poll: PollSettings) -> Iterator[_Found]:
    if _is_plain_http(poll.auth_url):
        yield _Found("the password goes to an http:// auth_url", "use https://", poll.insecure)


def _prometheus(prometheus: PrometheusSettings) -> Iterator[_Found]:
    if prometheus.has_login and _is_plain_http(prometheus.url):
        secret = "token" if prometheus.bearer_token else "password"
        yield _Found(f"the {secret} goes to an http:// url", "use https://", prometheus.insecure)


class _Row(NamedTuple):
    """A kind of section: who reads it, where it stands, and what it exposes."""

    processes: frozenset[str]
    find: Callable[[Settings], Iterator[tuple[str, Iterator[_Found]]]]


_EVERYBODY = frozenset({"bridge", "worker", "publisher", "gateway", "operator"})

_TABLE = (
    _Row(_EVERYBODY, lambda s: iter([("kafka", _kafka(s.kafka))])),
    _Row(frozenset({"worker"}), lambda s: iter([("web", _web(s.web))])),
    _Row(
        frozenset({"worker"}),
        lambda s: iter([("web.auth.keystone", _keystone(s.web.auth.keystone))]),
    ),
    _Row(frozenset({"gateway"}), lambda s: iter([("gateway", _gateway(s.gateway))])),
    _Row(
        frozenset({"publisher", "gateway", "operator"}),
        lambda s: ((f"dmaap.outputs: {each.name}", _output(each)) for each in s.dmaap.outputs),
    ),
    _Row(
        frozenset({"bridge"}),
        lambda s: ((f"vims: {vim.vim_id}: rabbit", _rabbit(vim.rabbit)) for vim in s.vims),
    ),
    _Row(
        frozenset({"bridge"}),
        lambda s: ((f"vims: {vim.vim_id}: kafka", _kafka(vim.kafka)) for vim in s.vims),
    ),
    _Row(
        frozenset({"bridge"}),
        lambda s: (
            (f"vims: {vim.vim_id}: samples.rabbit", _rabbit(vim.samples.rabbit)) for vim in s.vims
        ),
    ),
    _Row(
        frozenset({"bridge"}),
        lambda s: (
            (f"vims: {vim.vim_id}: samples.kafka", _kafka(vim.samples.kafka)) for vim in s.vims
        ),
    ),
    _Row(
        frozenset({"bridge"}),
        lambda s: ((f"vims: {vim.vim_id}: poll", _poll(vim.poll)) for vim in s.vims),
    ),
    _Row(
        frozenset({"bridge"}),
        lambda s: (
            (f"vims: {vim.vim_id}: samples.prometheus", _prometheus(vim.samples.prometheus))
            for vim in s.vims
        ),
    ),
)


def exposures(settings: Settings, processes: Collection[str]) -> list[Exposure]:
    """Return the secrets that these processes would expose, such as ``bridge``."""
    return [
        Exposure(where, _told(found), refused=not (found.insecure or found.is_norm))
        for row in _TABLE
        if row.processes.intersection(processes)
        for where, all_found in row.find(settings)
        for found in all_found
    ]


def _told(found: _Found) -> str:
    if found.insecure:
        return f"{found.what}, as insecure = true allows"
    rest = "" if found.is_norm else ", or say insecure = true there where nobody listens on the way"
    return f"{found.what}: {found.mend}{rest}"


def refuse_exposed_secrets(settings: Settings, *processes: str) -> None:
    """Raise SettingsError where one of the processes would expose a secret; log what is meant so.

    ``processes``: such as ``bridge``; ``operator`` for commands that look at Kafka.
    """
    found = exposures(settings, processes)
    for each in found:
        if each.refused:
            raise SettingsError(f"{each.where}: {each.text}")
    for each in found:
        LOG.warning("%s: %s", each.where, each.text)
