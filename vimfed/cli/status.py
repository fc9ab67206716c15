"""``vimfed status``: clouds, workers, bridge and outputs at a glance, asked over HTTP."""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp
import click
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table

from vimfed.cli.own_login import (
    client_context,
    headers_of_file,
    login_headers,
    refuse_secret_argument,
)
from vimfed.errors import OperatorError, UsageError
from vimfed.local.stop_signals import StopSignals
from vimfed.model.decoding import UnreadableError, decoded
from vimfed.process.bounded_answer import (
    MAX_ANSWER_BYTES,
    RefusedAnswerError,
    bounded_session,
    read_answer,
)
from vimfed.process.escaping import escaped
from vimfed.process.ports import monitoring_url, own_url
from vimfed.settings import Settings, is_loopback

TIMEOUT = 5.0
EVERY = 2.0
"""Seconds between two looks of the live table."""

T = TypeVar("T")
FILE_WIDTH = 220
"""Columns of a table that is printed into a file or pipe: room for every state of nova's."""
Sample = tuple[Mapping[str, str], float]


class StatusError(OperatorError):
    """Nobody can be asked, or there is no such cloud."""


class BridgeCloud(msgspec.Struct, omit_defaults=True):
    """A cloud as the bridge sees it."""

    connected: bool | None = None
    """None where it is not listened to."""
    last_message_seconds: float | None = None
    queue_depth: int | None = None
    polled_seconds: float | None = None
    """Since it was last polled completely; None where it is not polled, or never was."""
    compared_seconds: float | None = None
    """Since all known instances were last compared with it; None where they never were."""
    absent: int = 0
    """Known instances that it does not list, and that are still to be asked for."""
    polling_fails: bool | None = None
    """None where it is not polled."""


class Vim(msgspec.Struct, kw_only=True):
    """A cloud: what the workers count, and what the bridge tells."""

    vim_id: str
    configured: bool
    instances: int
    states: dict[str, int]
    hosts: dict[str, int] | None = None
    """How many hosts are how; None where the worker does not tell us: this, and the next two."""
    unavailable: int | None = None
    """How many instances are unavailable since their host is down."""
    alarms: dict[str, int] | None = None
    """How many active alarms there are of which class of conditions."""
    bridge: BridgeCloud | None = None
    """None where the bridge does not answer, or does not listen to it."""


class Figures(msgspec.Struct):
    """What a worker measures of itself."""

    lag: dict[int, int]
    rows: int
    oldest_undone_seconds: float


class Worker(msgspec.Struct, kw_only=True):
    """A worker."""

    url: str
    wrong: dict[str, str]
    partitions: list[int]
    figures: Figures | None = None


class Process(msgspec.Struct, kw_only=True):
    """A bridge, the publisher of an output, or a gateway."""

    name: str
    url: str
    wrong: dict[str, str]
    lag: int | None = None
    oldest_undelivered_seconds: float | None = None


class Status(msgspec.Struct, kw_only=True):
    """All of it; with ``--json`` this is what is printed."""

    vims: list[Vim]
    unavailable: str = ""
    """Why the clouds cannot be told completely now; empty where they are."""
    workers: list[Worker]
    unowned: list[int]
    """Partitions that have no owner."""
    processes: list[Process]
    """Bridge, publishers and gateway, where the settings say that they are, or ``--at``."""


class _Health(msgspec.Struct):
    wrong: dict[str, str] = {}


class _Unavailable(msgspec.Struct):
    reason: str


class _Problem(msgspec.Struct):
    error: str


class _Vims(msgspec.Struct):
    vims: list[Vim]


class _Workers(msgspec.Struct):
    workers: list[Worker]
    unowned: list[int]


class Asked(NamedTuple):
    """Which worker is asked, and how one logs in there; None: as the settings say."""

    url: str | None = None
    login_file: str | None = None
    addresses: Mapping[str, str] = MappingProxyType({})
    """URLs of processes that are elsewhere than the settings say, by the names of `--at`."""


