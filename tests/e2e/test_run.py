"""`vimfed run` and `vimfed demo` as a user starts them: everything of their own, Kafka too."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.paths import PROJECT
from tests.support.waiting import eventually, has_ended
from vimfed.local.kafka import answers
from vimfed.process.ports import free_ports


class Vimfed:
    """The sample settings with ports and a state folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.web_port, self.bridge_port, self.publisher_port = free_ports(3)
        self.bootstrap = f"127.0.0.1:{_two_free_ports_in_a_row()}"
        self.environment = {
            **os.environ,
            "VIMFED_CONFIG": str(PROJECT / "vimfed.toml"),
            "VIMFED_STATE_DIR": str(folder / "state"),
            "VIMFED_KAFKA__BOOTSTRAP": self.bootstrap,
            "VIMFED_WEB__PORT": str(self.web_port),
            "VIMFED_BRIDGE__PORT": str(self.bridge_port),
            "VIMFED_DMAAP__PORT": str(self.publisher_port),
            "VIMFED_VIMS__CLOUDOWNER_REGIONONE__KAFKA__BOOTSTRAP": self.bootstrap,
        }
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``vimfed`` in the background, its output in ``output``."""
        with self.output_file.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "vimfed", *arguments],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                umask=0o022,
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``vimfed`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "vimfed", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def output_file(self) -> Path:
        return self.folder / "output"

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/readyz", timeout=5):
                return True
        except OSError:
            return False


def _two_free_ports_in_a_row() -> int:
    while True:
        (port,) = free_ports(1)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture
def vimfed(tmp_path: Path) -> Iterator[Vimfed]:
    vimfed = Vimfed(tmp_path)
    yield vimfed
    for process in vimfed.started:
        process.kill()
        process.wait()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return all(has_ended(process) for process in processes)


def child_that_runs(process: subprocess.Popen[str], command: str) -> psutil.Process:
    (child,) = [p for p in descendants(process) if p.cmdline()[-1:] == [command]]
    return child


def running(process: subprocess.Popen[str], output: Callable[[], str], text: str) -> bool:
    """Return whether the output has the text; fail if the process ends before it has."""
    assert process.poll() is None, output()
    return text in output()


def test_the_demo_shows_every_server_as_nova_says_and_goes_on_from_there(vimfed: Vimfed) -> None:
    first = vimfed.start("demo")
    eventually(lambda: running(first, lambda: vimfed.output, "Ctrl-C stops everything"), 120)
    assert "60 of 60 servers are in the state that nova says" in vimfed.output
    event = r"^ +\d\d:\d\d:\S+ +[A-Z_]+ +(?:start|end|error) +\S+"
    assert len(re.findall(event, vimfed.output, re.MULTILINE)) == 10
    assert f"curl -s -X POST http://127.0.0.1:{vimfed.web_port}/api/multicloud" in vimfed.output
    curl = next(line for line in vimfed.output.splitlines() if "curl -s" in line)
    *_, url, _, body = shlex.split(curl)
    with urllib.request.urlopen(url, body.encode(), timeout=10) as response:
        answer = json.load(response)
    assert answer["count"] == 7
    state = vimfed.folder / "state"
    read_by_others = [each for each in state.rglob("*") if each.stat().st_mode & 0o077]
    assert (read_by_others, state.stat().st_mode & 0o777) == ([], 0o700)
    assert {each.name for each in state.iterdir()} >= {"kafka", "logs"}
    processes = descendants(first)
    assert len(processes) == 5
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 0
    assert gone(processes)

    second = vimfed.start("demo")
    eventually(lambda: running(second, lambda: vimfed.output, "Ctrl-C stops everything"), 60)
    assert "All 6681 notifications were replayed by an earlier run" in vimfed.output
    assert "60 of 60 servers are in the state that nova says" in vimfed.output
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0


def test_run_starts_a_killed_worker_again_and_leaves_nothing_behind(vimfed: Vimfed) -> None:
    supervisor = vimfed.start("run")
    eventually(
        lambda: running(supervisor, lambda: vimfed.output, "worker runs as") and vimfed.ready(), 60
    )
    worker = child_that_runs(supervisor, "worker")
    worker.kill()
    eventually(lambda: "worker ended with exit code -9; it is started again" in vimfed.output)
    eventually(vimfed.ready, 60)
    assert child_that_runs(supervisor, "worker").pid != worker.pid

    processes = descendants(supervisor)
    supervisor.kill()
    eventually(lambda: gone(processes))
    assert not answers(vimfed.bootstrap)


def test_a_port_in_use_is_one_line_that_says_what_to_do(vimfed: Vimfed) -> None:
    with socket.create_server(("127.0.0.1", int(vimfed.bootstrap.rpartition(":")[2]))):
        ended = vimfed.run("demo")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert re.match(
        rf"vimfed: Kafka cannot listen on {vimfed.bootstrap} \(Address already in use\): "
        r"end what listens there \(.*\), or set another kafka\.bootstrap\n",
        ended.stderr,
    )


def test_a_taken_http_port_is_one_line_that_says_what_to_do(vimfed: Vimfed) -> None:
    with socket.create_server(("127.0.0.1", vimfed.web_port)):
        ended = vimfed.run("demo")
    assert ended.returncode == 1
    assert f"vimfed: a worker cannot listen on 127.0.0.1:{vimfed.web_port} " in ended.stderr
    assert "set another web.port" in ended.stderr
    assert "Starting" not in ended.stdout


def test_without_java_the_demo_says_what_to_install(vimfed: Vimfed, tmp_path: Path) -> None:
    vimfed.environment["PATH"] = str(tmp_path)
    ended = vimfed.run("demo")
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "vimfed: Kafka needs Java 17 or newer and there is none: install"
    )


def test_wrong_settings_are_one_line_and_exit_code_2(vimfed: Vimfed) -> None:
    vimfed.environment["VIMFED_WEB__PROT"] = "1"
    ended = vimfed.run("run")
    assert ended.returncode == 2
    assert ended.stderr == (
        "vimfed: environment variable VIMFED_WEB__PROT: unknown key web.prot: "
        "did you mean web.port?\n"
    )


def test_check_tells_each_connection(vimfed: Vimfed) -> None:
    kafka = vimfed.start("kafka")
    eventually(lambda: running(kafka, lambda: vimfed.output, "Kafka is ready on"), 60)
    good = vimfed.run("check")
    assert good.returncode == 0
    fine = "kafka: ok\nstate_dir: ok\noutput dmaap: ok\n"
    nothing_yet, cloud = good.stdout.removeprefix(fine).splitlines()
    assert nothing_yet.startswith(
        "cloud CloudOwner_RegionOne: warning: there is none of the topics "
    )
    assert cloud == "cloud CloudOwner_RegionOne: ok"
    (nobody,) = free_ports(1)
    cloud = "VIMFED_VIMS__CLOUDOWNER_REGIONONE__RABBIT__TRANSPORT_URLS"
    vimfed.environment[cloud] = f"rabbit://guest:secret@127.0.0.1:{nobody}/"
    bad = vimfed.run("check")
    assert bad.returncode == 1
    assert bad.stdout.startswith(f"{fine}cloud CloudOwner_RegionOne: ")
    assert "Connection refused" in bad.stdout
    assert "secret" not in bad.stdout + bad.stderr
    kafka.send_signal(signal.SIGTERM)
    assert kafka.wait(30) == 0
    without = vimfed.run("check")
    assert without.returncode == 1
    assert without.stdout.startswith(f"kafka: no broker answers at {vimfed.bootstrap}\nstate_dir")
