"""The command line's own part: which commands there are, and what it makes of their options."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import bridge.service
import streams.publisher.service
import vimfed.cli
import web.service
from tests.support.paths import PROJECT
from vimfed.cli import demo, main
from vimfed.local.stop_signals import StopSignals
from vimfed.process.ports import free_ports
from vimfed.settings import DmaapOutput, Settings, load_settings

OUTPUTS = """
[[dmaap.outputs]]
name = "one"
url = "kafka://a:1/topic"
[[dmaap.outputs]]
name = "two"
url = "kafka://b:2/topic"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vimfed.cli, "configure_logging", lambda *_: None)  # pytest has its own
    monkeypatch.setattr(vimfed.cli, "keep_files_private", lambda _: None)  # of pytest's umask
    path = tmp_path / "vimfed.toml"
    path.write_text('[kafka]\nbootstrap = "a:1"\n')
    return path


def invoke(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *arguments])


def test_the_help_names_every_command_in_one_line_each() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    commands = shown.partition("Commands:\n")[2].splitlines()
    names = {line.split()[0] for line in commands}
    assert names >= {"bridge", "check", "events", "kafka", "publisher", "run", "status", "worker"}
    assert not [line for line in commands if line.endswith("...")]


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == "vimfed, version 0.1.0\n"


def test_without_a_settings_file_one_line_says_what_to_do(tmp_path: Path) -> None:
    result = invoke(tmp_path / "none.toml", "worker")
    assert result.exit_code == 2
    assert result.stderr.startswith("vimfed: no settings file ")
    assert result.stderr.count("\n") == 1


def test_the_environment_names_the_settings_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("[web]\nprot = 1\n")
    monkeypatch.setenv("VIMFED_CONFIG", str(config))
    result = CliRunner().invoke(main, ["worker"])
    assert result.stderr == "vimfed: unknown key web.prot: did you mean web.port?\n"


@pytest.mark.parametrize(("option", "port"), [([], 6066), (["--port", "7000"], 7000)])
def test_a_worker_serves_the_settings_port_or_the_options(
    config: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], port: int
) -> None:
    served: list[int] = []
    monkeypatch.setattr(web.service, "run", lambda now, _reload: served.append(now.web.port))
    invoke(config, "worker", *option)
    assert served == [port]