def addresses_of(given: Sequence[str]) -> Mapping[str, str]:
    """Return the URLs that ``--at`` names, by process. Raises UsageError for what is none."""
    found = {}
    for each in given:
        name, _, url = each.partition("=")
        if not re.fullmatch(r"bridge|gateway|publisher\..+", name):
            raise UsageError(f"--at {each}: write bridge=URL, gateway=URL or publisher.OUTPUT=URL")
        if not re.match("https?://[^/]", url):
            raise UsageError(f"--at {name}: {url!r} is no http:// or https:// URL")
        found[name] = url.rstrip("/")
    return found


def run(settings: Settings, vim_id: str | None, where: Asked, *, once: bool, as_json: bool) -> None:
    """Print the status once, or keep it on the terminal until SIGINT.

    Raises StatusError, and UsageError for a URL that is none.
    """
    url = where.url
    if url is not None:
        refuse_secret_argument("--url", url, "write USER:PASSWORD into a file, --login-file FILE")
    if url is not None and not re.match("https?://[^/]", url):
        raise UsageError(f"--url: {url!r} is no http:// or https:// URL of a worker")
    login: Mapping[str, str] = {}
    if where.login_file is not None:
        login = headers_of_file(where.login_file)
    elif url is None:  # no secret of ours for somebody else's URL
        login = login_headers(settings.web)
    own = own_url(settings.web.host, settings.web.port, settings.web.scheme)
    asked = (url or own).rstrip("/")
    _refuse_exposed_login(settings, asked, login)

    def now() -> Status:
        return asyncio.run(_ask(settings, asked, login, vim_id, where.addresses))

    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(now()), indent=2))
    elif once or not sys.stdout.isatty():
        width = None if sys.stdout.isatty() else FILE_WIDTH
        Console(width=width).print(_shown(now()))
    else:
        stop = StopSignals()
        with Live(_shown(now()), console=Console(), auto_refresh=False) as live:
            while not stop.wait(EVERY):
                live.update(_shown(now()), refresh=True)


def _refuse_exposed_login(settings: Settings, url: str, login: Mapping[str, str]) -> None:
    parts = urlsplit(url)
    is_plain = parts.scheme == "http" and not is_loopback(parts.hostname or "")
    if login and is_plain and not settings.web.insecure:
        raise UsageError(
            f"{url}: the login would go to another machine in the clear: ask https://, or say "
            "web.insecure = true where nobody listens on the way"
        )


async def _ask(
    settings: Settings,
    url: str,
    login: Mapping[str, str],
    vim_id: str | None,
    addresses: Mapping[str, str],
) -> Status:
    """Ask everybody. Raises StatusError where no worker answers, or there is no such cloud."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    connector = aiohttp.TCPConnector(ssl=client_context(settings.web))
    async with bounded_session(timeout=timeout, connector=connector) as session:
        api = f"{url}{settings.web.prefix}/v1"
        vims = await _get(session, f"{api}/vims", login)
        workers = await _get(session, f"{api}/workers", login)
        own = own_url(settings.bridge.host, settings.bridge.port)
        bridge, clouds = await _ask_bridge(session, addresses.get("bridge", own))
        others = []
        for output in settings.outputs():
            own = own_url(settings.dmaap.host, settings.publisher_port(output))
            at = addresses.get(f"publisher.{output.name}", own)
            others.append(await _ask_publisher(session, output.name, at))
        if settings.gateway.enabled or "gateway" in addresses:
            at = addresses.get("gateway", monitoring_url(settings.gateway))
            others.append((await _ask_process(session, "gateway", at))[0])
    status = Status(vims=[], workers=[], unowned=[], processes=[bridge, *others])
    if vims[0] == 503:
        status.unavailable = _decoded(vims, _Unavailable).reason
    else:
        status.vims = _decoded(vims, _Vims).vims
        known = [vim.vim_id for vim in status.vims]
        if vim_id is not None and vim_id not in known:
            raise StatusError(f"there is no cloud {vim_id}, only {', '.join(known) or 'none'}")
    told = _decoded(workers, _Workers)
    status.workers, status.unowned = told.workers, told.unowned
    status.vims = [vim for vim in status.vims if vim_id in (None, vim.vim_id)]
    for vim in status.vims:
        vim.bridge = clouds.get(vim.vim_id)
    return status


async def _get(
    session: aiohttp.ClientSession, url: str, login: Mapping[str, str]
) -> tuple[int, bytes]:
    """Return a worker's status and body. Raises StatusError where nobody answers."""
    try:
        async with session.get(url, headers=login, allow_redirects=False) as response:
            return response.status, await read_answer(response, MAX_ANSWER_BYTES)
    except (aiohttp.ClientError, TimeoutError) as error:
        said = f"no worker answers at {url}: {error or 'it takes too long'}"
        raise StatusError(
            f"{re.sub('//[^/@]*@', '//', said)}; does one run? Its address is web.host and "
            "web.port of the settings, or --url"
        ) from None


