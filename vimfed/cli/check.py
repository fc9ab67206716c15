"""``vimfed check``: validate the settings, and find what would keep a process from its work."""

import asyncio
import shutil
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

import aiohttp
import click
import msgspec
import oslo_messaging
from amqp import AMQPError
from kombu.exceptions import KombuError

from bridge.kafka.listener import cloud_needs
from bridge.poller.api_error import CloudApiError
from bridge.poller.nova_api import NovaApi
from bridge.prometheus.check import prometheus_findings
from bridge.rabbit.bus import Bus, buses_of, sample_buses_of
from bridge.rabbit.check import look_at_bus
from streams.publisher.outputs.kinds import kind_of
from streams.subscriptions.known_kinds import refuse_unknown_kinds
from vimfed.kafka.aio import KafkaError
from vimfed.kafka.cluster_check import disk_finding, own_findings, source_findings
from vimfed.kafka.rights import merged, needs_by_process
from vimfed.kafka.topic_checks import specs_of
from vimfed.kafka.topic_settings import Finding
from vimfed.process.escaping import echo
from vimfed.process.tls import CertificateError, server_context, tls_context
from vimfed.settings import (
    CloudKafkaSettings,
    DmaapOutput,
    GatewaySettings,
    KeystoneSettings,
    PollSettings,
    Settings,
    Tls,
    VimSettings,
    WebSettings,
    exposures,
)
from web.auth.access import refuse_open_door
from web.auth.backends.keystone_client import Keystone
from web.auth.backends.password import costs_of
from web.gateway.access import refuse_open_gateway
from web.http.errors import UnavailableError
from web.self_service import refuse_unknown_projects

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
ALL_PROCESSES = frozenset({"bridge", "worker", "publisher"})

Find = Callable[[], Iterable[Finding] | None]
"""Returns what is wrong with a connection, or raises one of _ERRORS where there is none."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, and what was found there."""

    name: str
    ok: bool
    """Whether a process would start with it."""
    findings: list[Finding] = []

    def lines(self) -> list[str]:
        """Return what is printed of it."""
        told = [
            f"{self.name}: {each.text}" if each.refused else f"{self.name}: warning: {each.text}"
            for each in self.findings
        ]
        return [*told, f"{self.name}: ok"] if self.ok else told


def run(
    settings: Settings,
    processes: Collection[str] = (),
    *,
    as_json: bool = False,
    offline: bool = False,
) -> int:
    """Print what was found of each connection; return 0 where every process would start, else 1.

    ``processes``: what these need alone, such as ``bridge``; empty: what all need but the operator.
    ``offline``: nobody is asked; what the settings say, and the files that they name, is all.
    Raises SettingsError where a worker or a publisher would not start.
    """
    wanted = frozenset(processes) or ALL_PROCESSES
    refuse_open_door(settings.web)
    list(costs_of(settings.web.auth.users))
    if _has_gateway(settings, wanted):
        refuse_open_gateway(settings)
    refuse_unknown_kinds(settings)
    if "worker" in wanted:
        refuse_unknown_projects(settings)
    checks = _offline_checks(settings, wanted)
    if not offline:
        checks |= _connections(settings, wanted)
    checked = []
    for name, find in checks.items():
        checked.append(_checked(name, find))
        if not as_json:
            for line in checked[-1].lines():
                echo(line)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(checked)).decode())
    return int(not all(each.ok for each in checked))


def _has_gateway(settings: Settings, wanted: Collection[str]) -> bool:
    return settings.gateway.enabled or "gateway" in wanted


def _offline_checks(settings: Settings, wanted: Collection[str]) -> dict[str, Find]:
    checks: dict[str, Find] = {}
    exposed = _exposed_findings(settings, wanted)
    if exposed:
        checks["secrets"] = lambda: exposed
    unfiltered = _filter_findings(settings) if "publisher" in wanted else []
    if unfiltered:
        checks["filter"] = lambda: unfiltered
    if "worker" in wanted and settings.web.cert_file:
        checks["web"] = partial(_certificate_findings, "web", settings.web)
    if _has_gateway(settings, wanted) and settings.gateway.cert_file:
        checks["gateway"] = partial(_certificate_findings, "gateway", settings.gateway)
    return checks


def _connections(settings: Settings, wanted: Collection[str]) -> dict[str, Find]:
    checks: dict[str, Find] = {"kafka": partial(_own_findings, settings, wanted)}
    if "worker" in wanted:
        checks["state_dir"] = partial(_disk_findings, settings.state_dir)
    for output in settings.outputs() if "publisher" in wanted else ():
        checks[f"output {output.name}"] = partial(_output_findings, settings, output)
    if settings.web.auth.keystone.url and "worker" in wanted:
        checks["keystone"] = partial(_try_keystone, settings.web.auth.keystone)
    for vim in settings.vims if "bridge" in wanted else ():
        checks |= _cloud_checks(vim)
    return checks


