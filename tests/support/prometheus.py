"""A real Prometheus, Debian's package, and an exporter for it to scrape."""

import json
import shutil
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import requests

from tests.support.waiting import eventually
from vimfed.local.child import Child
from vimfed.process.ports import free_ports

PROGRAM = "prometheus"
START_TIMEOUT = 30.0


class Exporter:
    """Serves at ``/metrics`` what ``text`` returns; ``with`` ends it."""

    def __init__(self, text: Callable[[], str]) -> None:
        self.text = text
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Prometheus:
    """Prometheus's process, which scrapes ``targets`` every second; ``with`` ends it.

    ``web``: its ``--web.config.file``, e.g. who may ask; a user's ``login`` is then asked for.
    """

    def __init__(
        self,
        folder: Path,
        targets: Iterable[str],
        *,
        web: dict[str, Any] | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        program = shutil.which(PROGRAM)
        assert program, f"the tests need Prometheus: apt-get install {PROGRAM} (make test does)"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "libvirt", "static_configs": [{"targets": list(targets)}]}
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._login = login
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        if web is not None:
            (folder / "web.yml").write_text(json.dumps(web))
            command.append(f"--web.config.file={folder / 'web.yml'}")
        self.child = Child(command, log=folder / "prometheus.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.child.stop()

    def start(self) -> None:
        """Start it, or start it again with what it kept on disk."""
        self.child.spawn()
        eventually(self._is_ready, START_TIMEOUT)

    def query(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        answer = requests.get(
            f"{self.url}/api/v1/query",
            params={"query": query, **parameters},
            auth=self._login,
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def _is_ready(self) -> bool:
        assert self.child.running, self.child.last_log_line()
        try:
            answer = requests.get(f"{self.url}/-/ready", auth=self._login, timeout=10)
        except requests.ConnectionError:
            return False
        return answer.status_code == 200