def _decoded(answer: tuple[int, bytes], kind: type[T]) -> T:
    status, body = answer
    if status in (401, 403):
        raise StatusError(
            f"the worker refuses us ({status}): give a login in a file, --login-file FILE"
        )
    if status != 200:
        with contextlib.suppress(UnreadableError):
            told = decoded(partial(msgspec.json.decode, type=_Problem), body).error
            raise StatusError(f"the worker answers {status}: {told}")
    try:
        answered: T = decoded(partial(msgspec.json.decode, type=kind), body)
    except UnreadableError as error:
        raise StatusError(
            f"not a worker's answer ({status}): {error}; is web.prefix right?"
        ) from None
    return answered


async def _ask_bridge(
    session: aiohttp.ClientSession, url: str
) -> tuple[Process, dict[str, BridgeCloud]]:
    process, samples = await _ask_process(session, "bridge", url)

    def of(name: str, together: Callable[[list[float]], float] = min) -> dict[str, float]:
        """Return a figure of each cloud: that of its message buses together."""
        figures: dict[str, list[float]] = {}
        for labels, value in samples.get(name, ()):
            figures.setdefault(labels["vim_id"], []).append(value)
        return {vim_id: together(values) for vim_id, values in figures.items()}

    connected, silence = of("vimfed_bridge_connected"), of("vimfed_bridge_last_message_seconds")
    depth = of("vimfed_bridge_queue_depth", sum)
    fails, polled = of("vimfed_poller_failing"), of("vimfed_poller_last_success_timestamp_seconds")
    compared, absent = (
        of("vimfed_poller_last_comparison_timestamp_seconds"),
        of("vimfed_poller_absent"),
    )
    clouds = {vim_id: BridgeCloud() for vim_id in connected.keys() | fails.keys()}
    for vim_id, cloud in clouds.items():
        if vim_id in connected:
            cloud.connected = bool(connected[vim_id])
            cloud.last_message_seconds = round(silence[vim_id], 1)
        if vim_id in depth:
            cloud.queue_depth = int(depth[vim_id])
        if vim_id in fails:
            cloud.polling_fails = bool(fails[vim_id])
            cloud.polled_seconds = _seconds_since(polled[vim_id])
            cloud.compared_seconds = _seconds_since(compared.get(vim_id, 0.0))
            cloud.absent = int(absent.get(vim_id, 0.0))
    return process, clouds


def _seconds_since(moment: float) -> float | None:
    """Return the seconds since a time (since 1970); None for 0, which is never."""
    return round(time.time() - moment, 1) if moment else None


async def _ask_publisher(session: aiohttp.ClientSession, output: str, url: str) -> Process:
    process, samples = await _ask_process(session, f"publisher {output}", url)
    lag = samples.get("vimfed_publisher_lag")
    if lag is not None:
        process.lag = int(sum(value for _, value in lag))
    for _, oldest in samples.get("vimfed_publisher_oldest_undelivered_seconds", ()):
        process.oldest_undelivered_seconds = round(oldest, 1)
    return process


_ANOTHER = "another program answers there"
_decode_health = msgspec.json.Decoder(_Health).decode


async def _ask_process(
    session: aiohttp.ClientSession, name: str, url: str
) -> tuple[Process, dict[str, Sequence[Sample]]]:
    """Return what a process says of itself, and its metrics by family; none where it is silent."""
    try:
        async with session.get(f"{url}/readyz", allow_redirects=False) as response:
            wrong = decoded(_decode_health, await read_answer(response)).wrong
        async with session.get(f"{url}/metrics", allow_redirects=False) as response:
            text = (await read_answer(response, MAX_ANSWER_BYTES)).decode()
        families = list(text_string_to_metric_families(text))
    except RefusedAnswerError:
        return Process(name=name, url=url, wrong={"process": _ANOTHER}), {}
    except (aiohttp.ClientError, TimeoutError):
        return Process(name=name, url=url, wrong={"process": "does not answer"}), {}
    except ValueError:  # also of what is no JSON, no metrics, no text
        return Process(name=name, url=url, wrong={"process": _ANOTHER}), {}
    return Process(name=name, url=url, wrong=wrong), {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in families
    }


