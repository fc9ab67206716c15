"""HTTP to a cloud's API, whose answers are foreign: bounded in bytes and seconds, to known hosts.

requests follows what a server says: it unpacks gzip of any ratio, reads bodies of any length, and
has a timeout for each read only, so that a byte now and then holds it for ever. It keeps every
cookie. The catalogue of a Keystone says where nova is, which can be any address that the bridge
reaches.
"""

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from vimfed.process.addresses import real_address
from vimfed.process.bounded_answer import MAX_ANSWER_BYTES, AnswerError, AnswerPieces
from vimfed.settings.plaintext import is_loopback

_PIECE = 64 * 1024


def guarded_session(
    auth_url: str, hosts: Collection[str], timeout: float, *, insecure: bool = False
) -> requests.Session:
    """Return a session that talks to Keystone's host and to ``hosts`` alone.

    Where ``hosts`` is empty, it talks to any host but those at loopback, link-local and the like,
    which Keystone's own may be. Without TLS it talks to loopback alone, unless it may be
    ``insecure``. ``timeout``: seconds for a whole answer. The session's requests raise AnswerError,
    or what those of requests raise.
    """
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    own = urlsplit(auth_url).hostname or ""
    adapter = _Adapter(own, frozenset(hosts), timeout, insecure=insecure)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Adapter(HTTPAdapter):
    def __init__(self, own: str, hosts: frozenset[str], timeout: float, *, insecure: bool) -> None:
        self._own = own.lower()
        self._hosts = frozenset(map(str.lower, hosts))
        self._timeout = timeout
        self._insecure = insecure
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, as upstream does, with connections that look whom they have reached."""
        super().init_poolmanager(*args, **kwargs)

        class Plain(_GuardedConnection, HTTPConnection):
            guard = self

        class Secure(_GuardedConnection, HTTPSConnection):
            guard = self

        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_Pool", (HTTPConnectionPool,), {"ConnectionCls": Plain}),
            "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": Secure}),
        }

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send a request and read the whole answer. Raises AnswerError and RequestException."""
        url = urlsplit(request.url or "")
        host = (url.hostname or "").lower()
        if url.scheme != "https" and not (self._insecure or is_loopback(host)):
            raise AnswerError(
                f"the catalogue names http://{host}, where the token would go in the clear: let it "
                "name an https:// endpoint (poll.interface chooses which), or say insecure = true"
            )
        if self._hosts and host != self._own and host not in self._hosts:
            raise AnswerError(
                f"the catalogue names the host {host}, neither auth_url's nor in poll.hosts"
            )
        request.headers["Accept-Encoding"] = "identity"
        ends = time.monotonic() + self._timeout
        kwargs["stream"] = True
        response = super().send(request, *args, **kwargs)
        try:
            response._content = _read(response, ends)
        except HTTPError as error:
            raise requests.ConnectionError(f"the answer breaks off: {error}") from error
        finally:
            response.close()
        response._content_consumed = True
        return response

    def check(self, host: str, address: str) -> None:
        """Raise AnswerError where a host lies at an address that only few of its kind have."""
        if self._hosts or host.lower() == self._own:
            return
        ip = real_address(address)
        if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
            raise AnswerError(
                f"the catalogue names the host {host}, which is at {ip}: if nova is there, name it "
                "in poll.hosts"
            )

    @contextmanager
    def deadline(self, connection: HTTPConnection) -> Iterator[None]:
        """Cut a connection whose answer has not begun in time, however it trickles."""
        cut = threading.Event()

        def end() -> None:
            cut.set()
            if connection.sock is not None:
                connection.sock.shutdown(2)

        timer = threading.Timer(self._timeout, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if cut.is_set():
                raise TimeoutError("the answer has not begun in time") from error
            raise
        finally:
            timer.cancel()


class _GuardedConnection:
    guard: _Adapter

    def connect(self: Any) -> None:
        """Connect, and look whom that has reached, before anything is sent."""
        super().connect()  # type: ignore[misc]
        if self.proxy is None:
            try:
                self.guard.check(self.host, self.sock.getpeername()[0])
            except BaseException:
                self.close()
                raise

    def getresponse(self: Any) -> Any:
        """Read the head of an answer, within the deadline."""
        with self.guard.deadline(self):
            return super().getresponse()  # type: ignore[misc]


def _read(response: requests.Response, ends: float) -> bytes:
    # 500 servers with all the metadata that nova allows have half of it.
    pieces = AnswerPieces(response.headers, MAX_ANSWER_BYTES)
    while piece := response.raw.read1(_PIECE, decode_content=False):
        pieces.add(piece)
        if time.monotonic() > ends:
            raise requests.Timeout("the answer has not ended in time")
    return pieces.whole()
