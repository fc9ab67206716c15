"""Whom ``vimfed status`` asks, and what it tells them of us."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from vimfed.cli import main

ANSWERS = {"/vims": b'{"vims":[]}', "/workers": b'{"workers":[],"unowned":[]}'}


@contextmanager
def listening(
    seen: list[tuple[str, str | None]], answers: Mapping[str, bytes] = ANSWERS
) -> Iterator[int]:
    """Yield the port of a server that notes each path, with the login that came with it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            body = next((answers[end] for end in answers if self.path.endswith(end)), b"{}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_login_goes_to_the_worker_alone(tmp_path: Path) -> None:
    to_worker: list[tuple[str, str | None]] = []
    to_others: list[tuple[str, str | None]] = []
    with listening(to_worker) as worker, listening(to_others) as other:
        config = tmp_path / "vimfed.toml"
        config.write_text(
            f"""
            [web]
            port = {worker}
            [web.auth]
            peer_secret = "a-secret-of-more-than-sixteen-characters"
            [[web.auth.users]]
            name = "one"
            token = "a-token-of-more-than-sixteen-characters"
            [bridge]
            port = {other}
            [gateway]
            enabled = true
            port = {other}
            allow_anonymous = true
            [dmaap]
            port = {other}
            [[dmaap.outputs]]
            url = "kafka://127.0.0.1:9/topic"
            """
        )
        done = CliRunner().invoke(main, ["--config", str(config), "status", "--once", "--json"])
    assert done.exit_code == 0, done.output
    assert {login for _path, login in to_worker} == {
        "Bearer a-token-of-more-than-sixteen-characters"
    }
    assert len(to_others) >= 3, "bridge, publisher and gateway"
    assert {login for _path, login in to_others} == {None}
    assert done.stdout.count("another program answers there") == 3


def test_processes_are_asked_where_they_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "vimfed.toml"
    config.write_text(
        """
        [[dmaap.outputs]]
        name = "mr.two"
        url = "kafka://127.0.0.1:9/topic"
        """
    )
    answers = {**ANSWERS, "/readyz": b'{"wrong":{}}', "/metrics": b"vimfed_publisher_lag 7\n"}
    with listening([], answers) as worker, listening([], answers) as elsewhere:
        at = f"http://127.0.0.1:{elsewhere}/"
        named = ("bridge", "publisher.mr.two", "gateway")
        options = [option for name in named for option in ("--at", f"{name}={at}")]
        url = ("--url", f"http://127.0.0.1:{worker}")
        by_options = asked_by(config, *url, *options)
        monkeypatch.setenv("VIMFED_STATUS_AT", " ".join(f"{name}={at}" for name in named))
        by_environment = asked_by(config, *url)
    for done in (by_options, by_environment):
        assert done.exit_code == 0, done.output
        told = msgspec.json.decode(done.stdout)["processes"]
        assert [(each["name"], each["url"], each["wrong"]) for each in told] == [
            (name, at.rstrip("/"), {}) for name in ("bridge", "publisher mr.two", "gateway")
        ]
        assert told[1]["lag"] == 7


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("worker=http://w:1", "write bridge=URL, gateway=URL or publisher.OUTPUT=URL"),
        ("publisher=http://w:1", "write bridge=URL, gateway=URL or publisher.OUTPUT=URL"),
        ("bridge", "--at bridge: '' is no http:// or https:// URL"),
        ("bridge=b:6065", "--at bridge: 'b:6065' is no http:// or https:// URL"),
    ],
)
def test_addresses_that_are_none_are_refused(tmp_path: Path, given: str, complaint: str) -> None:
    config = tmp_path / "vimfed.toml"
    config.write_text("")
    done = asked_by(config, "--at", given)
    assert done.exit_code == 2
    assert complaint in done.stderr


def asked_by(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), "status", "--json", *arguments])


@pytest.mark.parametrize(
    ("login", "header"),
    [("one:a password", "Basic b25lOmEgcGFzc3dvcmQ="), ("a-token-of-theirs", None)],
)
def test_a_login_for_another_worker_comes_from_a_file(
    tmp_path: Path, login: str, header: str | None
) -> None:
    config, file = tmp_path / "vimfed.toml", tmp_path / "login"
    config.write_text("")
    file.write_text(login + "\n")
    heard: list[tuple[str, str | None]] = []
    with listening(heard) as port:
        asked_by(config, "--url", f"http://127.0.0.1:{port}", "--login-file", str(file))
    logins = {login for path, login in heard if path.startswith("/api/multicloud")}
    assert logins == {header or f"Bearer {login}"}


def test_a_password_in_an_argument_is_refused_and_not_repeated(tmp_path: Path) -> None:
    config = tmp_path / "vimfed.toml"
    config.write_text("")
    for command in (["status"], ["replay", "trace"]):
        arguments = [*command, "--url", "rabbit://who:pass-word@127.0.0.1:1/"]
        done = CliRunner().invoke(main, ["--config", str(config), *arguments])
        assert done.exit_code == 2
        assert "everybody on this machine can read the password in an argument" in done.stderr
        assert "-file FILE" in done.stderr
        assert "pass-word" not in done.output


def test_a_login_goes_to_no_other_machine_in_the_clear(tmp_path: Path) -> None:
    config, file = tmp_path / "vimfed.toml", tmp_path / "login"
    config.write_text("")
    file.write_text("one:a password")
    refused = asked_by(config, "--url", "http://worker.invalid:6066", "--login-file", str(file))
    assert (refused.exit_code, refused.stderr) == (
        2,
        "vimfed: http://worker.invalid:6066: the login would go to another machine in the clear: "
        "ask https://, or say web.insecure = true where nobody listens on the way\n",
    )
    config.write_text("[web]\ninsecure = true\n")
    meant = asked_by(config, "--url", "http://worker.invalid:6066", "--login-file", str(file))
    assert "no worker answers at http://worker.invalid:6066" in meant.stderr


def test_clouds_show_hosts_that_are_not_up_and_what_that_means(tmp_path: Path) -> None:
    config = tmp_path / "vimfed.toml"
    config.write_text("")
    vims = [
        {"hosts": {"up": 40, "down": 1, "forced_down": 1}, "unavailable": 17, "alarms": {"x": 19}},
        {"hosts": {"unknown": 3}, "unavailable": 0, "alarms": {}},
        {"hosts": {}, "unavailable": 0, "alarms": {"alert": 2}},
        {},  # by a worker of an earlier version, or to who is limited to some tenants
    ]
    body = {
        "vims": [
            {"vim_id": f"O_{number}", "configured": True, "instances": 0, "states": {}, **vim}
            for number, vim in enumerate(vims)
        ]
    }
    with listening([], {**ANSWERS, "/vims": msgspec.json.encode(body)}) as port:
        url = f"http://127.0.0.1:{port}"
        shown = CliRunner().invoke(
            main, ["--config", str(config), "status", "--once", "--url", url]
        )
    lines = {
        line.split()[0]: line.split()[2:] for line in shown.stdout.splitlines() if "O_" in line
    }
    assert {name: " ".join(words) for name, words in lines.items()} == {
        "O_0": "40 up, 2 down 17 19 - - - -",
        "O_1": "3 unknown 0 0 - - - -",
        "O_2": "- - 2 - - - -",
        "O_3": "- - - - - - -",
    }
