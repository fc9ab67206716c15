"""A real nova as a child process: what the tests do to it, and its own word on what came of it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import requests
from keystoneauth1.identity.generic import Password
from keystoneauth1.session import Session
from openstack.config import cloud_region
from openstack.connection import Connection

from tests.support.waiting import eventually
from vimfed.local.child import Child
from vimfed.model.records import Notification
from vimfed.nova import oslo

IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
START_TIMEOUT = 90.0
MICROVERSION = "2.90"

STATES_AFTER: dict[str, tuple[object, str]] = {
    "stop": ({"os-stop": None}, "stopped"),
    "start": ({"os-start": None}, "active"),
    "pause": ({"pause": None}, "paused"),
    "unpause": ({"unpause": None}, "active"),
    "rebuild": ({"rebuild": {"imageRef": IMAGE}}, "active"),
    "resize": ({"resize": {"flavorRef": "2"}}, "resized"),
    "confirm": ({"confirmResize": None}, "active"),
    "shelve": ({"shelve": None}, "shelved_offloaded"),
    "unshelve": ({"unshelve": None}, "active"),
    "rescue": ({"rescue": {}}, "rescued"),
    "unrescue": ({"unrescue": None}, "active"),
    "reboot": ({"reboot": {"type": "HARD"}}, "active"),
    "soft reboot": ({"reboot": {"type": "SOFT"}}, "active"),
    "suspend": ({"suspend": None}, "suspended"),
    "resume": ({"resume": None}, "active"),
    "resize further": ({"resize": {"flavorRef": "3"}}, "resized"),
    "revert": ({"revertResize": None}, "active"),
    "lock": ({"lock": {}}, "active"),
    "unlock": ({"unlock": {}}, "active"),
    "snapshot": ({"createImage": {"name": "snapshot"}}, "active"),
    "reset to error": ({"os-resetState": {"state": "error"}}, "error"),
    "reset to active": ({"os-resetState": {"state": "active"}}, "active"),
}
"""Each operation's request and the vm_state in which it ends."""


class NovaHost(NamedTuple):
    """What nova says of a compute host."""

    is_up: bool
    """Its state; not while it is forced down."""
    forced_down: bool
    disabled: bool


