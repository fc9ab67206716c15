"""Secrets that would go over a network in the clear: refused, unless that is said to be meant."""

import logging
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

import vimfed.cli
from vimfed.cli import main
from vimfed.settings import (
    SettingsError,
    exposures,
    is_loopback,
    load_settings,
    refuse_exposed_secrets,
)

PROCESSES = ("bridge", "worker", "publisher", "gateway")
CLOUD = '[[vims]]\ncloud_owner = "A"\ncloud_region_id = "one"\n'
PLAIN = 'security_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\nusername = "u"\n'
USERS = (
    '[[web.auth.users]]\nname = "u"\npassword = "p"\n[web.auth]\npeer_secret = "0123456789abcdef"\n'
)


MEANT = "or say insecure = true there where nobody listens on the way"


class Case(NamedTuple):
    """A section that exposes a secret where HOST is another machine."""

    section: str
    """Its last table is the one that says insecure."""
    where: str
    told: str
    mend: str
    process: str


CASES = [
    Case(
        f'[kafka]\nbootstrap = "HOST:9092"\n{PLAIN}',
        "kafka",
        "SASL PLAIN without TLS sends the password in the clear",
        'set security_protocol = "SASL_SSL", or sasl_mechanism = "SCRAM-SHA-512"',
        "worker",
    ),
    Case(
        f'{USERS}[web]\nhost = "HOST"\n',
        "web",
        "users log in over plain HTTP at host = 'HOST'",
        "set cert_file",
        "worker",
    ),
    Case(
        f'{USERS}[web.auth.keystone]\nurl = "http://HOST:5000"\n',
        "web.auth.keystone",
        "users' tokens go to an http:// url",
        "use https://",
        "worker",
    ),
    Case(
        '[[gateway.users]]\nname = "u"\npassword = "p"\n[gateway]\nhost = "HOST"\n',
        "gateway",
        "users log in over plain HTTP at host = 'HOST'",
        "set cert_file",
        "gateway",
    ),
    Case(
        '[[dmaap.outputs]]\nurl = "http://HOST:3904/events/t"\nusername = "u"\npassword = "p"\n',
        "dmaap.outputs: dmaap",
        "the password goes to an http:// url",
        "use https://",
        "publisher",
    ),
    Case(
        '[[dmaap.outputs]]\nurl = "ves+http://HOST:8080/eventListener/v7"\nusername = "u"\n'
        'password = "p"\n',
        "dmaap.outputs: dmaap",
        "the password goes to a ves+http:// url",
        "use ves+https://",
        "publisher",
    ),
    Case(
        '[[dmaap.outputs]]\nurl = "webhook+http://HOST:8080/hooks"\n',
        "dmaap.outputs: dmaap",
        "what is sent to a webhook+http:// url can be read and changed on its way",
        "use webhook+https://",
        "publisher",
    ),
    Case(
        f'[[dmaap.outputs]]\nurl = "ves+kafka://HOST:9092"\n{PLAIN}password = "p"\n',
        "dmaap.outputs: dmaap",
        "SASL PLAIN without TLS sends the password in the clear",
        'set security_protocol = "SASL_SSL", or sasl_mechanism = "SCRAM-SHA-512"',
        "publisher",
    ),
    Case(
        f'[[dmaap.outputs]]\nurl = "kafka://HOST:9092/t"\n{PLAIN}password = "p"\n',
        "dmaap.outputs: dmaap",
        "SASL PLAIN without TLS sends the password in the clear",
        'set security_protocol = "SASL_SSL", or sasl_mechanism = "SCRAM-SHA-512"',
        "publisher",
    ),
    Case(
        f'{CLOUD}[vims.kafka]\nbootstrap = "127.0.0.1:9092,HOST:9092"\n{PLAIN}',
        "vims: A_one: kafka",
        "SASL PLAIN without TLS sends the password in the clear",
        'set security_protocol = "SASL_SSL", or sasl_mechanism = "SCRAM-SHA-512"',
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.rabbit]\ntransport_urls = ["rabbit://u:p@HOST:5671/"]\ntls = true\n',
        "vims: A_one: rabbit",
        "HOST:5671/: without ca_file nobody checks whose server it is",
        "set ca_file",
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.rabbit]\ntransport_urls = ["rabbit://u:p@HOST:5671,u:p@HOST:5672/"]\n'
        'tls = true\nca_file = "ca.pem"\n',
        "vims: A_one: rabbit",
        "HOST:5671/: of several hosts in one URL the certificates' names are not checked",
        "name one host, such as that of a load balancer",
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.samples.kafka]\nbootstrap = "HOST:9092"\n{PLAIN}',
        "vims: A_one: samples.kafka",
        "SASL PLAIN without TLS sends the password in the clear",
        'set security_protocol = "SASL_SSL", or sasl_mechanism = "SCRAM-SHA-512"',
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.samples.rabbit]\ntransport_urls = ["rabbit://u:p@HOST:5671/"]\ntls = true\n',
        "vims: A_one: samples.rabbit",
        "HOST:5671/: without ca_file nobody checks whose server it is",
        "set ca_file",
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.samples.prometheus]\nurl = "http://HOST:9090"\nusername = "u"\n'
        'password = "p"\nbuilt_in = ["openstack_nova"]\n',
        "vims: A_one: samples.prometheus",
        "the password goes to an http:// url",
        "use https://",
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.samples.prometheus]\nurl = "http://HOST:9090"\nbearer_token = "p"\n'
        'built_in = ["openstack_nova"]\n',
        "vims: A_one: samples.prometheus",
        "the token goes to an http:// url",
        "use https://",
        "bridge",
    ),
    Case(
        f'{CLOUD}[vims.poll]\nauth_url = "http://HOST:5000/v3"\nusername = "u"\npassword = "p"\n'
        'project_name = "p"\n',
        "vims: A_one: poll",
        "the password goes to an http:// auth_url",
        "use https://",
        "bridge",
    ),
]
BY_PLACE = pytest.mark.parametrize(
    "case", CASES, ids=[f"{each.where} {each.mend}" for each in CASES]
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vimfed.cli, "configure_logging", lambda *_: None)  # pytest has its own
    monkeypatch.setattr(vimfed.cli, "keep_files_private", lambda _: None)  # of pytest's umask
    return tmp_path / "vimfed.toml"


