"""ONAP's multicloud broker (multivimbroker) and the Microservice Bus behind it, as far as a plug-in
meets them.

Written from the broker's source, onap/multicloud-framework: ``forwarder/urls.py`` (which paths it
knows), ``forwarder/views.py`` and ``forwarder/base.py`` (which methods), ``pub/utils/syscomm.py``
and ``pub/utils/restcall.py`` (what becomes of headers and bodies), and from what its framework,
djangorestframework, does by default before a view is called. The bus publishes a Service by its
annotation, as OOM's documentation describes it: ``url`` of the service at
``/api/{serviceName}/{version}``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

_ID = "[0-9a-zA-Z_-]+"
_V0 = f"/api/multicloud/v0/(?P<vim>{_ID})"
_V1 = f"/api/multicloud/v1/(?P<owner>{_ID})/(?P<region>{_ID})"
_EVERY = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})
VIEWS: Sequence[tuple[re.Pattern[str], frozenset[str]]] = [
    (re.compile(base + path), frozenset(methods))
    for base in (_V0, _V1)
    for path, methods in (
        ("/identity/v3(/auth/tokens)?$", {"GET", "POST"}),
        ("/registry$", {"GET", "POST"}),
        ("$", {"DELETE"}),  # "unregister VIM"
        ("/extensions$", {"GET"}),
        *([("/infra_workload", {"GET", "POST", "DELETE"})] if base == _V1 else []),
        ("", _EVERY),  # forwards: without an end, so that whatever follows the cloud matches
    )
]
"""The paths that it knows, in their order, and the methods of each: of the others the view of its
base class is called without the names that it expects, which is a 500."""
COPIED = frozenset({200, 201, 202, 204})
"""Statuses of the answers whose headers it keeps; of all others it keeps the body alone."""
DROPPED = frozenset(
    {
        *("connection", "keep-alive", "te", "trailers", "transfer-encoding", "upgrade"),
        *("content-length", "content-encoding"),  # those of the body that it has read
    }
)


class MulticloudBroker:
    """The stand-in; ``async with`` it answers at ``url``.

    ``plugins`` is a ``provider-plugin.json``, ``regions`` what A&AI knows: by vim_id the cloud-type
    and cloud-region-version. ``services`` are the bus's: what stands in ``service-info``, with the
    URL of a server instead of ``port``.
    """

    def __init__(
        self,
        plugins: Path,
        regions: Mapping[str, tuple[str, str]],
        services: Sequence[Mapping[str, str]],
    ) -> None:
        self._plugins = json.loads(plugins.read_text())
        self._regions = regions
        self._services = services
        self.forwarded: list[str] = []
        """What it has asked of the bus."""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        (address,) = self._runner.addresses
        self.url = f"http://127.0.0.1:{address[1]}"
        self._session = aiohttp.ClientSession(auto_decompress=True)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        matches = ((pattern.match(request.path), methods) for pattern, methods in VIEWS)
        found, methods = next(((each, its) for each, its in matches if each), (None, _EVERY))
        if found is None:
            return web.Response(status=404, text="<h1>Not Found</h1>", content_type="text/html")
        refusal = _refused_by_the_framework(request)
        if refusal is not None:
            return refusal
        if request.method not in methods:
            return web.Response(status=500, text="<h1>Server Error (500)</h1>")
        return await self._forward(request, found.groupdict())

    async def _forward(self, request: web.Request, named: Mapping[str, str]) -> web.Response:
        vim_id = named.get("vim") or f"{named['owner']}_{named['region']}"
        if not re.fullmatch(r"[0-9a-zA-Z-]+_[0-9a-zA-Z_-]+", vim_id):
            return web.Response(status=500, text="'NoneType' object has no attribute 'group'")
        if vim_id not in self._regions:
            text = f"Failed to query VIM with id ({vim_id}) from extsys."
            return web.Response(status=404, text=text)
        # Wherever the word stands, also in names and in the query.
        resource = request.raw_path.replace("multicloud", self._plugin(*self._regions[vim_id]))
        self.forwarded.append(f"{request.method} {resource}")
        headers = {name: each for name, each in request.headers.items() if name.lower() != "host"}
        async with self._session.request(
            request.method, self._on_the_bus(resource), data=await request.read(), headers=headers
        ) as answer:
            body = await answer.read()  # all of it, however long it takes
            kept = {
                name: each for name, each in answer.headers.items() if name.lower() not in DROPPED
            }
        if answer.status not in COPIED:
            kept = {"Content-Type": "text/html; charset=utf-8"}
        return web.Response(status=answer.status, body=body.decode().encode(), headers=kept)

    def _plugin(self, kind: str, version: str) -> str:
        plugin = self._plugins[kind]
        chosen: dict[str, Any] = plugin["versions"].get(version, plugin)
        name: str = chosen["provider_plugin"]
        return name

    def _on_the_bus(self, resource: str) -> str:
        for service in self._services:
            published = f"/api/{service['serviceName']}/{service['version']}"
            if resource.startswith(published + "/"):
                return service["server"] + service["url"] + resource.removeprefix(published)
        raise AssertionError(f"the bus knows nobody for {resource}")


def _refused_by_the_framework(request: web.Request) -> web.Response | None:
    """Return what is answered before a view is called: to Basic logins, and to who takes no JSON.

    Its default logins ask a user database of the broker's own, and it can render JSON alone.
    """
    if request.headers.get("Authorization", "").lower().startswith("basic "):
        return web.json_response({"detail": "Invalid username/password."}, status=403)
    accepted = request.headers.get("Accept", "*/*")
    if not re.search(r"(\*|application)/(\*|json)", accepted):
        detail = "Could not satisfy the request Accept header."
        return web.json_response({"detail": detail}, status=406)
    return None
