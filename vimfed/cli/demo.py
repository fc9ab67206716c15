"""``vimfed demo``: the whole job on this machine, fed with what a real nova sent."""

import shutil
import threading
import time
import urllib.request
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vimfed.cli.own_login import client_context, login_headers
from vimfed.cli.replay import Sender, read_trace
from vimfed.errors import OperatorError
from vimfed.local.kafka import is_fetched
from vimfed.local.stop_signals import StopSignals
from vimfed.local.supervisor import (
    TICK,
    Supervisor,
    direct_opener,
    refuse_taken_ports,
    services_of,
    start_kafka,
    vimfed_command,
)
from vimfed.process.ports import own_url
from vimfed.process.project_files import project_file
from vimfed.settings import Settings, SettingsError, VimSettings

TRACE = project_file("tests/data/nova-34-trace.jsonl.gz")
TRUTH = project_file("tests/data/nova-34-truth.json")
"""What nova's API said of each server when the trace had been recorded."""

READY_TIMEOUT = 60.0
QUIET_TIMEOUT = 30.0
"""Seconds without progress after which the table is shown as it is."""
STEP = 500
"""Messages after which the position in the trace is remembered."""
LAST_EVENTS = 10
EVENTS_TIMEOUT = 20.0
"""Seconds that the first events have to reach DMaaP's topic."""


class DemoError(OperatorError):
    """The demo cannot go on."""


class Server(msgspec.Struct, frozen=True):
    """The state of a server, as nova's API or as our table tells it."""

    vm_state: str
    task_state: str | None


class _Truth(msgspec.Struct, frozen=True):
    servers: dict[str, Server]


class _Event(msgspec.Struct, frozen=True):
    display_name: str | None = None
    state: str | None = None
    state_description: str | None = None


def run(settings: Settings, config: Path) -> int:
    """Run the demo until SIGTERM or SIGINT; return the exit code. Raises OperatorError."""
    if not settings.vims or not settings.vims[0].notifies:
        raise SettingsError(
            "the demo needs a cloud: keep a [[vims]] section with [vims.kafka] or [vims.rabbit], "
            "the first one"
        )
    refuse_taken_ports(settings, workers=1)
    logs = settings.state_dir / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"state_dir: cannot make {error.filename}: {error.strerror}") from None
    console = Console()
    stop = StopSignals()
    supervisor = Supervisor(vimfed_command(config), logs)
    story = _Story(settings, console, stop)
    try:
        if settings.kafka.local and not is_fetched():
            console.print("Fetching Apache Kafka first (once; minutes on a slow line)")
        console.print(f"Starting Kafka, bridge, worker and publisher (logs: {logs})")
        start_kafka(settings, supervisor, stop)
        if not stop.received:
            story.make_topics()
            for service in services_of(settings):
                supervisor.start(service)
            story.begin()
        while not stop.wait(TICK):
            supervisor.tend()
            story.check()
    finally:
        stop.received = True
        story.end()
        console.print("Stopping")
        supervisor.stop()
    return 0


