"""As much of Keystone and of nova's compute API as the poller asks for, with any number of servers.

For what real nova cannot do in a test: thousands of servers, and tokens and microversions at will.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tests.support.threaded_server import ThreadedServer

MAX_LIMIT = 1000
OWN_PROJECT = "p"
"""The project of the user that polls; servers are those of another unless the test says so."""


class StubNova(ThreadedServer):
    """What it shows may be changed from the test's thread."""

    def __init__(self, *, max_microversion: str = "2.90", endpoint: str = "/v2.1") -> None:
        self.servers: dict[str, dict[str, Any]] = {}
        self.actions: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[str] = []
        """Paths with queries of the requests to nova, tokens and versions left out."""
        self.skew = timedelta()
        """By how much its clock is ahead of ours."""
        self.down_cell: set[str] = set()
        """Servers whose cell is down: not listed, and shown without their state."""
        self.faults: dict[str, int] = {}
        """By server: the status with which its own question fails."""
        self.meanwhile: dict[str, Callable[[], object]] = {}
        """By server: what happens once, after it was listed and before its actions are read."""
        self.hosts: dict[str, dict[str, Any]] = {}
        """Its compute services, by host."""
        self.hosts_answer = 200
        """The status with which it answers who asks for them."""
        self.hosts_headers: dict[str, str] = {}
        """Headers of that answer where it is no 200."""
        self.shows_own_project_only = False
        """Answer 404 for single servers of other projects, as nova does to who is no admin."""
        self._max_microversion = max_microversion
        self._endpoint = endpoint
        self._tokens: set[str] = set()
        super().__init__()

    def login(self, url: str = "") -> dict[str, Any]:
        """Return the keys of ``[vims.poll]`` by which the poller logs in, by another URL too."""
        return self.login_at(url or self.url)

    @staticmethod
    def login_at(url: str) -> dict[str, Any]:
        """Return the keys by which the poller logs in to the stand-in at ``url``."""
        return {
            "auth_url": f"{url}/identity/v3",
            "username": "admin",
            "password": "secret",
            "project_name": "admin",
        }

    def now(self) -> datetime:
        """Return the time by its clock."""
        return datetime.now(UTC) + self.skew

    def add(self, vm_state: str = "active", *, age: timedelta = timedelta(days=2)) -> str:
        """Add a server that last changed ``age`` ago; return its id."""
        server = str(uuid.uuid4())
        self.servers[server] = {
            "id": server,
            "name": f"vm-{len(self.servers)}",
            "tenant_id": "tenant",
            "user_id": "user",
            "created": _second(self.now() - age),
            "metadata": {},
            "image": {"id": "image"},
            "flavor": {
                "original_name": "m1.small",
                "ram": 2048,
                "vcpus": 1,
                "disk": 20,
                "ephemeral": 0,
            },
            "OS-EXT-SRV-ATTR:host": "compute01",
            "OS-EXT-STS:power_state": 1,
        }
        self.actions[server] = []
        self.change(server, vm_state, age=age)
        return server

    def change(
        self, server: str, vm_state: str, task: str | None = None, age: timedelta = timedelta()
    ) -> None:
        """Change a server's state without an action."""
        self.servers[server] |= {
            "OS-EXT-STS:vm_state": vm_state,
            "OS-EXT-STS:task_state": task,
            "updated": _second(self.now() - age),
        }

    def act(self, server: str, action: str, event: str, vm_state: str) -> str:
        """Let an action change a server; return its request id."""
        now = self.now()
        request = f"req-{uuid.uuid4()}"
        at = _micros(now)
        self.actions[server].append(
            {
                "action": action,
                "request_id": request,
                "start_time": at,
                "updated_at": at,
                "events": [
                    {
                        "event": event,
                        "start_time": at,
                        "finish_time": at,
                        "result": "Success",
                        "host": "compute01",
                    }
                ],
            }
        )
        self.change(server, vm_state)
        return request

    def host(self, name: str, state: str = "up", **more: Any) -> None:
        """Say how a host is: ``status``, ``forced_down``, ``disabled_reason``; or UNKNOWN alone."""
        said = {"binary": "nova-compute", "host": name}
        if state == "UNKNOWN":
            self.hosts[name] = {**said, "status": state}
            return
        usual = {"status": "enabled", "forced_down": False, "disabled_reason": None, "zone": "nova"}
        self.hosts[name] = {**said, **usual, "state": state, **more}

    def purge(self, server: str) -> None:
        """Delete a server so that no trace is left (``nova-manage db archive_deleted_rows``)."""
        del self.servers[server]
        del self.actions[server]

    def expire_tokens(self) -> None:
        """Answer 401 to whoever has logged in until now."""
        self._tokens.clear()

    async def _application(self) -> web.Application:
        app = web.Application()
        servers = f"{self._endpoint}/servers"
        app.add_routes(
            [
                web.get("/identity/v3", self._identity),
                web.post("/identity/v3/auth/tokens", self._log_in),
                web.get("/v2.1", self._version),
                web.get("/v2.1/", self._version),
                web.get(f"{servers}/detail", self._list),
                web.get(f"{self._endpoint}/os-services", self._services),
                web.get(f"{servers}/{{server}}", self._server),
                web.get(f"{servers}/{{server}}/os-instance-actions", self._actions),
                web.get(f"{servers}/{{server}}/os-instance-actions/{{request}}", self._action),
            ]
        )
        return app

    def _answer(self, body: object, status: int = 200, **headers: str) -> web.Response:
        date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
        return web.json_response(body, status=status, headers={"Date": date, **headers})

    async def _identity(self, request: web.Request) -> web.Response:
        link = {"rel": "self", "href": f"http://{request.host}/identity/v3/"}
        return self._answer({"version": {"id": "v3.14", "status": "stable", "links": [link]}})

    async def _log_in(self, request: web.Request) -> web.Response:
        auth = (await request.json())["auth"]
        if auth["identity"]["password"]["user"]["password"] != "secret":
            return self._answer({"error": {"code": 401, "message": "no"}}, 401)
        token = uuid.uuid4().hex
        self._tokens.add(token)
        endpoint = {
            "id": "1",
            "interface": "public",
            "region": "RegionOne",
            "region_id": "RegionOne",
            "url": f"http://{request.host}{self._endpoint}",
        }
        said = {
            "methods": ["password"],
            "issued_at": _micros(self.now()) + "Z",
            "expires_at": _micros(datetime.now(UTC) + timedelta(hours=1)) + "Z",
            "user": {"id": "u", "name": "admin", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": OWN_PROJECT, "name": "p", "domain": {"id": "default", "name": "D"}},
            "roles": [{"id": "admin", "name": "admin"}],
            "catalog": [{"id": "n", "type": "compute", "name": "nova", "endpoints": [endpoint]}],
        }
        return self._answer({"token": said}, 201, **{"X-Subject-Token": token})

    async def _version(self, request: web.Request) -> web.Response:
        link = {"rel": "self", "href": f"http://{request.host}/v2.1/"}
        version = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": self._max_microversion,
            "min_version": "2.1",
            "links": [link],
        }
        return self._answer({"version": version})

    def _refused(self, request: web.Request) -> web.Response | None:
        self.requests.append(request.path_qs.removeprefix(self._endpoint))
        if request.headers.get("X-Auth-Token") not in self._tokens:
            return self._answer({"error": {"code": 401}}, 401)
        return None

    async def _list(self, request: web.Request) -> web.Response:
        refusal = self._refused(request)
        if refusal is not None:
            return refusal
        query = request.query
        since = query.get("changes-since", "")
        shown = [
            server
            for server in reversed(self.servers.values())
            if server["id"] not in self.down_cell
            and (
                server["updated"] >= since
                if since
                else server["OS-EXT-STS:vm_state"] not in ("deleted", "soft-delete")
            )
        ]
        if "deleted" in query:
            shown = [one for one in shown if one["OS-EXT-STS:vm_state"] == "deleted"]
        if "marker" in query:
            ids = [server["id"] for server in shown]
            shown = shown[ids.index(query["marker"]) + 1 :]
        limit = min(int(query["limit"]), MAX_LIMIT)
        body: dict[str, Any] = {"servers": shown[:limit]}
        if len(shown) > limit:
            body["servers_links"] = [{"rel": "next", "href": "elsewhere"}]
        return self._answer(body)

    async def _services(self, request: web.Request) -> web.Response:
        refusal = self._refused(request)
        if refusal is not None:
            return refusal
        if self.hosts_answer != 200:
            return self._answer({}, self.hosts_answer, **self.hosts_headers)
        scheduler = {"binary": "nova-scheduler", "host": "controller", "state": "up"}
        return self._answer({"services": [scheduler, *self.hosts.values()]})

    async def _server(self, request: web.Request) -> web.Response:
        server_id = request.match_info["server"]
        refusal = self._refused(request)
        if refusal is not None:
            return refusal
        if server_id in self.faults:
            return self._answer({}, self.faults[server_id])
        server = self.servers.get(server_id)
        if (
            server is None
            or server["OS-EXT-STS:vm_state"] == "deleted"
            or (self.shows_own_project_only and server["tenant_id"] != OWN_PROJECT)
        ):
            text = f"Instance {server_id} could not be found."
            return self._answer({"itemNotFound": {"code": 404, "message": text}}, 404)
        if server_id in self.down_cell:
            known = {key: server[key] for key in ("id", "tenant_id", "created")}
            return self._answer({"server": {**known, "status": "UNKNOWN"}})
        return self._answer({"server": server})

    async def _actions(self, request: web.Request) -> web.Response:
        self.meanwhile.pop(request.match_info["server"], lambda: None)()
        found = self.actions.get(request.match_info["server"], [])
        since = request.query.get("changes-since", "").rstrip("Z")
        actions = [
            {key: value for key, value in action.items() if key != "events"}
            for action in reversed(found)
            if action["updated_at"] >= since
        ]
        return self._refused(request) or self._answer({"instanceActions": actions})

    async def _action(self, request: web.Request) -> web.Response:
        for action in self.actions.get(request.match_info["server"], []):
            if action["request_id"] == request.match_info["request"]:
                return self._refused(request) or self._answer({"instanceAction": action})
        return self._refused(request) or self._answer({}, 404)


def _second(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _micros(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%f")
