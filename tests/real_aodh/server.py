"""Real aodh: its alarms in a database, its evaluator's transitions, its notifier's actions.

Run by the interpreter of aodh's own environment (environment.py): ``server.py FOLDER
TRANSPORT_URL EXCHANGE``. Nothing stands between its evaluator and its notifier; its notifications
go to TRANSPORT_URL, where that is given, in an exchange. When it runs, FOLDER/address holds the URL
that takes orders, each a POST of JSON that is answered when aodh is done:

- ``/alarms``: make an alarm by events, of ``{"name", "severity", "actions", "repeat_actions"}``;
  answered ``{"alarm_id"}``
- ``/events``: evaluate an event, as ceilometer stores it
- ``/state``: let the evaluator find ``{"alarm_id", "state", "reason"}``
- ``/delete``: tell, as aodh's API does, that ``{"alarm_id"}`` was deleted
"""

import json
import sys
import types
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aodh import messaging, queue, service, storage
from aodh.evaluator import Evaluator
from aodh.evaluator.event import EventAlarmEvaluator
from aodh.notifier import AlarmEndpoint
from aodh.storage import models
from oslo_utils import timeutils
from stevedore import extension

SETTINGS = """\
[DEFAULT]
transport_url = fake://
control_exchange = {exchange}
[database]
connection = sqlite:///{folder}/aodh.db
[oslo_messaging_notifications]
driver = messagingv2
"""
PROJECT = "4f0b1b3a6c3f4f0b9a6f0d3a5a7c8e11"


class Straight:
    """aodh's queue between evaluator and notifier, without the wait for a broker."""

    def __init__(self, conf: Any) -> None:
        self._notifiers: Any = extension.ExtensionManager(
            "aodh.notifier", invoke_on_load=True, invoke_args=(conf,)
        )
        self._queue = queue.AlarmNotifier(conf)
        self._queue.notifier = types.SimpleNamespace(sample=self._sample)
        self.notify = self._queue.notify

    def _sample(self, _context: Any, _event_type: str, payload: Any) -> None:
        AlarmEndpoint(self._notifiers).sample([{"payload": json.loads(json.dumps(payload))}])


class Finding(Evaluator):  # type: ignore[misc]
    """An evaluator that is told what it finds."""

    def evaluate(self, alarm: Any) -> None:
        """Find nothing by itself."""


class Aodh:
    """What aodh's services share here."""

    def __init__(self, folder: Path, transport_url: str = "", exchange: str = "") -> None:
        settings = folder / "aodh.conf"
        settings.write_text(SETTINGS.format(folder=folder, exchange=exchange or "aodh"))
        self._conf = service.prepare_service(argv=[], config_files=[str(settings)], with_gmr=False)
        self._storage = storage.get_connection_from_config(self._conf)
        self._storage.upgrade()
        self._news = None
        if transport_url:
            transport = messaging.get_transport(self._conf, transport_url, cache=False)
            self._news = messaging.get_notifier(transport, publisher_id="aodh.evaluator")
        self._events, self._finding = EventAlarmEvaluator(self._conf), Finding(self._conf)
        straight = Straight(self._conf)
        for evaluator in (self._events, self._finding):
            evaluator.notifier = straight
            evaluator.storage_conn = self._storage
            evaluator._ks_client = types.SimpleNamespace(user_id="aodh", project_id=PROJECT)
            evaluator._alarm_change_notifier = self._news or types.SimpleNamespace(
                info=lambda *_news: None
            )

    def alarms(self, order: dict[str, Any]) -> dict[str, Any]:
        """Make an alarm by events."""
        now = timeutils.utcnow()
        alarm = models.Alarm(
            alarm_id=str(uuid.uuid4()),
            type="event",
            enabled=True,
            name=order["name"],
            description="",
            timestamp=now,
            user_id="ada",
            project_id=PROJECT,
            state="ok",
            state_timestamp=now,
            state_reason="",
            ok_actions=order["actions"],
            alarm_actions=order["actions"],
            insufficient_data_actions=order["actions"],
            repeat_actions=order.get("repeat_actions", False),
            rule={"event_type": order.get("event_type", "none"), "query": []},
            time_constraints=[],
            severity=order["severity"],
        )
        self._storage.create_alarm(alarm)
        return {"alarm_id": alarm.alarm_id}

    def events(self, order: dict[str, Any]) -> dict[str, Any]:
        """Evaluate an event of our project's."""
        order["traits"].append(["project_id", 1, PROJECT])
        self._events.evaluate_events([order])
        return {}

    def state(self, order: dict[str, Any]) -> dict[str, Any]:
        """Let the evaluator find a state."""
        (alarm,) = self._storage.get_alarms(alarm_id=order["alarm_id"])
        self._finding._refresh(alarm, order["state"], order["reason"], {"type": "threshold"})
        return {}

    def delete(self, order: dict[str, Any]) -> dict[str, Any]:
        """Delete an alarm, and tell it with what aodh's API tells."""
        (alarm,) = self._storage.get_alarms(alarm_id=order["alarm_id"])
        payload = {
            "event_id": str(uuid.uuid4()),
            "alarm_id": alarm.alarm_id,
            "type": models.AlarmChange.DELETION,
            "detail": {"state": alarm.state},
            "user_id": "ada",
            "project_id": PROJECT,
            "on_behalf_of": PROJECT,
            "timestamp": timeutils.utcnow(),
            "severity": alarm.severity,
        }
        self._storage.delete_alarm(alarm.alarm_id)
        assert self._news is not None
        self._news.info({}, "alarm.deletion", payload)
        return {}


def main(folder: Path, *transport: str) -> None:
    """Take orders until the process is ended."""
    aodh = Aodh(folder, *transport)
    orders = {f"/{name}": getattr(aodh, name) for name in ("alarms", "events", "state", "delete")}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(orders[self.path](order)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    partial = folder / "address.partial"
    partial.write_text(f"http://127.0.0.1:{server.server_port}")
    partial.rename(folder / "address")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