@BY_PLACE
def test_a_secret_that_others_could_read_ends_the_start_and_the_error_says_both_ways(
    config: Path, case: Case
) -> None:
    config.write_text(case.section.replace("HOST", "mq.example"))
    options = ["--output", "dmaap"] if case.process == "publisher" else []
    result = CliRunner().invoke(main, ["--config", str(config), case.process, *options])
    assert (result.exit_code, result.stderr.replace("mq.example", "HOST")) == (
        SettingsError.exit_code,
        f"vimfed: {case.where}: {case.told}: {case.mend}, {MEANT}\n",
    )
    settings = load_settings(config)
    for other in {*PROCESSES} - {case.process}:
        if case.where != "kafka" and (case.process, other) != ("publisher", "gateway"):
            refuse_exposed_secrets(settings, other)


@BY_PLACE
def test_whoever_means_it_says_so_and_is_warned(
    config: Path, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    config.write_text(case.section.replace("HOST", "mq.example") + "insecure = true\n")
    refuse_exposed_secrets(load_settings(config), *PROCESSES)
    (record,) = caplog.records
    told = f"{case.where}: {case.told}, as insecure = true allows"
    assert record.getMessage().replace("mq.example", "HOST") == told
    assert record.levelno == logging.WARNING


@BY_PLACE
def test_on_loopback_nobody_listens(config: Path, case: Case) -> None:
    hosts = ["127.0.0.1", "localhost", "[::1]"]
    for host in hosts if "host =" not in case.section else ["127.0.0.1", "localhost", "::1"]:
        config.write_text(case.section.replace("HOST", host))
        assert exposures(load_settings(config), PROCESSES) == []


def test_amqp_without_tls_is_warned_of_and_not_refused(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is how most clouds are inside of their network for management."""
    config.write_text(f'{CLOUD}[vims.rabbit]\ntransport_urls = ["rabbit://u:p@mq:5672/"]\n')
    refuse_exposed_secrets(load_settings(config), "bridge")
    assert [record.getMessage() for record in caplog.records] == [
        "vims: A_one: rabbit: mq:5672/: the password goes over AMQP without TLS: set tls and "
        "ca_file"
    ]


def test_what_sends_no_secret_in_the_clear_is_not_complained_of(config: Path) -> None:
    for section in (
        '[web]\nhost = "0.0.0.0"\n[web.auth]\nallow_anonymous = true\n',
        f'{USERS}[web]\nhost = "0.0.0.0"\ncert_file = "worker.pem"\n',
        '[kafka]\nbootstrap = "a:1"\nsecurity_protocol = "SASL_PLAINTEXT"\nusername = "u"\n',
        '[kafka]\nbootstrap = "a:1"\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\n',
        '[[dmaap.outputs]]\nurl = "http://a:3904/events/t"\n',
        '[[dmaap.outputs]]\nurl = "ves+http://a:8080/eventListener/v7"\n',
        '[[dmaap.outputs]]\nurl = "ves+https://a:1/eventListener/v7"\nusername = "u"\n'
        'password = "p"\n',
        '[[dmaap.outputs]]\nurl = "https://a:3904/events/t"\nusername = "u"\npassword = "p"\n',
        f'{CLOUD}[vims.rabbit]\ntransport_urls = ["rabbit://u:p@mq:5671/"]\ntls = true\n'
        'ca_file = "ca.pem"\n',
        f'{CLOUD}[vims.rabbit]\ntransport_urls = ["rabbit://mq:5672/"]\n',
    ):
        config.write_text(section)
        assert exposures(load_settings(config), PROCESSES) == []


def test_check_tells_what_would_be_refused_and_what_is_meant(config: Path) -> None:
    config.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:1"\n{USERS}[web]\nhost = "0.0.0.0"\ninsecure = true\n'
        f'{CLOUD}[vims.poll]\nauth_url = "http://cloud.invalid:1/v3"\nusername = "u"\n'
        'project_name = "p"\ntimeout = 0.1\n'
    )
    result = CliRunner().invoke(main, ["--config", str(config), "check"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[:2] == [
        "secrets: warning: web: users log in over plain HTTP at host = '0.0.0.0', as insecure = "
        "true allows",
        "secrets: vims: A_one: poll: the password goes to an http:// auth_url: use https://, "
        + MEANT,
    ]


@pytest.mark.parametrize("command", [["events"], ["dead-letter", "list"]])
def test_a_command_that_reads_kafka_sends_no_password_in_the_clear(
    config: Path, command: list[str]
) -> None:
    config.write_text(f'[kafka]\nbootstrap = "a.invalid:1"\n{PLAIN}')
    result = CliRunner().invoke(main, ["--config", str(config), *command])
    assert (result.exit_code, "kafka: SASL PLAIN without TLS" in result.stderr) == (2, True)


def test_loopback_is_told_from_what_looks_like_it() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST")))
    assert not any(map(is_loopback, ("127.0.0.1.example", "localhost.example", "", "1.0.0.127")))