def test_a_worker_takes_any_free_port_for_0(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []
    monkeypatch.setattr(web.service, "run", lambda now, _reload: served.append(now.web.port))
    invoke(config, "worker", "--port", "0")
    assert served[0] > 1024


def test_the_exit_code_is_the_processs_own(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.service, "run", lambda *_: 3)
    assert invoke(config, "worker").exit_code == 3


def test_the_bridge_can_read_its_settings_again(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def run(settings: Settings, reload: object) -> int:
        config.write_text('[kafka]\nbootstrap = "b:2"\n')
        assert callable(reload)
        seen.extend([settings, reload()])
        return 0

    monkeypatch.setattr(bridge.service, "run", run)
    assert invoke(config, "bridge").exit_code == 0
    assert [settings.kafka.bootstrap for settings in seen] == ["a:1", "b:2"]


def test_a_publisher_is_told_its_output_by_name(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(OUTPUTS)
    published: list[str] = []

    def run(_settings: Settings, output: DmaapOutput, _port: int | None) -> int:
        published.append(output.name)
        return 0

    monkeypatch.setattr(streams.publisher.service, "run", run)
    assert invoke(config, "publisher", "--output", "two").exit_code == 0
    assert published == ["two"]
    for arguments, wrong in (
        (["publisher"], "name an output with --output"),
        (["publisher", "--output", "three"], "no output is called 'three'"),
        (["output", "pause", "three"], "no output is called 'three'"),
    ):
        refused = invoke(config, *arguments)
        assert refused.exit_code == 2
        assert refused.stderr == f"vimfed: {wrong}: dmaap.outputs has one, two\n"


def test_a_local_kafka_is_refused_where_the_settings_want_another(config: Path) -> None:
    result = invoke(config, "kafka")
    assert result.exit_code == 2
    assert "a local Kafka listens on loopback only" in result.stderr
    config.write_text('[kafka]\nsecurity_protocol = "SSL"\n')
    assert "a local Kafka knows neither TLS nor SASL" in invoke(config, "kafka").stderr


NO_CERTIFICATES = """
[kafka]
bootstrap = "127.0.0.1:1"
security_protocol = "SSL"
ca_file = "/none/kafka.pem"
[[dmaap.outputs]]
url = "https://127.0.0.1:1/events/topic"
cert_file = "/none/router.pem"
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Rabbit"
[vims.rabbit]
transport_urls = ["rabbit://vimfed:secret@127.0.0.1:1/"]
tls = true
ca_file = "/none/rabbit.pem"
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Pushed"
[[vims]]
cloud_owner = "Owner"
cloud_region_id = "Kafka"
[vims.kafka]
bootstrap = "127.0.0.1:1"
security_protocol = "SASL_PLAINTEXT"
username = "vimfed"
password = "secret"
"""


def test_check_names_the_certificate_that_is_missing_and_tries_no_cloud_without_a_listener(
    config: Path,
) -> None:
    config.write_text(NO_CERTIFICATES)
    result = invoke(config, "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "kafka: cannot use ca_file /none/kafka.pem: No such file or directory",
        "state_dir: ok",
        "output dmaap: cannot use cert_file /none/router.pem with key_file /none/router.pem: "
        "No such file or directory",
        "cloud Owner_Rabbit: cannot use ca_file /none/rabbit.pem: No such file or directory",
        "cloud Owner_Kafka: no broker answers at 127.0.0.1:1 over SASL_PLAINTEXT, or it refuses "
        "certificate, user or password",
    ]
    events = invoke(config, "events")
    assert events.stderr == (
        "vimfed: cannot use ca_file /none/kafka.pem: No such file or directory\n"
    )
    assert events.exit_code == 2


@pytest.mark.parametrize(
    "settings",
    [
        '[filter]\nkinds = ["DELTE"]\n',
        '[worker]\naction_ends = ["DELTE"]\n',
        '[worker]\naction_failures = ["DELTE"]\n',
    ],
)
def test_check_refuses_kinds_that_nobody_tells(config: Path, settings: str) -> None:
    config.write_text(settings)
    result = invoke(config, "check")
    assert result.exit_code == 2
    assert "'DELTE' is none of " in result.stderr


@pytest.mark.parametrize("cloud", ["", '[[vims]]\ncloud_owner = "a"\ncloud_region_id = "b"\n'])
def test_the_demo_needs_a_cloud(config: Path, cloud: str) -> None:
    config.write_text(cloud)
    result = invoke(config, "demo")
    assert result.exit_code == 2
    assert result.stderr.startswith("vimfed: the demo needs a cloud: keep a [[vims]] section")


@pytest.mark.parametrize("command", ["demo", "worker", "publisher"])
def test_a_process_says_where_it_cannot_write(config: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    state_dir = tmp_path / "file" / "state"
    bridge, web, dmaap = free_ports(3)
    config.write_text(
        f'state_dir = "{state_dir}"\n[bridge]\nport = {bridge}\n[web]\nport = {web}\n'
        f'[dmaap]\nport = {dmaap}\n[[vims]]\ncloud_owner = "a"\ncloud_region_id = "b"\n'
        '[vims.kafka]\nbootstrap = "127.0.0.1:1"\n'
    )
    result = invoke(config, command)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"vimfed: state_dir: cannot make {state_dir}")
    assert result.stderr.endswith(": Not a directory\n")


@pytest.mark.parametrize("shape", ["cloudevents", "ves"])
def test_the_demo_shows_no_events_of_another_format(
    config: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    config.write_text(
        f'[[dmaap.outputs]]\nurl = "kafka://127.0.0.1:1/topic"\nformat = "{shape}"\n[[vims]]\n'
        'cloud_owner = "a"\ncloud_region_id = "b"\n[vims.kafka]\nbootstrap = "127.0.0.1:1"\n'
    )
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    shown = io.StringIO()
    story = demo._Story(load_settings(config), Console(file=shown), StopSignals())
    story._show_events()
    assert shown.getvalue() == ""


def test_bash_completes_commands_options_clouds_and_kinds(config: Path, tmp_path: Path) -> None:
    config.write_text('[[vims]]\ncloud_owner = "Owner"\ncloud_region_id = "One"\n')
    starter = tmp_path / "vimfed"
    starter.write_text(
        f'#!{sys.executable}\nimport sys\nsys.argv[0] = "vimfed"\n'
        "from vimfed.cli import main\nmain()\n"
    )
    starter.chmod(0o755)
    script = """
        eval "$(vimfed completion bash)"
        complete_words() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _vimfed_completion vimfed
            echo "${COMPREPLY[*]}"
        }
        complete_words vimfed stat
        complete_words vimfed events --fol
        complete_words vimfed status ""
        complete_words vimfed events --kind power
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "VIMFED_CONFIG": str(config),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["status", "--follow", "Owner_One", "POWER_OFF POWER_ON"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_completion_script(shell: str) -> None:
    shown = CliRunner().invoke(main, ["completion", shell])
    assert shown.exit_code == 0
    assert "_VIMFED_COMPLETE" in shown.stdout


def test_oslo_messaging_starts_without_a_resolver_that_only_patched_processes_use(
    tmp_path: Path,
) -> None:
    (tmp_path / "vimfed.toml").write_text('[kafka]\nbootstrap = "a:1"\n')
    script = (
        "import sys; from vimfed.cli import main\n"
        "main(['--config', 'vimfed.toml', 'settings-reference'], standalone_mode=False)\n"
        "import bridge.rabbit.listener; from eventlet import patcher\n"
        "assert not any(map(patcher.is_monkey_patched, ('os', 'select', 'socket', 'thread')))\n"
        "assert 'eventlet' in sys.modules and 'dns' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k != "EVENTLET_NO_GREENDNS"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