class _Story:
    """What the demo does beside supervision, in a thread of its own."""

    def __init__(self, settings: Settings, console: Console, stop: StopSignals) -> None:
        self._settings = settings
        self._console = console
        self._stop = stop
        self._vim = settings.vims[0]
        self._api = own_url(settings.web.host, settings.web.port, settings.web.scheme)
        self._login = login_headers(settings.web)
        self._ask = direct_opener(client_context(settings.web)).open
        self._path = f"{settings.web.prefix}/v1/{self._vim.cloud_owner}/{self._vim.cloud_region_id}"
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="demo", daemon=True)

    def make_topics(self) -> None:
        """Make the topics of a cloud that notifies over Kafka, as nova's first message would.

        The bridge would find later ones too, but not at once.
        """
        if self._vim.kafka.is_used:
            names = {message.routing_key for message in read_trace(TRACE)}
            client = AdminClient({"bootstrap.servers": self._vim.kafka.bootstrap, "log_level": 0})
            missing = names - set(client.list_topics(timeout=10).topics)
            if missing:
                for made in client.create_topics(
                    [NewTopic(name, 1, 1) for name in missing]
                ).values():
                    made.result()

    def begin(self) -> None:
        """Start to tell."""
        self._thread.start()

    def check(self) -> None:
        """Raise what the thread ended with."""
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Wait some seconds for the thread, which heeds the stop."""
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            self._await_ready()
            self._replay()
            self._show_servers(self._await_states())
            self._show_events()
            self._show_addresses()
        except _Stopped:
            pass
        except Exception as error:
            self._error = error

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while self._get("/readyz") is None:
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the worker is not ready after {READY_TIMEOUT:.0f} s; the logs in "
                    f"{self._settings.state_dir / 'logs'} say why"
                )
            self._pause(0.2)

    def _replay(self) -> None:
        """Send what of the trace was not sent by an earlier run.

        The position is remembered behind the broker's acknowledgement: a kill repeats some
        messages, which the worker recognises.
        """
        position_file = self._settings.state_dir / "demo-position"
        told = position_file.read_text() if position_file.exists() else ""
        before = int(told) if told.isdecimal() else 0  # a kill may have left it empty
        total = sum(1 for _ in read_trace(TRACE))
        if before == total:
            self._console.print(f"All {total} notifications were replayed by an earlier run")
            return
        messages = islice(read_trace(TRACE), before, None)
        with (
            Progress(console=self._console) as progress,
            Sender(_transport_url(self._vim)) as sender,
        ):
            bar = progress.add_task("Replaying nova's notifications", total=total)
            for position, recorded in enumerate(messages, start=before + 1):
                sender.send(recorded)
                if position % STEP == 0 or position == total:
                    sender.confirm()
                    position_file.write_text(str(position))
                    progress.update(bar, completed=position)
                    self._pause(0)

    def _await_states(self) -> dict[str, Server | None]:
        """Return the states of all servers as soon as they are nova's own, or nothing moves."""
        truth = _truth()
        best, since = -1, time.monotonic()
        with Progress(console=self._console) as progress:
            bar = progress.add_task("Servers in the state that nova says", total=len(truth))
            while True:
                states = {server: self._state(server) for server in truth}
                right = sum(_agree(state, truth[server]) for server, state in states.items())
                progress.update(bar, completed=right)
                if right != best:
                    best, since = right, time.monotonic()
                if right == len(truth) or time.monotonic() - since > QUIET_TIMEOUT:
                    return states
                self._pause(0.3)

    def _state(self, server: str) -> Server | None:
        answer = self._get(f"{self._path}/instances/{server}")
        return msgspec.json.decode(answer, type=Server) if answer else None

    def _get(self, path: str) -> bytes | None:
        """Return the body of a 200, else None."""
        try:
            request = urllib.request.Request(self._api + path, headers=self._login)  # noqa: S310
            with self._ask(request, timeout=5) as response:
                body: bytes = response.read()
                return body
        except OSError:  # HTTPError, a 404 or a 503, is one too
            return None

    def _show_servers(self, states: dict[str, Server | None]) -> None:
        truth = _truth()
        table = Table("server", "vm_state", "task_state", "nova", box=SIMPLE_HEAD)
        for server, state in states.items():
            said = truth[server]
            shown = state or Server("", None)
            word = "[green]same" if _agree(state, said) else f"[red]{said.vm_state}"
            table.add_row(server, shown.vm_state, shown.task_state, word)
        self._console.print(table)
        right = sum(_agree(state, truth[server]) for server, state in states.items())
        self._console.print(f"{right} of {len(truth)} servers are in the state that nova says\n")

    def _show_events(self) -> None:
        output = self._settings.outputs()[0]
        if (output.scheme, output.format, output.carries) != ("kafka", "payload", "events"):
            return
        url = urlsplit(output.url)
        (topic,) = output.topics
        self._console.print(f"The last events on DMaaP's topic {topic}:", soft_wrap=True)
        table = Table("time", "kind", "phase", "name", "state", "description", box=SIMPLE_HEAD)
        for message in _last_messages(url.netloc, topic, LAST_EVENTS, self._pause):
            headers = _headers(message)
            event = msgspec.json.decode(message.value() or b"{}", type=_Event)
            time_of_day = headers["ce_time"].partition("T")[2][:12]
            kind, phase = headers["ce_kind"], headers["ce_phase"]
            described = (event.display_name, event.state, event.state_description)
            table.add_row(time_of_day, kind, phase, *described)
        self._console.print(table)

    def _show_addresses(self) -> None:
        url = f"{self._api}{self._path}/check_vim_status"
        self._console.print(f"\nThe HTTP API listens on {self._api}. Ask it:\n", soft_wrap=True)
        self._console.print(
            f"""    curl -s -X POST {url} -d '{{"states": ["PAUSE"]}}'""",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        self._console.print(f"\nThe dashboard is at {self._api}/", soft_wrap=True)
        self._console.print("\nCtrl-C stops everything; another run goes on from here.")


class _Stopped(Exception):  # noqa: N818 - not an error
    """A signal to stop has come."""


def _transport_url(vim: VimSettings) -> str:
    """Return the transport URL with which the cloud's nova would send."""
    if vim.rabbit.is_used:
        return vim.rabbit.transport_urls[0].reveal()
    return f"kafka://{vim.kafka.bootstrap}/{vim.kafka.virtual_host}"


def _truth() -> dict[str, Server]:
    return msgspec.json.decode(TRUTH.read_bytes(), type=_Truth).servers


def _agree(state: Server | None, truth: Server) -> bool:
    """Return whether nova says the same; a deleted server may have left the table long ago."""
    return state == truth or (state is None and truth.vm_state == "deleted")


def _headers(message: "Message[bytes, bytes]") -> dict[str, str]:
    pairs = cast(list[tuple[str, bytes]], message.headers() or [])
    return {name: value.decode() for name, value in pairs}


def _last_messages(
    bootstrap: str, topic: str, count: int, pause: Callable[[float], None]
) -> list["Message[bytes, bytes]"]:
    """Return the newest messages of a topic, oldest first, once it has grown no more for 1 s.

    One that is not there yet, or has fewer than ``count``, is waited for longer: its publisher may
    have only begun.
    """
    patience = time.monotonic() + EVENTS_TIMEOUT
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "vimfed-demo"})
    try:
        before: list[tuple[int, int]] = []
        while True:
            found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            partitions = [TopicPartition(topic, partition) for partition in found]
            ends = [consumer.get_watermark_offsets(each) for each in partitions]
            enough = sum(high - low for low, high in ends) >= count or time.monotonic() > patience
            if enough and ends == before:
                break
            before = ends
            pause(1.0)
        expected = 0
        for partition, (low, high) in zip(partitions, ends, strict=True):
            partition.offset = max(low, high - count)
            expected += high - partition.offset
        consumer.assign(partitions)
        messages = consumer.consume(expected, timeout=10)
    finally:
        consumer.close()
    return sorted(messages, key=lambda message: message.timestamp())[-count:]