class RealNova:
    """nova's services with an API and a Keystone of their own; ``with`` ends them.

    Each host of ``computes`` is a nova-compute in a process of its own; without any, two computes
    run in the process of the others. Computes of their own need a ``transport_url``. Releases
    before 2026.1 have no threads but eventlet's: ``threads=False``.
    """

    def __init__(
        self,
        python: Path,
        folder: Path,
        transport_url: str = "",
        computes: Sequence[str] = (),
        *,
        threads: bool = True,
    ) -> None:
        self._folder = folder
        self._python = python
        self._threads = threads
        with_rpc = [transport_url, "apart"] if computes else [transport_url]
        self.child = self._process("server.py", *filter(None, with_rpc), log="nova.log")
        self._computes = {
            host: self._process("compute.py", host, transport_url, log=f"{host}.log")
            for host in computes
        }

    def _process(self, script: str, *arguments: str, log: str) -> Child:
        return Child(
            [
                str(self._python),
                str(Path(__file__).with_name(script)),
                str(self._folder),
                *arguments,
            ],
            env={
                "PATH": "/usr/bin:/bin",
                "OS_TEST_TIMEOUT": "0",
                "LANG": "C.UTF-8",
                **({"OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"} if self._threads else {}),
            },
            log=self._folder / log,
            cwd=self._folder,
        )

    def __enter__(self) -> Self:
        try:
            self.child.spawn()
            address = self._folder / "address"
            eventually(lambda: address.exists() or not self.child.running, START_TIMEOUT)
            assert address.exists(), self.child.last_log_line()
            self.url = address.read_text()
            self._connection = self._connect()
            for host in self._computes:
                self.start_host(host)
            eventually(self._has_all_hosts, START_TIMEOUT)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()
        self._end()

    def _end(self) -> None:
        for compute in self._computes.values():
            compute.kill()
        self.child.stop()

    def kill_host(self, host: str) -> None:
        """End the process of a compute as ``kill -9`` does."""
        self._computes[host].kill()

    def start_host(self, host: str) -> None:
        """Start the process of a compute."""
        self._computes[host].spawn()

    def _has_all_hosts(self) -> bool:
        """Whether all computes are up and servers can be built on them."""
        for host, compute in self._computes.items():
            assert compute.running, f"{host}: {compute.last_log_line()}"
        heard = {each["host"] for each in self._compute_services() if each["updated_at"]}
        if not self._computes.keys() <= heard:  # a first heartbeat: placement knows it, too
            return False
        self.control(discover_hosts=True)
        answer = self._connection.compute.get("/os-hypervisors", microversion=MICROVERSION)
        return len(answer.json()["hypervisors"]) >= len(self._computes)

    @property
    def login(self) -> dict[str, Any]:
        """The keys of ``[vims.poll]`` by which the poller logs in."""
        return {
            "auth_url": f"{self.url}/identity/v3",
            "username": "admin",
            "password": "secret",
            "project_name": "admin",
            "region_name": "RegionOne",
        }

    def control(self, **order: bool | int | str) -> None:
        """Give the server an order (see server.py)."""
        requests.post(f"{self.url}/control", json=order, timeout=30).raise_for_status()
        if "expire_tokens" in order:
            self._connection.close()
            self._connection = self._connect()

    def create(self, name: str, flavor: str = "1") -> str:
        """Return the id of a new server, when it is built or has failed."""
        wanted = {"name": name, "imageRef": IMAGE, "flavorRef": flavor, "networks": "none"}
        server: str = self._post("/servers", {"server": wanted})["server"]["id"]
        eventually(lambda: self.truth(server)[1] == "" and self.truth(server)[0] != "building", 30)
        return server

    def do(self, server: str, *operations: str) -> None:
        """Do operations one after the other; each is over before the next begins."""
        for operation in operations:
            request, state = STATES_AFTER[operation]
            self._post(f"/servers/{server}/action", request)
            self._reach(server, state)

    def delete(self, server: str, *, soft: bool = False) -> None:
        """Delete a server, for good or so that it can be restored."""
        self.control(soft_delete=soft)
        self._connection.compute.delete(f"/servers/{server}")
        self._reach(server, "soft-delete" if soft else "deleted")

    def _reach(self, server: str, state: str) -> None:
        """Wait for the end of an operation. Raises AssertionError with nova's text if it fails."""

        def is_over() -> bool:
            said = self.truth(server)
            assert state == "error" or said != ("error", ""), (
                f"{server} was to be {state}: {self.fault(server)}"
            )
            return said == (state, "")

        eventually(is_over, 30)

    def fault(self, server: str) -> str:
        """Return nova's text on why a server is in error; empty where it has none."""
        answer = self._connection.compute.get(f"/servers/{server}", microversion=MICROVERSION)
        said = answer.json()["server"].get("fault", {})
        return "\n".join(filter(None, [said.get("message"), said.get("details")]))

    def create_flavor(self, name: str, ram: int) -> str:
        """Return the id of a new flavor with so many MiB of memory."""
        wanted = {"name": name, "ram": ram, "vcpus": 1, "disk": 1}
        flavor: str = self._post("/flavors", {"flavor": wanted})["flavor"]["id"]
        return flavor

    def newest_microversion(self) -> str:
        """Return the newest microversion that this nova knows."""
        newest: str = self._connection.compute.get("/").json()["version"]["version"]
        return newest

    def get(self, path: str, microversion: str = MICROVERSION) -> Any:
        """Return an answer of the API's, an error's too."""
        return self._connection.compute.get(path, microversion=microversion, raise_exc=False).json()

    def truth(self, server: str) -> tuple[str, str]:
        """Return nova's own word: (vm_state, task_state or nothing)."""
        path = f"/servers/{server}"
        answer = self._connection.compute.get(path, microversion=MICROVERSION, raise_exc=False)
        if answer.status_code == 404:
            return "deleted", ""
        found = answer.json()["server"]
        return found["OS-EXT-STS:vm_state"], found["OS-EXT-STS:task_state"] or ""

    def hosts(self) -> dict[str, NovaHost]:
        """Return nova's own word on its compute hosts, by name."""
        return {
            each["host"]: NovaHost(
                each["state"] == "up", each["forced_down"], each["status"] == "disabled"
            )
            for each in self._compute_services()
        }

    def _compute_services(self) -> list[dict[str, Any]]:
        answer = self._connection.compute.get(
            "/os-services", params={"binary": "nova-compute"}, microversion=MICROVERSION
        )
        found: list[dict[str, Any]] = answer.json()["services"]
        return found

    def order_host(self, host: str, **order: bool | str) -> None:
        """Change a host's service: ``forced_down``, ``status``, ``disabled_reason``."""
        (service,) = [each["id"] for each in self._compute_services() if each["host"] == host]

        def is_taken() -> bool:
            # A host that servers were evacuated from is forced down until its compute has started.
            answer = self._connection.compute.put(
                f"/os-services/{service}", json=order, microversion=MICROVERSION, raise_exc=False
            )
            is_early = answer.status_code == 400 and "evacuation" in answer.text
            assert answer.status_code == 200 or is_early, answer.text
            return answer.status_code == 200

        eventually(is_taken, 60)

    def host_of(self, server: str) -> str:
        """Return the host on which nova says that a server is; empty where it is on none."""
        answer = self._connection.compute.get(f"/servers/{server}", microversion=MICROVERSION)
        return answer.json()["server"]["OS-EXT-SRV-ATTR:host"] or ""

    def hosts_of_servers(self) -> dict[str, str]:
        """Return each server's host, empty where it is on none, by nova's list of servers."""
        answer = self._connection.compute.get(
            "/servers/detail", params={"all_tenants": "1"}, microversion=MICROVERSION
        )
        return {each["id"]: each["OS-EXT-SRV-ATTR:host"] or "" for each in answer.json()["servers"]}

    def evacuate(self, server: str) -> None:
        """Evacuate a server from its host, which must be down, to the other one."""
        before = self.host_of(server)
        self._post(f"/servers/{server}/action", {"evacuate": {}})
        eventually(lambda: self.host_of(server) not in ("", before), 30)
        eventually(lambda: self.truth(server)[1] == "", 30)

    def notifications(self, vim_id: str, servers: Sequence[str]) -> list[Notification]:
        """Return all that nova notified of these servers, those that it was not let send too."""
        told = []
        lines = (self._folder / "notifications.jsonl").read_bytes().splitlines()
        for sequence, line in enumerate(lines):
            message = oslo.decode(json.dumps(json.loads(line)["message"]).encode())
            if message.instance_id in servers:
                sent = message.timestamp.replace(" ", "T") + "Z"
                told.append(
                    oslo.stamp(
                        message, vim_id=vim_id, path="nova", sequence=sequence, received_at=sent
                    )
                )
        return told

    def dropped(self, servers: Sequence[str]) -> int:
        """Return how many notifications of these servers were not sent."""
        lines = (self._folder / "notifications.jsonl").read_bytes().splitlines()
        return sum(
            each["dropped"]
            for each in map(json.loads, lines)
            if each["message"]["payload"].get("instance_id") in servers
        )

    def _connect(self) -> Connection:
        login = Password(
            auth_url=f"{self.url}/identity/v3",
            username="admin",
            password="secret",
            project_name="admin",
            user_domain_id="default",
            project_domain_id="default",
        )
        return Connection(config=cloud_region.from_session(Session(login)))

    def _post(self, path: str, body: object) -> Any:
        for _attempt in range(50):
            answer = self._connection.compute.post(
                path, json=body, microversion=MICROVERSION, raise_exc=False
            )
            # An action is refused as long as what came before is not quite over.
            if answer.status_code != 409:
                break
            time.sleep(0.1)
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None
