"""Real nova behind HTTP: its API, scheduler, conductor and two computes on the fake virt driver.

Run by the interpreter of nova's own environment (environment.py), inside nova's functional-test
fixtures: ``server.py FOLDER [TRANSPORT_URL [apart]]``. With ``apart`` it has no computes: each is
to be a process of its own (compute.py), which reaches the conductor by RPC over TRANSPORT_URL and
placement at the address in FOLDER/placement. nova calls such a compute down DOWN_TIME seconds after
its last heartbeat; those in this process have no heartbeats, and are up for ever.

When it serves, FOLDER/address holds its URL:

- ``/identity/v3``: a Keystone that knows one user, admin/secret, and whose tokens can expire;
- ``/v2.1``: nova's compute API;
- ``/control``: POST of JSON: ``{"soft_delete": true}``, ``{"expire_tokens": true}``,
  ``{"drop_every": 10}``, ``{"format": "both"}``, ``{"archive_deleted_rows": true}``,
  ``{"drop_services": true}`` (what it says of services is not sent), ``{"discover_hosts": true}``.

FOLDER/notifications.jsonl holds every notification of this process, one a line, those not sent too;
with a TRANSPORT_URL they are sent, but each drop_every-th. Its standard error has nova's warnings.
"""

import json
import logging
import secrets
import sys
import threading
import unittest
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from nova.tests import functional  # noqa: F401 - makes threads what nova takes them for

# isort: split
import fixtures
import oslo_messaging
from nova import context, rpc
from nova.objects import host_mapping
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers
from oslo_config import cfg
from placement import deploy

PROJECT = "6f70656e737461636b20342065766572"
"""The project that nova's fixtures know."""
PASSWORD = "secret"
FOLDER = Path(sys.argv[1])
TRANSPORT_URL = sys.argv[2] if len(sys.argv) > 2 else ""
APART = sys.argv[3:] == ["apart"]
DOWN_TIME = 8
"""Seconds without a heartbeat, of one a second, after which nova calls a compute down.

So many that it does not take a busy machine for a dead compute.
"""
FOR_EVER = 10**6

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Recorder:
    """A driver of oslo.messaging's that writes down what nova notifies, and drops some of it."""

    drop_every = 0
    drop_services = False
    count = 0

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def notify(self, ctxt: dict[str, Any], message: dict[str, Any], *options: Any) -> None:
        """Send a message unless it is one to be dropped."""
        Recorder.count += 1
        is_dropped = bool(Recorder.drop_every) and Recorder.count % Recorder.drop_every == 0
        is_dropped |= Recorder.drop_services and message["event_type"].startswith("service.")
        told = {**message, "_context_request_id": ctxt.get("request_id")}
        with (FOLDER / "notifications.jsonl").open("a") as lines:
            lines.write(json.dumps({"dropped": is_dropped, "message": told}) + "\n")
        if not is_dropped:
            self._driver.notify(ctxt, message, *options)


class Notifications(fixtures.Fixture):  # type: ignore[misc]
    """Takes the place of nova's fixture, which keeps notifications to itself."""

    notifications: tuple[Any, ...] = ()
    versioned_notifications: tuple[Any, ...] = ()

    def __init__(self, test: Any) -> None:
        super().__init__()
        self.test = test

    def _setUp(self) -> None:  # noqa: N802 - the name that the library calls
        conf = cfg.ConfigOpts()
        conf([], project="nova", default_config_files=[], default_config_dirs=[])
        transport = oslo_messaging.get_notification_transport(conf, url=TRANSPORT_URL or "fake://")
        for name, topic in (
            ("LEGACY_NOTIFIER", "notifications"),
            ("NOTIFIER", "versioned_notifications"),
        ):
            notifier = oslo_messaging.Notifier(
                transport,
                driver="messagingv2" if TRANSPORT_URL else "noop",
                serializer=rpc.RequestContextSerializer(rpc.JsonPayloadSerializer()),
                topics=[topic],
                retry=5,
            )
            for extension in notifier._driver_mgr.extensions:
                extension.obj = Recorder(extension.obj)
            self.test.stub_out(f"nova.rpc.{name}", notifier)

    def reset(self) -> None:
        """Part of the fixture's interface."""


class Cells(nova_fixtures.CellDatabases):  # type: ignore[misc]
    """Takes the place of nova's fixture, which targets a cell for all threads at once.

    What has no target uses the first cell's database, as a real conductor does; no RPC carries a
    connection to a database along.
    """

    _wrap_get_server = staticmethod(rpc.get_server)
    _wrap_get_client = staticmethod(rpc.get_client)

    def _wrap_target_cell(self, ctxt: Any, cell: Any) -> Any:
        return self._real_target_cell(ctxt, cell)

    def _wrap_get_context_manager(self, ctxt: Any) -> Any:
        return getattr(ctxt, "db_connection", None) or self._default_ctxt_mgr


class RealRpc(nova_fixtures.RPCFixture):  # type: ignore[misc]
    """Takes the place of nova's fixture, whose RPC ends at the process."""

    def _fake_create_transport(self, url: Any) -> Any:
        if not self._buses:
            self._buses[None] = oslo_messaging.get_rpc_transport(
                cfg.CONF, url=TRANSPORT_URL, allowed_remote_exmods=rpc.get_allowed_exmods()
            )
        return self._buses[None]


