"""The containers' health, limits, volumes and build, as docker-compose.yml and deploy/ say them.

What the engine makes of it, `make containers` says.
"""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.paths import PROJECT
from tests.support.waiting import eventually
from vimfed.local.supervisor import services_of
from vimfed.process.ports import free_ports
from vimfed.settings import GatewaySettings, Settings, load_settings

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text()
OURS = [each.name for each in services_of(Settings(gateway=GatewaySettings(enabled=True)))]
HEALTHCHECK = PROJECT / "deploy" / "image" / "healthcheck.py"
IN_OWN_FOLDER = PROJECT / "deploy" / "image" / "in-own-folder"
PROXIES = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
"""As the client's settings put them into every container: nothing answers there."""


@pytest.fixture
def healthcheck() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("healthcheck", HEALTHCHECK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Asked(ThreadingHTTPServer):
    """A process of ours: what it answers by path, and which paths it was asked for."""

    def __init__(self) -> None:
        self.answers = {"/readyz": 200, "/healthz": 200}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answering)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Asked)
        self.server.asked.append(self.path)
        self.send_response(self.server.answers[self.path])
        self.end_headers()
        self.wfile.write(f"of {self.path}".encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def process() -> Iterator[Asked]:
    """A process of ours that is healthy."""
    with Asked() as server:
        yield server
        server.shutdown()


def checked(port: int, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the health check as a container does, its notes in ``tmp_path``."""
    script = tmp_path / "healthcheck"
    script.write_text(HEALTHCHECK.read_text().replace("/tmp/healthcheck", f"{tmp_path}/notes"))
    command = ["python3", "-I", "-S", str(script), str(port)]
    environment = {**os.environ, **PROXIES}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_process_that_works_is_healthy_behind_a_proxy_too(process: Asked, tmp_path: Path) -> None:
    done = checked(process.server_port, tmp_path)
    assert (done.returncode, done.stdout, process.asked) == (0, "of /readyz\n", ["/readyz"])


def test_what_does_not_work_is_unhealthy_and_says_why(process: Asked, tmp_path: Path) -> None:
    process.answers["/readyz"] = 503
    done = checked(process.server_port, tmp_path)
    assert (done.returncode, done.stdout) == (1, "of /readyz\n")


def test_what_does_not_answer_is_unhealthy_and_says_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = checked(port, tmp_path)
    assert (done.returncode, "Connection refused" in done.stdout) == (1, True), done.stderr


def test_a_process_is_ended_that_no_longer_answers_and_none_that_only_waits(
    healthcheck: ModuleType, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    starting = [healthcheck.is_to_be_ended(False, notes) for _ in range(healthcheck.START_CHECKS)]
    assert starting == [False] * (healthcheck.START_CHECKS - 1) + [True]
    assert not any(healthcheck.is_to_be_ended(True, notes) for _ in range(100))
    for _ in range(2):
        hanging = [healthcheck.is_to_be_ended(False, notes) for _ in range(healthcheck.CHECKS)]
        assert hanging == [False] * (healthcheck.CHECKS - 1) + [True]
        assert not healthcheck.is_to_be_ended(True, notes)


def test_a_frozen_process_is_ended_by_its_health_check(
    healthcheck: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine restarts then. Here the process's parent is not 1, so that is given."""
    (port,) = free_ports(1)
    with subprocess.Popen(["sleep", "60"]) as frozen:
        frozen.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(healthcheck, "children_of_init", lambda: [frozen.pid])
        monkeypatch.setattr(healthcheck, "is_to_be_ended", lambda _alive: True)
        monkeypatch.setattr("sys.argv", ["healthcheck", str(port)])
        assert healthcheck.main() == 1
        assert frozen.wait(5) == -signal.SIGKILL


def test_a_health_check_knows_the_children_of_process_1(
    healthcheck: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for process, parent, name in ((1, 0, "init"), (7, 1, "vimfed) 0 (x"), (8, 7, "p"), (9, 0, "p")):
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "stat").write_text(f"{process} ({name}) S {parent} 1 1")
    monkeypatch.setattr(healthcheck, "PROCESSES", tmp_path)
    assert healthcheck.children_of_init() == [7]


def test_every_container_that_stays_has_a_health_check() -> None:
    without = {
        name
        for name, service in SERVICES.items()
        if service["healthcheck"].get("disable") or not service["healthcheck"]["test"]
    }
    assert without == {name for name, each in SERVICES.items() if each["restart"] == "no"}
    assert without == {"login"}


def test_the_proxy_is_healthy_once_a_worker_answers_through_it() -> None:
    test = SERVICES["proxy"]["healthcheck"]["test"]
    assert test[-1] == "http://127.0.0.1:6066/readyz"
    assert test[2:4] == ["-Y", "off"], "else wget asks the client's proxy"


def test_no_check_of_a_broker_starts_a_java_or_erlang_each_time() -> None:
    kafka = SERVICES["kafka"]["healthcheck"]["test"]
    assert ".sh" not in str(kafka)
    (rabbitmq,) = [word for word in SERVICES["rabbitmq"]["healthcheck"]["test"] if "tcp" in word]
    before, _, _ = rabbitmq.partition("rabbitmq-diagnostics")
    assert "test -e /tmp/answered ||" in before
    assert "/tmp" in SERVICES["rabbitmq"]["tmpfs"], "else a restarted one counts as answering"


def test_kafka_may_run_the_native_code_of_its_compression() -> None:
    """It unpacks that into /tmp; where it may not be run, each compressed batch is refused."""
    assert "/tmp:exec" in SERVICES["kafka"]["tmpfs"]


def kafka_check(port: int) -> int:
    """Run Kafka's health check against a port of this machine; return the exit code."""
    (script,) = [word for word in SERVICES["kafka"]["healthcheck"]["test"] if "tcp" in word]
    script = script.replace("/9092", f"/{port}").replace("$$", "$")
    return subprocess.run(
        ["timeout", "1", "bash", "-c", script], check=False, stderr=subprocess.DEVNULL
    ).returncode


def test_a_port_behind_which_nobody_answers_is_no_kafka() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert kafka_check(silent.getsockname()[1]) != 0
    (port,) = free_ports(1)
    assert kafka_check(port) != 0


def test_rabbitmq_that_refuses_transient_queues_is_enough() -> None:
    environment = SERVICES["bridge"]["environment"]
    (vim,) = load_settings(PROJECT / "vimfed.toml", environment).vims
    assert (vim.rabbit.durable_queues, vim.rabbit.durable_exchange) == (True, True)
    assert "/?amqp_durable_queues=true" in (PROJECT / "docker-compose.yml").read_text()


def test_a_rabbitmq_that_hangs_is_noticed_within_half_a_minute() -> None:
    (vim,) = load_settings(PROJECT / "vimfed.toml", SERVICES["bridge"]["environment"]).vims
    assert vim.rabbit.heartbeat * 2 <= 30


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_can_take_all_of_the_machine(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] <= 512
    assert service["logging"]["driver"] == "json-file"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_leaves_a_volume_without_a_name(name: str) -> None:
    """The images' own VOLUMEs become anonymous volumes, unless something is mounted there."""
    volumes_of_images = {
        "${JOB_IMAGE": ["/var/lib/vimfed"],
        "apache/kafka": ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"],
        "rabbitmq": ["/var/lib/rabbitmq"],
        "haproxy": [],
        "prom/prometheus": ["/prometheus"],
        "grafana/grafana": [],
    }
    service = SERVICES[name]
    mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
    mounted |= {each.split(":")[0] for each in service.get("tmpfs", [])}
    assert set(volumes_of_images[service["image"].split(":")[0]]) <= mounted
    named = {volume.split(":")[0] for volume in service.get("volumes", []) if volume[0] != "."}
    assert named <= COMPOSE["volumes"].keys()


def test_every_port_of_this_machine_can_be_chosen() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) >= 3
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{PUBLISHED_\w+_PORT:-(\d+)\}:\1", port), port


def test_the_image_is_built_once() -> None:
    assert [name for name, each in SERVICES.items() if "build" in each] == ["login"]
    assert {SERVICES[name]["image"] for name in [*OURS, "login"]} == {"${JOB_IMAGE:-vimfed:local}"}


def test_a_build_needs_the_tools_of_the_wheel_alone() -> None:
    assert re.findall(r" -r (\S+)", DOCKERFILE) == ["$REQUIREMENTS", "build-tools.lock"]
    assert "ARG REQUIREMENTS=requirements.lock" in DOCKERFILE
    lock = (PROJECT / "deploy" / "build-tools.lock").read_text()
    pinned = re.findall(r"^([\w.-]+==\S+)", lock, re.MULTILINE)
    assert len(pinned) <= 6
    development = (PROJECT / "requirements-dev.lock").read_text()
    different = [each for each in pinned if f"\n{each} " not in f"\n{development}"]
    assert [each for each in different if not each.startswith("tomlkit")] == []


def test_a_build_takes_a_company_s_index_and_authority_as_secrets() -> None:
    assert SERVICES["login"]["build"]["secrets"] == ["pip.conf", "ca.pem"]
    (fetching,) = re.findall(
        r"^RUN (--mount.*?[^\\])\n(?=\S)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    for secret in ("pip.conf", "ca.pem"):
        assert f"--mount=type=secret,id={secret}" in fetching
        assert COMPOSE["secrets"][secret]["file"].endswith(":-/dev/null}")
    assert "PIP_CONFIG_FILE=/run/secrets/pip.conf" in DOCKERFILE
    assert "--mount=type=cache,target=/root/.cache/pip" in fetching
    assert DOCKERFILE.count("pip install") + DOCKERFILE.count("pip wheel") == 4
    assert DOCKERFILE.count("--require-hashes") == DOCKERFILE.count("--no-index") == 2


def test_the_image_says_what_it_is() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', DOCKERFILE))
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
        "version": project["version"],
        "revision": "$REVISION",
    }


def test_two_processes_never_share_a_folder_and_a_new_one_takes_what_was_left(
    tmp_path: Path,
) -> None:
    def started(number: int) -> subprocess.Popen[bytes]:
        told = tmp_path / f"told-{number}"
        script = f'echo "$VIMFED_STATE_DIR" >{told}.part; mv {told}.part {told}; exec sleep 60'
        environment = {**os.environ, "VIMFED_STATE_DIR": str(tmp_path / "state")}
        process = subprocess.Popen([IN_OWN_FOLDER, "sh", "-c", script], env=environment)
        eventually(told.exists)
        return process

    def folder(number: int) -> str:
        return Path((tmp_path / f"told-{number}").read_text().strip()).name

    running = {number: started(number) for number in range(3)}
    try:
        assert [folder(number) for number in running] == ["1", "2", "3"]
        kept = tmp_path / "state" / "2" / "table"
        kept.write_text("rows")
        running[1].kill()
        running[1].wait()
        running[3] = started(3)
        assert folder(3) == "2"
        assert kept.read_text() == "rows"
        assert {path.stat().st_mode & 0o77 for path in (tmp_path / "state").rglob("lock")} == {0}
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def test_prometheus_asks_every_process_where_its_metrics_are() -> None:
    config = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "containers.yml").read_text())
    asked = {
        (name, str(found["port"]))
        for job in config["scrape_configs"]
        for found in job["dns_sd_configs"]
        for name in found["names"]
        if job["job_name"] == f"vimfed-{name}"
    }
    assert asked == {(name, SERVICES[name]["healthcheck"]["test"][-1]) for name in OURS}
    assert "ports" not in SERVICES["prometheus"], "it lets everybody in"


def test_grafana_asks_for_a_login_and_shows_the_dashboard() -> None:
    grafana = SERVICES["grafana"]
    (password,) = [value for name, value in grafana["environment"].items() if "PASSWORD" in name]
    assert password == "/etc/vimfed/login/grafana/password"
    assert "/etc/vimfed/login/grafana" in SERVICES["login"]["command"]
    for volume in grafana["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (PROJECT / source).exists(), source
    provisioned = PROJECT / "deploy" / "grafana" / "provisioning"
    (provider,) = yaml.safe_load(
        (provisioned / "dashboards" / "vim-event-federation.yml").read_text()
    )["providers"]
    shown = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert str(Path(shown).parent) == provider["options"]["path"]
    assert any(volume.split(":")[1] == shown for volume in grafana["volumes"])
