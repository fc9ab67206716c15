"""The dashboard: one page and its modules, from the package's own files."""

import hashlib
import html
from importlib.resources import files
from pathlib import PurePath
from typing import NamedTuple

from aiohttp import web

from web.http.errors import ApiError, Problem
from web.http.routes import Route

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # Names of VMs and clouds are others' text: whatever slips through must not run.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Kept, but asked about each time: a page and its modules must be of one version.
    "Cache-Control": "no-cache",
}
PAGE = "index.html"
PREFIX_PLACE = "{{prefix}}"


class Asset(NamedTuple):
    """One file as it is served."""

    body: bytes
    media_type: str
    etag: str


class Dashboard:
    """Serves ``/`` and ``/static/…``; the data on the page come from the API, with its login."""

    def __init__(self, prefix: str) -> None:
        self._assets = read_assets(prefix)

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route(
                method="GET",
                paths=("/",),
                handler=self.page,
                role="anyone",
                answers={200: None, 304: None},
                media_type="text/html",
            ),
            Route(
                method="GET",
                paths=("/static/{name}",),
                handler=self.asset,
                role="anyone",
                answers={200: None, 304: None, 404: Problem},
                media_type="*/*",
            ),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Show the dashboard."""
        return _served(self._assets[PAGE], request)

    async def asset(self, request: web.Request) -> web.Response:
        """Return a module, the style sheet or the icon of the dashboard."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise ApiError(404, f"there is nothing at {request.path}")
        return _served(asset, request)


def read_assets(prefix: str) -> dict[str, Asset]:
    """Return all files by name; the page is told the API's ``prefix``."""
    assets = {}
    for file in (files("web") / "static").iterdir():
        body = file.read_bytes()
        if file.name == PAGE:
            body = body.replace(PREFIX_PLACE.encode(), html.escape(prefix).encode())
        etag = hashlib.sha256(body).hexdigest()[:32]
        assets[file.name] = Asset(body, MEDIA_TYPES[PurePath(file.name).suffix], etag)
    return assets


def _served(asset: Asset, request: web.Request) -> web.Response:
    known = request.if_none_match or ()
    if any(tag.value in (asset.etag, "*") for tag in known):
        response = web.Response(status=304, headers=HEADERS)
    else:
        response = web.Response(
            body=asset.body, content_type=asset.media_type, charset="utf-8", headers=HEADERS
        )
    response.etag = asset.etag
    return response
