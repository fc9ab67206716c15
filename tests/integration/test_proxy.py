"""The proxy of docker-compose.yml in front of workers: HAProxy with its shipped configuration."""

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.paths import PROJECT
from tests.support.waiting import eventually
from vimfed.process.ports import free_ports

CONFIG = PROJECT / "deploy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Proxy(NamedTuple):
    """A running proxy."""

    process: subprocess.Popen[bytes]
    url: str
    port: int


@contextmanager
def running(folder: Path, worker: int | None = None) -> Iterator[Proxy]:
    """Run the proxy at a port of its own; its worker is at a port of this machine, or nowhere."""
    (port,) = free_ports(1)
    text = CONFIG.read_text().replace("bind :6066", f"bind 127.0.0.1:{port}")
    text = text.replace("maxconn 4000", "maxconn 100")
    if worker is not None:
        head, _, _ = text.partition("    server-template")
        text = f"{head}    server one 127.0.0.1:{worker} no-check\n"
    config = folder / "haproxy.cfg"
    config.write_text(text)
    assert HAPROXY, "make test installs it (deploy/install-test-packages)"
    with subprocess.Popen([HAPROXY, "-db", "-f", config], stdout=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _listens(port))
            yield Proxy(process, f"http://127.0.0.1:{port}", port)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_without_a_worker_the_proxy_answers_as_a_worker_would(tmp_path: Path) -> None:
    with running(tmp_path) as proxy, pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{proxy.url}/api/multicloud/v1/vims", timeout=5)
    with caught.value as answer:
        body = json.loads(answer.read())
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/json")
        assert answer.headers["Retry-After"] == str(body["retry_after"])
    assert body.keys() == {"error", "reason", "retry_after", "partitions"}, "as web.http.errors has"
    assert "try again" in body["error"]


def test_an_open_dashboard_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """The engine waits for ten seconds before it kills the proxy; SIGUSR1 is what it sends."""
    with (
        socket.create_server(("127.0.0.1", 0)) as worker,
        running(tmp_path, worker.getsockname()[1]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client,
    ):
        client.sendall(b"GET /api/multicloud/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream, _ = worker.accept()
        with stream:
            stream.recv(4000)
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
            assert client.recv(4000)
            began = time.monotonic()
            proxy.process.send_signal(signal.SIGUSR1)
            proxy.process.wait(8)
            assert time.monotonic() - began < 2.5
