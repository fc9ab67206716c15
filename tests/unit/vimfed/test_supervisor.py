"""The supervisor, with real processes that are not the job's."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.support.waiting import eventually, has_ended
from vimfed.local import supervisor as supervisor_module
from vimfed.local.child import Child
from vimfed.local.kafka import fetch_jars, is_fetched
from vimfed.local.stop_signals import StopSignals
from vimfed.local.supervisor import (
    KAFKA,
    Service,
    Supervisor,
    SupervisorError,
    refuse_taken_ports,
    services_of,
)
from vimfed.process.ports import PortInUseError, free_ports
from vimfed.settings import (
    BridgeSettings,
    DmaapOutput,
    DmaapSettings,
    GatewaySettings,
    KafkaSettings,
    Settings,
    SettingsError,
    WebAuthSettings,
    WebSettings,
)
from web.service import run as run_worker

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
        Service("bridge", ("bridge",), health_url="http://127.0.0.1:6065/healthz"),
        Service("worker", ("worker",), health_url="http://127.0.0.1:6066/healthz"),
        Service("publisher", ("publisher",), health_url="http://127.0.0.1:6070/healthz"),
    ]


def test_a_gateway_runs_beside_them_where_it_is_enabled() -> None:
    settings = Settings(gateway=GatewaySettings(enabled=True, host="0.0.0.0", port=7004))
    assert services_of(settings)[-1] == Service(
        "gateway", ("gateway",), health_url="http://127.0.0.1:7004/healthz"
    )


def test_more_workers_serve_the_ports_above_the_first() -> None:
    settings = Settings(web=WebSettings(host="0.0.0.0", port=7000))
    workers = [each for each in services_of(settings, 3) if each.arguments[0] == "worker"]
    assert [(each.name, each.arguments, each.health_url) for each in workers] == [
        ("worker", ("worker",), "http://127.0.0.1:7000/healthz"),
        ("worker-1", ("worker", "--port", "7001"), "http://127.0.0.1:7001/healthz"),
        ("worker-2", ("worker", "--port", "7002"), "http://127.0.0.1:7002/healthz"),
    ]


def test_probes_with_a_port_of_their_own_are_asked_there_over_http() -> None:
    settings = Settings(
        web=WebSettings(port=7000, monitoring_port=7100, cert_file="/tls.pem"),
        gateway=GatewaySettings(enabled=True, monitoring_port=7200, cert_file="/tls.pem"),
    )
    asked = {each.arguments: each.health_url for each in services_of(settings, 2)}
    second = ("worker", "--port", "7001", "--monitoring-port", "7101")
    assert asked["worker",] == "http://127.0.0.1:7100/healthz"
    assert asked[second] == "http://127.0.0.1:7101/healthz"
    assert asked["gateway",] == "http://127.0.0.1:7200/healthz"


def test_ports_of_probes_must_not_be_anothers() -> None:
    api, probes, bridge, dmaap, gateway_port = free_ports(5)
    settings = Settings(
        web=WebSettings(port=api, monitoring_port=probes),
        bridge=BridgeSettings(port=bridge),
        dmaap=DmaapSettings(port=dmaap),
    )
    refuse_taken_ports(settings, 1)
    with socket.create_server(("127.0.0.1", probes)):
        with pytest.raises(PortInUseError, match=r"set another web\.monitoring_port"):
            refuse_taken_ports(settings, 1)
        with pytest.raises(PortInUseError, match=r"set another web\.monitoring_port"):
            run_worker(settings)
    gateway = GatewaySettings(enabled=True, port=gateway_port, monitoring_port=probes)
    with pytest.raises(SettingsError, match=r"the gateway and a worker would both listen"):
        refuse_taken_ports(msgspec.structs.replace(settings, gateway=gateway), 1)


def test_each_of_several_outputs_has_a_publisher() -> None:
    outputs = [DmaapOutput(name=name, url="kafka://a:1/topic") for name in ("one", "two")]
    *_, one, two = services_of(Settings(dmaap=DmaapSettings(port=7000, outputs=outputs)))
    assert (one.name, one.arguments) == ("publisher-one", ("publisher", "--output", "one"))
    assert (two.name, two.arguments) == ("publisher-two", ("publisher", "--output", "two"))
    assert two.health_url == "http://127.0.0.1:7001/healthz"


def test_a_process_whose_port_is_any_free_one_is_not_asked_for_its_health() -> None:
    settings = Settings(bridge=BridgeSettings(port=0), dmaap=DmaapSettings(port=0))
    bridge, _, publisher = services_of(settings)
    assert bridge.health_url is publisher.health_url is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("self.send_error(503, 'stuck on partition 3')", "stuck on partition 3"),
        ("time.sleep(60)", "timed out"),
        ("self.wfile.write(b'no HTTP')", "no HTTP"),
        ("self.close_connection = True", "closed connection without response"),
    ],
)
def test_what_is_not_healthy_for_long_is_killed_and_started_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: str,
    told: str,
) -> None:
    monkeypatch.setattr(supervisor_module, "HEALTH_INTERVAL", 0.2)
    monkeypatch.setattr(supervisor_module, "HEALTH_TIMEOUT", 0.2)
    monkeypatch.setattr(supervisor_module, "UNHEALTHY_AFTER", 2.0)
    monkeypatch.setattr(supervisor_module, "FIRST_DELAY", 0.1)
    (port,) = free_ports(1)
    program = (
        "import http.server, time\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        f"    def do_GET(self): {answer}\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Handler).serve_forever()"
    )
    supervisor = Supervisor([sys.executable, "-c"], tmp_path)
    url = f"http://127.0.0.1:{port}/healthz"
    child = supervisor.start(Service("ill", (program,), health_url=url))
    before = child.pid
    while child.pid == before:
        supervisor.tend()
    supervisor.stop()
    (complaint,) = [text for text in caplog.messages if "is not healthy" in text]
    assert complaint.startswith("ill is not healthy, it is killed: ")
    assert told in complaint


def test_what_is_healthy_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "HEALTH_INTERVAL", 0.1)
    monkeypatch.setattr(supervisor_module, "UNHEALTHY_AFTER", 3.0)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # is not asked
    (port,) = free_ports(1)
    supervisor = Supervisor([sys.executable, "-m", "http.server", "-b", "127.0.0.1"], tmp_path)
    url = f"http://127.0.0.1:{port}/"
    child = supervisor.start(Service("well", (str(port),), health_url=url))
    before, until = child.pid, time.monotonic() + 4.0
    while time.monotonic() < until:
        supervisor.tend()
    assert (child.pid, child.running) == (before, True)
    supervisor.stop()


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


def test_what_never_stops_ending_is_tried_without_end_at_the_longest_pause(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor_module, "LAST_DELAY", 0.001)
    monkeypatch.setattr(Child, "spawn", lambda _: None)
    monkeypatch.setattr(Child, "pid", 1)
    supervisor.start(STEADY)
    while caplog.text.count("ended with exit code") < 1100:
        supervisor.tend()
    assert caplog.messages[-1].startswith("steady ended with exit code None; it is started again")


def test_what_cannot_be_started_again_now_is_tried_later(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor_module, "LAST_DELAY", 0.1)
    child = supervisor.start(STEADY)
    child.kill()
    with monkeypatch.context() as patch:

        def spawn(_: Child) -> None:
            raise BlockingIOError("no process left")

        patch.setattr(Child, "spawn", spawn)
        while "steady cannot be started" not in caplog.text:
            supervisor.tend()
    while not child.running:
        supervisor.tend()
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


def test_a_log_without_a_line_is_named(tmp_path: Path, stop: StopSignals) -> None:
    supervisor = Supervisor(SHELL, log_dir=tmp_path)
    service = Service("bridge", ("exit 2",))
    supervisor.start(service).wait(10)
    log = re.escape(str(tmp_path / "bridge.log"))
    with pytest.raises(SupervisorError, match=f"^bridge ended with exit code 2, see {log}$"):
        supervisor.await_ready(service, lambda: False, stop)
    with pytest.raises(SettingsError, match=f"bridge cannot use the settings: see {log}$"):
        supervisor.tend()


def test_without_logs_the_last_words_stand_on_our_own_output() -> None:
    supervisor = Supervisor(SHELL)
    supervisor.start(Service("bridge", ("exit 2",))).wait(10)
    with pytest.raises(SettingsError, match="bridge cannot use the settings: see above"):
        supervisor.tend()
    supervisor.stop()


@pytest.mark.parametrize(
    ("settings", "workers", "complaint"),
    [
        (
            Settings(),
            5,
            "a publisher and a worker would both listen on port 6070: set another dmaap.port",
        ),
        (Settings(web=WebSettings(port=65535)), 2, "port 65536, and 65535 is the last: .*web.port"),
        (
            Settings(kafka=KafkaSettings(local=True, bootstrap="127.0.0.1:6064")),
            1,
            "the bridge and Kafka's controller would both listen on port 6065",
        ),
        (
            Settings(kafka=KafkaSettings(local=True, bootstrap="127.0.0.1:65535")),
            1,
            "cannot listen on port 65535 and the next one",
        ),
    ],
)
def test_ports_that_cannot_be_had_are_refused_before_anything_starts(
    settings: Settings, workers: int, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "refuse_port_in_use", lambda *_: None)
    with pytest.raises(SettingsError, match=complaint):
        refuse_taken_ports(settings, workers)


def test_somebody_elses_kafka_is_not_taken_for_the_local_one() -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as other:
        bootstrap = f"127.0.0.1:{other.getsockname()[1]}"
        settings = Settings(kafka=KafkaSettings(local=True, bootstrap=bootstrap))
        with pytest.raises(PortInUseError, match=f"Kafka cannot listen on {bootstrap}"):
            refuse_taken_ports(settings, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_worker_says_that_its_port_is_taken(host: str) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as other:
        port = other.getsockname()[1]
        auth = WebAuthSettings(allow_anonymous=True)
        with pytest.raises(
            PortInUseError, match=f"^the worker cannot listen on {host}:{port} .Add"
        ):
            run_worker(Settings(web=WebSettings(host=host, port=port, auth=auth)))


def test_a_worker_says_that_its_address_is_none_of_this_machine() -> None:
    auth = WebAuthSettings(allow_anonymous=True)
    web = WebSettings(host="192.0.2.1", port=free_ports(1)[0], auth=auth)
    with pytest.raises(PortInUseError, match=r"Cannot assign .*: set another web\.host"):
        run_worker(Settings(web=web))


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


def test_what_must_be_downloaded_first_has_its_time_from_then_on(
    supervisor: Supervisor, stop: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "KAFKA_TIMEOUT", 0.5)
    supervisor.start(STEADY)
    begun = time.monotonic()

    def is_fetched() -> bool:
        return time.monotonic() > begun + 1.0

    supervisor.await_ready(STEADY, lambda: time.monotonic() > begun + 1.2, stop, is_fetched)
    with pytest.raises(SupervisorError, match="steady is not ready after 0 s: up"):
        supervisor.await_ready(STEADY, lambda: False, stop, is_fetched)
    supervisor.stop()


def test_kafka_is_fetched_once_its_jars_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("java", "mvn"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'version \"17.0\"'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    cache = tmp_path / "cache"
    assert not is_fetched(cache)
    fetch_jars(cache)
    assert is_fetched(cache)


def test_a_signal_ends_the_wait_for_readiness(supervisor: Supervisor, stop: StopSignals) -> None:
    supervisor.start(STEADY)
    stop.received = True
    supervisor.await_ready(STEADY, lambda: False, stop)
    supervisor.stop()


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; "
        "from vimfed.local.supervisor import Service, Supervisor; "
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
    eventually(lambda: all(has_ended(child) for child in children))