def _shown(status: Status) -> Group:
    return Group(_clouds(status), _workers(status), _processes(status))


def _clouds(status: Status) -> Table:
    states = sorted({state for vim in status.vims for state in vim.states})
    known = ("hosts", "unavailable", "alarms", "last message", "queue", "polled", "compared")
    table = Table(Column("cloud", overflow="fold"), "instances", *states, *known, box=SIMPLE_HEAD)
    if status.unavailable:
        table.caption = f"[red]not known now: {escape(escaped(status.unavailable))}"
    for vim in status.vims:
        counts = [str(vim.states.get(state, "")) for state in states]
        bridge = vim.bridge or BridgeCloud()
        silence, age = _age(bridge.last_message_seconds), _age(bridge.polled_seconds)
        heard = "[red]disconnected" if bridge.connected is False else silence
        polled = f"[red]fails, {age}" if bridge.polling_fails else age
        compared = _age(bridge.compared_seconds)
        if bridge.absent:
            compared = f"[yellow]asking for {bridge.absent}"
        depth = "-" if bridge.queue_depth is None else str(bridge.queue_depth)
        name = vim.vim_id if vim.configured else f"{vim.vim_id} (not in the settings)"
        table.add_row(
            name, str(vim.instances), *counts, *_troubles(vim), heard, depth, polled, compared
        )
    return table


def _troubles(vim: Vim) -> tuple[str, str, str]:
    """Return how a cloud's hosts are, how many instances that makes unavailable, and its alarms."""
    hosts = vim.hosts or {}
    active = None if vim.alarms is None else sum(vim.alarms.values())
    told = (
        ("", hosts.get("up", 0), "up"),
        ("red", hosts.get("down", 0) + hosts.get("forced_down", 0), "down"),
        ("yellow", hosts.get("unknown", 0), "unknown"),
    )
    words = [_coloured(colour, f"{number} {name}") for colour, number, name in told if number]
    unavailable = vim.unavailable if hosts else None
    return ", ".join(words) or "-", _alarming(unavailable), _alarming(active)


def _alarming(number: int | None) -> str:
    if number is None:
        return "-"
    return _coloured("red" if number else "", str(number))


def _coloured(colour: str, text: str) -> str:
    return f"[{colour}]{text}[/]" if colour else text


def _workers(status: Status) -> Table:
    table = Table(
        Column("worker", overflow="fold"),
        "partitions",
        "rows",
        "lag",
        "oldest",
        "health",
        box=SIMPLE_HEAD,
    )
    for worker in status.workers:
        owned = ",".join(map(str, worker.partitions)) or "-"
        figures = worker.figures
        measured = (
            ("-", "-", "-")
            if figures is None
            else (
                str(figures.rows),
                str(sum(figures.lag.values())),
                _age(figures.oldest_undone_seconds),
            )
        )
        table.add_row(worker.url, owned, *measured, _health(worker.wrong))
    if status.unowned:
        table.caption = f"[red]without an owner: {','.join(map(str, status.unowned))}"
    return table


def _processes(status: Status) -> Table:
    table = Table("process", "address", "lag", "oldest", "health", box=SIMPLE_HEAD)
    for process in status.processes:
        lag = "" if process.lag is None else str(process.lag)
        oldest = process.oldest_undelivered_seconds
        age = "" if oldest is None else _age(oldest)
        table.add_row(process.name, process.url, lag, age, _health(process.wrong))
    return table


def _health(wrong: Mapping[str, str]) -> str:
    said = "; ".join(f"{part}: {why}" for part, why in wrong.items())
    return f"[red]{escape(escaped(said))}" if said else "[green]ready"


def _age(seconds: float | None) -> str:
    """Return an age in the largest unit of which there are two."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
