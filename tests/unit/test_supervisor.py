"""The supervisor, with real processes that are not the job's."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import eventually
from vimfed.cli import supervisor as supervisor_module
from vimfed.cli.stop_signals import StopSignals
from vimfed.cli.supervisor import KAFKA, Service, Supervisor, SupervisorError, services_of
from vimfed.settings import DmaapOutput, DmaapSettings, Settings, SettingsError

SHELL = ("sh", "-c")
STEADY = Service("steady", ("echo up; exec sleep 60",))


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr(supervisor_module, "STOP_TIMEOUT", 1.0)
    monkeypatch.setattr(supervisor_module, "FIRST_DELAY", 0.1)
    return Supervisor(SHELL, tmp_path)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> StopSignals:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return StopSignals()


def test_the_job_is_a_bridge_a_worker_and_a_publisher() -> None:
    assert services_of(Settings()) == [
        Service("bridge", ("bridge",)),
        Service("worker", ("worker",)),
        Service("publisher", ("publisher",)),
    ]


def test_more_workers_serve_the_ports_above_the_first() -> None:
    workers = [each for each in services_of(Settings(), 3) if each.arguments[0] == "worker"]
    assert workers == [
        Service("worker", ("worker",)),
        Service("worker-1", ("worker", "--port", "6067")),
        Service("worker-2", ("worker", "--port", "6068")),
    ]


def test_each_of_several_outputs_has_a_publisher() -> None:
    outputs = [DmaapOutput(name=name, url="kafka://a:1/topic") for name in ("one", "two")]
    services = services_of(Settings(dmaap=DmaapSettings(outputs=outputs)))
    assert services[-2:] == [
        Service("publisher-one", ("publisher", "--output", "one")),
        Service("publisher-two", ("publisher", "--output", "two")),
    ]


def test_what_ends_is_started_again_after_a_growing_pause(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    child = supervisor.start(Service("weak", ("echo gone; exit 3",)))
    with caplog.at_level("INFO"):
        while caplog.text.count("runs again") < 2:
            supervisor.tend()
    child.wait(10)
    pauses = re.findall(r"weak ended with exit code 3; .* again in (\S+) s\. gone", caplog.text)
    assert pauses == ["0.1", "0.2"]
    supervisor.stop()


def test_what_is_killed_is_started_again(supervisor: Supervisor) -> None:
    child = supervisor.start(STEADY)
    supervisor.tend()
    before = child.pid
    child.kill()
    while not child.running:
        supervisor.tend()
    assert child.pid != before
    supervisor.stop()
    assert not child.running


def test_wrong_settings_end_everything_instead_of_a_restart(supervisor: Supervisor) -> None:
    child = supervisor.start(Service("bridge", ("echo unknown key; exit 2",)))
    child.wait(10)
    with pytest.raises(SettingsError, match="bridge cannot use the settings: unknown key"):
        supervisor.tend()
    supervisor.stop()


def test_kafka_ends_after_those_that_need_it(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    trap = f"trap 'echo $NAME >>{order}; exit' TERM; echo up; while :; do sleep 0.05; done"
    children = [
        supervisor.start(Service("kafka", (f"NAME=kafka; {trap}",), ends_last=KAFKA.ends_last)),
        supervisor.start(Service("worker", (f"NAME=worker; sleep 0.2; {trap}",))),
    ]
    eventually(lambda: all(child.last_log_line() == "up" for child in children))
    supervisor.stop()
    assert order.read_text().split() == ["worker", "kafka"]


def test_what_does_not_heed_is_killed_within_the_bound(supervisor: Supervisor) -> None:
    deaf = Service("deaf", ("trap '' TERM; echo up; while :; do sleep 0.1; done",))
    child = supervisor.start(deaf)
    eventually(lambda: child.last_log_line() == "up")
    supervisor.stop()
    assert child.returncode == -signal.SIGKILL


def test_a_service_that_ends_before_it_is_ready_is_named_with_its_last_words(
    supervisor: Supervisor, stop: StopSignals
) -> None:
    service = Service("kafka", ("echo 'vimfed: Kafka needs Java'; exit 1",))
    supervisor.start(service)
    with pytest.raises(SupervisorError, match=r"^Kafka needs Java$"):
        supervisor.await_ready(service, lambda: False, stop)
    supervisor.stop()


def test_a_service_that_never_is_ready_is_given_up(
    supervisor: Supervisor, stop: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "KAFKA_TIMEOUT", 0.5)
    supervisor.start(STEADY)
    with pytest.raises(SupervisorError, match="steady is not ready after 0 s: up"):
        supervisor.await_ready(STEADY, lambda: False, stop)
    supervisor.stop()


def test_a_signal_ends_the_wait_for_readiness(supervisor: Supervisor, stop: StopSignals) -> None:
    supervisor.start(STEADY)
    stop.received = True
    supervisor.await_ready(STEADY, lambda: False, stop)
    supervisor.stop()


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; "
        "from vimfed.cli.supervisor import Service, Supervisor; "
        "supervisor = Supervisor(['sleep'], Path(sys.argv[1])); "
        "children = [supervisor.start(Service(name, ('60',))) for name in 'ab']; "
        "print(*[child.pid for child in children], flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        eventually(lambda: all(child.name() == "sleep" for child in children))
        parent.kill()
    eventually(
        lambda: all(
            not child.is_running() or child.status() == psutil.STATUS_ZOMBIE for child in children
        )
    )
