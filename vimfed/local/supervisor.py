"""``vimfed run``: every process of the job on one machine, started, watched and ended together."""

import http.client
import logging
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vimfed.errors import OperatorError
from vimfed.local.child import Child
from vimfed.local.kafka import answers, is_fetched
from vimfed.local.kafka_service import local_kafka_of
from vimfed.local.stop_signals import StopSignals
from vimfed.process.ports import LAST_PORT, monitoring_url, own_url, refuse_port_in_use
from vimfed.settings import Settings, SettingsError

LOG = logging.getLogger(__name__)

STOP_TIMEOUT = 10.0
"""Seconds that the processes get to end in order before they are killed."""
KAFKA_TIMEOUT = 60.0
FIRST_DELAY = 0.5
LAST_DELAY = 30.0
STEADY_AFTER = 60.0
"""A process that lived so long, in seconds, is started again without delay."""
HEALTH = "/healthz"
HEALTH_INTERVAL = 5.0
HEALTH_TIMEOUT = 2.0
UNHEALTHY_AFTER = 60.0
"""Seconds without a good word on its health after which a process is killed and started again."""
TICK = 0.1
SEE_ABOVE = "see above"

_OWN = ssl._create_unverified_context()  # noqa: S323
"""For our own children on this machine, whose certificates name other hosts."""


class SupervisorError(OperatorError):
    """A process that the others need does not run."""


@dataclass(frozen=True)
class Service:
    """One process: its name and the arguments of ``vimfed`` that run it."""

    name: str
    arguments: tuple[str, ...]
    ends_last: bool = False
    """The others need it to end in order."""
    health_url: str | None = None
    """Answers 200 while no restart is needed."""


KAFKA = Service("kafka", ("kafka",), ends_last=True)


def vimfed_command(config: Path) -> Sequence[str]:
    """Return ``vimfed`` with our own Python and settings file."""
    return [sys.executable, "-m", "vimfed", "--config", str(config)]


def services_of(settings: Settings, workers: int = 1) -> list[Service]:
    """Return the job's processes: a bridge, the workers, a publisher for each output, the gateway.

    Worker number n, counted from 0, serves HTTP at web.port + n, and where web.monitoring_port is
    set, probes and metrics at that + n; publisher n at dmaap.port + n.
    """
    bridge, web, dmaap = settings.bridge, settings.web, settings.dmaap
    url = own_url(bridge.host, bridge.port) + HEALTH
    services = [Service("bridge", ("bridge",), health_url=url if bridge.port else None)]
    for number in range(workers):
        name = f"worker-{number}" if number else "worker"
        options: tuple[str, ...] = ("--port", str(web.port + number)) if number else ()
        if number and web.monitoring_port:
            options += ("--monitoring-port", str(web.monitoring_port + number))
        url = monitoring_url(web, number) + HEALTH
        services.append(Service(name, ("worker", *options), health_url=url))
    outputs = settings.outputs()
    for output in outputs:
        several = len(outputs) > 1
        name = f"publisher-{output.name}" if several else "publisher"
        arguments = ("publisher", "--output", output.name) if several else ("publisher",)
        url = own_url(dmaap.host, settings.publisher_port(output)) + HEALTH
        services.append(Service(name, arguments, health_url=url if dmaap.port else None))
    gateway = settings.gateway
    if gateway.enabled:
        services.append(
            Service("gateway", ("gateway",), health_url=monitoring_url(gateway) + HEALTH)
        )
    return services


@dataclass
class _Running:
    """A service's process; times are monotonic seconds."""

    service: Service
    child: Child
    delay: float = field(default_factory=lambda: FIRST_DELAY)
    """Seconds that it waits for its next start when it ends."""
    started_at: float = field(default_factory=time.monotonic)
    start_at: float | None = None
    """When it is to be started again; None while it runs."""
    healthy_at: float = field(default_factory=time.monotonic)
    """When it last said that it is healthy, or was started."""
    asked_at: float = field(default_factory=time.monotonic)