class Front:
    """The WSGI application in front of nova's."""

    def __init__(self, nova: Any, control: Callable[[dict[str, Any]], None]) -> None:
        self._nova = nova
        self._control = control
        self._tokens: set[str] = set()

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/identity/v3"):
            return self._identity(path, environ, start)
        if path == "/control":
            order = json.loads(_body(environ))
            if order.pop("expire_tokens", False):
                self._tokens.clear()
            self._control(order)
            return _answer(start, 200, {})
        if path.strip("/") not in ("", "v2.1"):  # what versions there are may be asked by anyone
            if environ.pop("HTTP_X_AUTH_TOKEN", "") not in self._tokens:
                return _answer(start, 401, {"error": {"code": 401, "title": "Unauthorized"}})
            environ["HTTP_X_AUTH_USER"] = "admin"
            environ["HTTP_X_AUTH_PROJECT_ID"] = PROJECT
            environ["HTTP_X_ROLES"] = "reader,member,admin"
        answer: Iterable[bytes] = self._nova(environ, start)
        return answer

    def _identity(self, path: str, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        root = f"http://{environ['HTTP_HOST']}"
        if not path.endswith("/auth/tokens"):
            link = {"rel": "self", "href": f"{root}/identity/v3/"}
            version = {"id": "v3.14", "status": "stable", "links": [link]}
            return _answer(start, 200, {"version": version})
        user = json.loads(_body(environ))["auth"]["identity"].get("password", {}).get("user", {})
        if (user.get("name"), user.get("password")) != ("admin", PASSWORD):
            return _answer(start, 401, {"error": {"code": 401, "title": "Unauthorized"}})
        token = secrets.token_hex(16)
        self._tokens.add(token)
        endpoint = {
            "id": "1",
            "interface": "public",
            "region": "RegionOne",
            "region_id": "RegionOne",
            "url": f"{root}/v2.1",
        }
        now = datetime.now(UTC)
        domain = {"id": "default", "name": "Default"}
        said = {
            "methods": ["password"],
            "issued_at": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "expires_at": (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "user": {"id": "admin", "name": "admin", "domain": domain},
            "project": {"id": PROJECT, "name": "admin", "domain": domain},
            "roles": [{"id": "admin", "name": "admin"}],
            "catalog": [{"id": "nova", "type": "compute", "name": "nova", "endpoints": [endpoint]}],
        }
        return _answer(start, 201, {"token": said}, ("X-Subject-Token", token))


def _body(environ: Environ) -> bytes:
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


def _answer(
    start: StartResponse, status: int, body: dict[str, Any], *headers: tuple[str, str]
) -> list[bytes]:
    start(f"{status} -", [("Content-Type", "application/json"), *headers])
    return [json.dumps(body).encode()]


def _warnings() -> logging.Handler:
    """Return what writes nova's warnings and worse where the process's output goes: nova.log."""
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s"))
    return handler


class Handler(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class RealNova(integrated_helpers._IntegratedTestBase):  # type: ignore[misc]
    """nova's own fixture of a small cloud."""

    ADMIN_API = True
    microversion = "2.90"
    CAST_AS_CALL = not APART  # who calls a dead compute waits for an answer

    def setUp(self) -> None:
        """Start the services."""
        stand_ins: dict[str, Any] = {"NotificationFixture": Notifications, "CellDatabases": Cells}
        if APART:
            stand_ins["RPCFixture"] = RealRpc
        self.flags(compute_driver="fake.FakeLiveMigrateDriver", report_interval=0)
        self.flags(service_down_time=DOWN_TIME if APART else FOR_EVER)
        with mock.patch.multiple(nova_fixtures, **stand_ins):
            super().setUp()
        logging.getLogger().addHandler(_warnings())
        if not APART:
            self._start_compute("host2")
        self.flags(instances=-1, cores=-1, ram=-1, group="quota")
        self.flags(allow_resize_to_same_host=True)
        self._heed({"soft_delete": False, "format": "unversioned"})
        self.flags(notify_on_state_change="vm_and_task_state", group="notifications")

    def _setup_compute_service(self) -> Any:
        return None if APART else super()._setup_compute_service()

    def _heed(self, order: dict[str, Any]) -> None:
        if "soft_delete" in order:
            self.flags(reclaim_instance_interval=3600 if order["soft_delete"] else 0)
        if "format" in order:
            self.flags(notification_format=order["format"], group="notifications")
        if "drop_every" in order:
            Recorder.drop_every = order["drop_every"]
        if "drop_services" in order:
            Recorder.drop_services = order["drop_services"]
        if order.get("discover_hosts"):
            host_mapping.discover_hosts(context.get_admin_context())
        if order.get("archive_deleted_rows"):
            from nova.cmd import manage  # not before the configuration has been read

            done = manage.DbCommands().archive_deleted_rows(
                until_complete=True, purge=True, all_cells=True
            )
            assert done == 1, f"nova-manage db archive_deleted_rows: {done}"

    def test_serve(self) -> None:
        """Serve until the process is ended."""
        from nova.api import wsgi  # not before webob has been imported as a whole

        if APART:
            placement = _serve("placement", self._placement())
            threading.Thread(target=placement.serve_forever, daemon=True).start()
        front = Front(wsgi.Loader().load_app("osapi_compute"), self._heed)
        # One request at a time, in this thread: nova's fixtures know no other.
        _serve("address", front).serve_forever()

    def _placement(self) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
        """Return the placement of nova's fixture, for those that have no token."""
        app = deploy.loadapp(self.placement_fixture.conf_fixture.conf)

        def answer(environ: Environ, start: StartResponse) -> Iterable[bytes]:
            environ["HTTP_X_AUTH_TOKEN"] = self.placement_fixture.token
            said: Iterable[bytes] = app(environ, start)
            return said

        return answer


def _serve(name: str, app: Any) -> WSGIServer:
    """Return a server of an application, whose address is in FOLDER/name."""
    server = make_server("127.0.0.1", 0, app, handler_class=Handler)
    fresh = FOLDER / f"{name}.new"
    fresh.write_text(f"http://127.0.0.1:{server.server_port}")
    fresh.rename(FOLDER / name)
    return server


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