def _cloud_checks(vim: VimSettings) -> dict[str, Find]:
    cloud = f"cloud {vim.vim_id}"
    checks: dict[str, Find] = {}
    for where, buses, kafka in (
        (cloud, buses_of(vim), vim.kafka),
        (f"{cloud}: samples", sample_buses_of(vim), vim.samples.kafka),
    ):
        is_one = len(buses) + kafka.is_used == 1
        for bus in buses.values():
            name = where if is_one else f"{where}: bus {bus.name}"
            checks[name] = partial(_bus_findings, name, bus)
        if kafka.is_used:
            checks[where if is_one else f"{where}: Kafka"] = partial(_kafka_findings, kafka)
    if vim.samples.prometheus.is_used:
        checks[f"{cloud}: Prometheus"] = partial(prometheus_findings, cloud, vim.samples.prometheus)
    if vim.poll.is_used:
        checks[f"{cloud}: API"] = partial(_api_findings, cloud, vim.poll)
    return checks


def _checked(name: str, find: Find) -> Checked:
    try:
        findings = list(find() or ())
    except _ERRORS as error:
        text = str(error) or type(error).__name__
        findings = [Finding(name, text, refused=True)]
    ok = not any(finding.refused for finding in findings)
    return Checked(name=name, ok=ok, findings=findings)


def _exposed_findings(settings: Settings, wanted: Collection[str]) -> list[Finding]:
    processes = [*wanted, *["gateway"] * _has_gateway(settings, wanted)]
    return [
        Finding(each.where, f"{each.where}: {each.text}", each.refused)
        for each in exposures(settings, processes)
    ]


def _filter_findings(settings: Settings) -> list[Finding]:
    """Return to which outputs of measurements [filter] sends none, since it chooses events."""
    wanted = settings.filter
    if not wanted.enabled or not (wanted.kinds or wanted.phases):
        return []
    text = (
        "[filter] has kinds or phases, which measurements have not: output {} gets none but those "
        "that subscriptions ask for (docs/metrics.md)"
    )
    return [
        Finding(output.name, text.format(output.name), refused=False)
        for output in settings.outputs()
        if output.carries == "measurements" and wanted.output in ("", output.name)
    ]


def _certificate_findings(where: str, server: WebSettings | GatewaySettings) -> list[Finding]:
    """Return what is wrong with the files of a server's certificate, and of its clients'."""
    try:
        server_context(where, server)
        if isinstance(server, WebSettings):
            tls_context(Tls(ca_file=server.ca_file))
    except CertificateError as error:
        return [Finding(where, str(error), refused=True)]
    return []


def _own_findings(settings: Settings, wanted: Collection[str]) -> list[Finding]:
    kafka = settings.kafka
    needs = merged(
        each
        for process, needs in needs_by_process(settings).items()
        if process.partition(" ")[0] in wanted
        for each in needs
    )
    return asyncio.run(own_findings(kafka, needs, specs_of(kafka, needs)))


def _disk_findings(folder: Path) -> list[Finding]:
    """Return what is wrong with the disk on which the workers' tables lie, or will lie."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    disk = shutil.disk_usage(there)
    text = disk_finding(str(folder), disk.free, disk.total)
    return [Finding("disk", text, refused=False)] if text else []


def _try_keystone(keystone: KeystoneSettings) -> None:
    async def ask() -> None:
        client = Keystone(keystone)
        async with client.connected() as client.session:
            await client.owner_of("none")

    asyncio.run(ask())


def _output_findings(settings: Settings, output: DmaapOutput) -> list[Finding]:
    async def probe() -> list[Finding]:
        return await kind_of(output).probe(settings, output)

    return asyncio.run(probe())


def _bus_findings(subject: str, bus: Bus) -> list[Finding]:
    return [Finding(subject, each.text, refused=each.is_failure) for each in look_at_bus(bus)]


def _kafka_findings(kafka: CloudKafkaSettings) -> list[Finding]:
    return asyncio.run(source_findings(kafka, cloud_needs(kafka)))


def _api_findings(subject: str, poll: PollSettings) -> list[Finding]:
    """Return a warning where the hosts may not be seen. Raises CloudApiError."""
    api = NovaApi(poll)
    try:
        api.check()
        if poll.looks_at_hosts:
            api.compute_services()
    except CloudApiError as error:
        if not (error.reason == "forbidden" and "os-services" in str(error)):
            raise
        return [Finding(subject, f"hosts are not looked at: {error}", refused=False)]
    finally:
        api.close()
    return []
