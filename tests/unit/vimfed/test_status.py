"""What ``vimfed status`` says where a worker answers no question."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from vimfed.cli import status
from vimfed.errors import UsageError
from vimfed.settings import Settings

ANSWERS = {
    "/limited/": (429, b'{"error": "too many logins: try again in 1 s", "retry_after": 1}'),
    "/stranger/": (401, b'{"error": "log in"}'),
    "/other/": (404, b"<html>"),
    "/balancer/": (503, b"<html>"),
}


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code, body = next(told for path, told in ANSWERS.items() if self.path.startswith(path))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("limited", r"the worker answers 429: too many logins: try again in 1 s$"),
        ("stranger", r"the worker refuses us \(401\): --url http://USER"),
        ("other", r"not a worker's answer \(404\): .*; is web.prefix right\?"),
    ],
)
def test_what_the_worker_refuses_with_is_told(url: str, path: str, complaint: str) -> None:
    with pytest.raises(status.StatusError, match=complaint):
        status.run(Settings(), None, f"{url}/{path}", once=True, as_json=False)


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--url: 'foo' is no http:// or https:// URL"):
        status.run(Settings(), None, "foo", once=True, as_json=False)
    assert UsageError.exit_code == 2


@pytest.mark.parametrize("port", ["1", "one"])
def test_a_password_in_the_url_is_not_told(port: str) -> None:
    url = f"http://reader:secret@127.0.0.1:{port}"
    with pytest.raises(status.StatusError, match=r"no worker answers at http://127") as caught:
        status.run(Settings(), None, url, once=True, as_json=False)
    assert "secret" not in str(caught.value)


def test_a_503_that_is_no_workers_is_told_so(url: str) -> None:
    with pytest.raises(status.StatusError, match=r"not a worker's answer \(503\)"):
        status.run(Settings(), None, f"{url}/balancer", once=True, as_json=False)
