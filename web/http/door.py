"""Whose requests a server takes at all: by which name it is asked, for which page, through whom.

A browser acts for any page that it shows. A page of another site must change nothing here, and
where nobody has to log in it must read nothing, also after its site's name has led to our address.
"""

from collections.abc import Sequence

from aiohttp import web

from vimfed.process.host_names import AllowedHosts, host_name, is_address
from vimfed.process.neighbours import Networks
from vimfed.settings import is_loopback
from web.http.errors import ApiError

FOREIGN_PAGE = (
    "a page of another site may not change anything here; where it is ours, behind "
    "a proxy, name the host in its URL in web.allowed_hosts"
)


def _page_host(request: web.Request) -> str | None:
    """Return the host, with its port, of the page for which a browser asks; None: none is told.

    What a page shows as an image has no Origin, but a Referer.
    """
    origin = request.headers.get("Origin")
    if origin is not None:
        return origin.partition("://")[2]
    referer = request.headers.get("Referer") if request.method == "GET" else None
    return None if referer is None else referer.partition("://")[2].partition("/")[0]


class Door:
    """Refuses foreign pages and borrowed names, and knows who stands behind a proxy.

    ``allowed`` and ``proxies`` are ``web.allowed_hosts`` and ``web.trusted_proxies``, ``own_url`` a
    URL of the server's own. ``by_address``: it may also be asked by any IP address, which no site's
    name is.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        proxies: Sequence[str] = (),
        *,
        own_url: str = "",
        by_address: bool,
    ) -> None:
        self._allowed = AllowedHosts(allowed)
        self._proxies = Networks(proxies)
        self._own_name = host_name(own_url.partition("://")[2])
        self._by_address = by_address

    def refuse_foreign_page(self, request: web.Request, *, changes: bool) -> None:
        """Raise ApiError (403) where a browser sends what ``changes`` for a page that is not ours.

        With it goes what the browser knows of us: a login that it remembers, or the way to a
        loopback that nobody else reaches. A page of an allowed host is ours: a proxy may pass on
        the browser's Origin, and its own Host.
        """
        if not changes:
            return
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            is_ours = site in ("same-origin", "none")
        else:
            # Browsers leave it out where our URL is neither HTTPS nor of their own machine.
            host = _page_host(request)
            is_ours = host is None or host == request.host or host in self._allowed
        if not is_ours:
            raise ApiError(403, FOREIGN_PAGE)

    def refuse_borrowed_name(self, request: web.Request) -> None:
        """Raise ApiError (403) where a server without logins is asked by a name not its own.

        A page of any site asks so, once its site's name leads to our address, and a browser takes
        what it reads and writes for the page's own.
        """
        host = request.headers.get("Host", "localhost")  # browsers always send it
        name = host_name(host)
        if is_loopback(name) or (self._own_name and name == self._own_name):
            return
        if host in self._allowed or (self._by_address and is_address(name)):
            return
        others = ", an IP address" if self._by_address else ""
        raise ApiError(
            403,
            f"who need not log in asks 127.0.0.1, localhost{others}, not {name}: where this server "
            "has that name, or a proxy that keeps strangers out, name it in web.allowed_hosts",
        )

    def client_address(self, request: web.Request) -> str:
        """Return the address of who asks: behind trusted proxies, the last one before them."""
        address = request.remote or ""
        told = ",".join(request.headers.getall("X-Forwarded-For", ()))
        for before in reversed([each.strip() for each in told.split(",") if each.strip()]):
            if address not in self._proxies:
                break
            address = before
        return address