class Supervisor:
    """Starts services as children, and starts again what ends.

    ``vimfed`` is the command that takes a service's arguments, see :func:`vimfed_command`. The
    output goes to ``log_dir``, a file for each service, or where ours goes. All end with us, even
    if we are killed (see :class:`vimfed.local.child.Child`).
    """

    def __init__(self, vimfed: Sequence[str], log_dir: Path | None = None) -> None:
        self._vimfed = vimfed
        self._log_dir = log_dir
        self._running: list[_Running] = []

    def start(self, service: Service) -> Child:
        """Start a service and watch it from now on."""
        child = self._spawn(service)
        self._running.append(_Running(service, child))
        return child

    def await_ready(
        self,
        service: Service,
        ready: Callable[[], bool],
        stop: StopSignals,
        fetched: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wait until a started service is ready, or a signal comes.

        Raises SupervisorError where it ends instead, or takes longer than KAFKA_TIMEOUT from when
        it is ``fetched`` on: how long a download takes is the line's affair.
        """
        child = next(running.child for running in self._running if running.service == service)
        deadline = time.monotonic() + KAFKA_TIMEOUT
        is_fetched = False
        while not ready():
            if not is_fetched:
                is_fetched = fetched()
                deadline = time.monotonic() + KAFKA_TIMEOUT
            if not child.running:
                raise _failure(service, child)
            if time.monotonic() > deadline:
                raise SupervisorError(
                    f"{service.name} is not ready after {KAFKA_TIMEOUT:.0f} s: {_last_words(child)}"
                )
            if stop.wait(TICK):
                return

    def tend(self) -> None:
        """Start again what has ended; to be called all the time.

        Raises SettingsError where a process has ended because its settings are wrong.
        """
        for running in self._running:
            self._tend(running)

    def _tend(self, running: _Running) -> None:
        now = time.monotonic()
        name, child = running.service.name, running.child
        if running.start_at is None:
            if child.running:
                self._tend_health(running)
                return
            if child.returncode == SettingsError.exit_code:
                raise SettingsError(f"{name} cannot use the settings: {_last_words(child)}")
            if now - running.started_at > STEADY_AFTER:
                running.delay = FIRST_DELAY
            delay, running.delay = running.delay, min(LAST_DELAY, 2 * running.delay)
            running.start_at = now + delay
            LOG.warning(
                "%s ended with exit code %s; it is started again in %.1f s. %s",
                name,
                child.returncode,
                delay,
                _last_words(child),
            )
        elif now >= running.start_at:
            try:
                child.spawn()
            except OSError as error:  # no memory or too many processes, for now
                running.start_at = now + LAST_DELAY
                LOG.warning("%s cannot be started, again in %.0f s: %s", name, LAST_DELAY, error)
                return
            running.start_at = None
            running.started_at = running.healthy_at = running.asked_at = now
            LOG.info("%s runs again as process %d", name, child.pid)

    def _tend_health(self, running: _Running) -> None:
        url, now = running.service.health_url, time.monotonic()
        if url is None or now - running.asked_at < HEALTH_INTERVAL:
            return
        said = _health(url)
        running.asked_at = time.monotonic()
        if said is None:
            running.healthy_at = running.asked_at
        elif now - running.healthy_at > UNHEALTHY_AFTER:
            LOG.warning("%s is not healthy, it is killed: %s", running.service.name, said)
            running.child.kill()

    def stop(self) -> None:
        """End everything: first what others do not need, then the rest.

        What has not ended after STOP_TIMEOUT seconds is killed.
        """
        for last in (False, True):
            _stop_together([r.child for r in self._running if r.service.ends_last is last])
        self._running.clear()

    def _spawn(self, service: Service) -> Child:
        log = self._log_dir / f"{service.name}.log" if self._log_dir is not None else None
        child = Child([*self._vimfed, *service.arguments], log=log)
        child.spawn()
        LOG.info("%s runs as process %d", service.name, child.pid)
        return child


def direct_opener(context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    """Return what asks our own processes, past any proxy that the environment names."""
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )


_ask_own = direct_opener(_OWN).open


def _health(url: str) -> str | None:
    """Return None where ``url`` answers 200 in time, else what it says instead."""
    try:
        with _ask_own(url, timeout=HEALTH_TIMEOUT):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return error.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def _failure(service: Service, child: Child) -> SupervisorError:
    words = _told(child)
    if not words:
        words = f"{service.name} ended with exit code {child.returncode}, {_where(child)}"
    return SupervisorError(words)


def _last_words(child: Child) -> str:
    """Return the last line of a child's log, or where to look for one."""
    return _told(child) or _where(child)


def _told(child: Child) -> str:
    return child.last_log_line().removeprefix("vimfed: ")


def _where(child: Child) -> str:
    """Return where a child has told why it ended; one without a log did so on our own output."""
    return SEE_ABOVE if child.log is None else f"see {child.log}"


def _stop_together(children: Sequence[Child]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for child in children:
        if not child.wait(max(0.0, deadline - time.monotonic())):
            LOG.warning("killing process %d, which has not ended in time", child.pid)
            child.kill()


def refuse_taken_ports(settings: Settings, workers: int) -> None:
    """Refuse ports on which one of the job's processes could not listen.

    Raises PortInUseError where something else listens there, SettingsError where one is claimed
    twice, or is none.
    """
    claimed: dict[int, str] = {}
    for port, who, setting in _ports(settings, workers):
        if port > LAST_PORT:
            raise SettingsError(
                f"{who} would listen on port {port}, and {LAST_PORT} is the last: set a lower "
                f"{setting}"
            )
        if port in claimed:
            raise SettingsError(
                f"{who} and {claimed[port]} would both listen on port {port}: set another {setting}"
            )
        refuse_port_in_use(port, who, setting)
        if port:  # 0 is any free one
            claimed[port] = who


def _ports(settings: Settings, workers: int) -> Iterator[tuple[int, str, str]]:
    """Yield (port, who listens there, the setting that names it) of the job's processes."""
    if settings.kafka.local:
        broker = local_kafka_of(settings)
        yield broker.port, "Kafka", "kafka.bootstrap"
        yield broker.controller_port, "Kafka's controller", "kafka.bootstrap"
    yield settings.bridge.port, "the bridge", "bridge.port"
    for number in range(workers):
        yield settings.web.port + number, "a worker", "web.port"
        if settings.web.monitoring_port:
            yield settings.web.monitoring_port + number, "a worker", "web.monitoring_port"
    for output in settings.outputs():
        yield settings.publisher_port(output), "a publisher", "dmaap.port"
    if settings.gateway.enabled:
        yield settings.gateway.port, "the gateway", "gateway.port"
        if settings.gateway.monitoring_port:
            yield settings.gateway.monitoring_port, "the gateway", "gateway.monitoring_port"


def start_kafka(settings: Settings, supervisor: Supervisor, stop: StopSignals) -> None:
    """Start a local Kafka if the settings want one, and wait until it answers, or for a signal.

    Raises OperatorError where it cannot start.
    """
    if settings.kafka.local:
        supervisor.start(KAFKA)
        bootstrap = settings.kafka.bootstrap
        supervisor.await_ready(KAFKA, lambda: answers(bootstrap), stop, is_fetched)


def run(settings: Settings, config: Path, workers: int) -> int:
    """Run the job until SIGTERM or SIGINT; return the exit code. Raises OperatorError."""
    stop = StopSignals()
    supervisor = Supervisor(vimfed_command(config))
    refuse_taken_ports(settings, workers)
    try:
        start_kafka(settings, supervisor, stop)
        for service in services_of(settings, workers):
            if not stop.received:
                supervisor.start(service)
        while not stop.wait(TICK):
            supervisor.tend()
    finally:
        supervisor.stop()
    return 0
