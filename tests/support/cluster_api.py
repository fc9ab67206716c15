"""As much of Kubernetes' API as helm's ``lookup`` asks."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.support.threaded_server import ThreadedServer

_RESOURCES = {"/api/v1": ("Secret", "secrets"), "/apis/apps/v1": ("StatefulSet", "statefulsets")}
"""By group, the one kind that it has here, and its name in paths."""


class Cluster(ThreadedServer):
    """A cluster that has some objects in the namespace ``default``."""

    def __init__(self, objects: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        """``objects``: what there is, by kind and name, without the fields that tell these."""
        super().__init__()
        self._objects = objects

    async def _application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/version", self._version)])
        for group, (_kind, plural) in _RESOURCES.items():
            one = f"{group}/namespaces/default/{plural}/{{name}}"
            app.add_routes([web.get(group, self._resources), web.get(one, self._object)])
        return app

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "30", "gitVersion": "v1.30.0"})

    async def _resources(self, request: web.Request) -> web.Response:
        kind, plural = _RESOURCES[request.path]
        resource = {"name": plural, "namespaced": True, "kind": kind, "verbs": ["get"]}
        return web.json_response({"kind": "APIResourceList", "resources": [resource]})

    async def _object(self, request: web.Request) -> web.Response:
        group = request.path.partition("/namespaces/")[0]
        kind, _plural = _RESOURCES[group]
        name = request.match_info["name"]
        found = self._objects.get((kind, name))
        if found is None:
            status = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            return web.json_response(status, status=404)
        version = group.removeprefix("/apis/").removeprefix("/api/")
        told = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
        return web.json_response({**told, **found})
