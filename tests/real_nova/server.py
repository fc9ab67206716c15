"""Real nova behind HTTP: its API, scheduler, conductor and two computes on the fake virt driver.

Run by the interpreter of nova's own environment (environment.py), inside nova's functional-test
fixtures: ``server.py FOLDER [TRANSPORT_URL]``. When it serves, FOLDER/address holds its URL:

- ``/identity/v3``: a Keystone that knows one user, admin/secret, and whose tokens can expire;
- ``/v2.1``: nova's compute API;
- ``/control``: POST of JSON: ``{"soft_delete": true}``, ``{"expire_tokens": true}``,
  ``{"drop_every": 10}``, ``{"format": "both"}``, ``{"archive_deleted_rows": true}``,
  ``{"drop_services": true}`` (what it says of services is not sent), ``{"service_down_time": 2}``,
  ``{"kill": "host2"}`` (a compute ends without a word, as by kill -9), ``{"revive": "host2"}``.

FOLDER/notifications.jsonl holds every notification of nova's, one a line, those not sent too; with
a TRANSPORT_URL they are sent, but each drop_every-th.
"""

import gc
import json
import secrets
import sys
import unittest
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from wsgiref.simple_server import WSGIRequestHandler, make_server

import fixtures
import oslo_messaging
from nova import rpc
from nova.servicegroup.drivers.db import DbDriver
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers
from oslo_config import cfg

PROJECT = "6f70656e737461636b20342065766572"
"""The project that nova's fixtures know."""
PASSWORD = "secret"
FOLDER = Path(sys.argv[1])
TRANSPORT_URL = sys.argv[2] if len(sys.argv) > 2 else ""

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


class Handler(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class RealNova(integrated_helpers._IntegratedTestBase):  # type: ignore[misc]
    """nova's own fixture of a small cloud."""

    ADMIN_API = True
    microversion = "2.90"
    CAST_AS_CALL = True

    def setUp(self) -> None:
        """Start the services."""
        self.flags(compute_driver="fake.FakeLiveMigrateDriver", report_interval=1)
        self.useFixture(fixtures.MonkeyPatch("nova.servicegroup.api.INITIAL_REPORTING_DELAY", 0))
        with mock.patch.object(nova_fixtures, "NotificationFixture", Notifications):
            super().setUp()
        self._start_compute("host2")
        self.flags(instances=-1, cores=-1, ram=-1, group="quota")
        self.flags(allow_resize_to_same_host=True)
        self._heed({"soft_delete": False, "format": "unversioned"})
        self.flags(notify_on_state_change="vm_and_task_state", group="notifications")

    def _heed(self, order: dict[str, Any]) -> None:
        if "soft_delete" in order:
            self.flags(reclaim_instance_interval=3600 if order["soft_delete"] else 0)
        if "format" in order:
            self.flags(notification_format=order["format"], group="notifications")
        if "drop_every" in order:
            Recorder.drop_every = order["drop_every"]
        if "drop_services" in order:
            Recorder.drop_services = order["drop_services"]
        if "service_down_time" in order:
            for driver in gc.get_objects():  # each has read the option when it was made
                if isinstance(driver, DbDriver):
                    driver.service_down_time = order["service_down_time"]
        if "kill" in order:
            self._kill(self.computes[order["kill"]])
        if "revive" in order:
            self._revive(self.computes[order["revive"]])
        if order.get("archive_deleted_rows"):
            from nova.cmd import manage  # not before the configuration has been read

            done = manage.DbCommands().archive_deleted_rows(
                until_complete=True, purge=True, all_cells=True
            )
            assert done == 1, f"nova-manage db archive_deleted_rows: {done}"

    def _kill(self, compute: Any) -> None:
        """End a compute's heartbeats and answers; the database keeps what it said last."""
        compute.tg.stop()
        for server in (compute.rpcserver, compute.rpcserver_alt):
            server.stop()
            server.wait()

    def _revive(self, compute: Any) -> None:
        """Start the compute of a host that was killed; its hypervisor has gone on."""
        with mock.patch("nova.virt.driver.load_compute_driver") as load:
            load.return_value = compute.manager.driver
            self._start_compute(compute.host)

    def test_serve(self) -> None:
        """Serve until the process is ended."""
        from nova.api import wsgi  # not before webob has been imported as a whole

        front = Front(wsgi.Loader().load_app("osapi_compute"), self._heed)
        # One request at a time, in this thread: nova's fixtures know no other.
        server = make_server("127.0.0.1", 0, front, handler_class=Handler)
        fresh = FOLDER / "address.new"
        fresh.write_text(f"http://127.0.0.1:{server.server_port}")
        fresh.rename(FOLDER / "address")
        server.serve_forever()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
