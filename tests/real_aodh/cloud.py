"""A real aodh as a child process."""

from pathlib import Path
from typing import Any, Self

import requests

from tests.real_aodh.environment import SERVER
from tests.support.waiting import eventually
from vimfed.local.child import Child

ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
START_TIMEOUT = 90.0


class RealAodh:
    """aodh's evaluator and notifier; ``with`` ends them."""

    def __init__(self, python: Path, folder: Path, transport: tuple[str, ...] = ()) -> None:
        """``transport``: URL and exchange of its notifications; empty: it sends none."""
        self._folder = folder
        command = [str(python), str(SERVER), str(folder), *transport]
        self.child = Child(command, env=ENV, log=folder / "aodh.log", cwd=folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.child.stop()

    def start(self) -> None:
        """Start it, or start it again with what it knew."""
        address = self._folder / "address"
        address.unlink(missing_ok=True)
        self.child.spawn()
        eventually(lambda: address.exists() or not self.child.running, START_TIMEOUT)
        assert address.exists(), self.child.last_log_line()
        self._url = address.read_text()

    def make_alarm(self, name: str, action: str, severity: str = "moderate", **more: Any) -> str:
        """Return the id of a new alarm by events, whose state is ``ok``."""
        made = self._order("alarms", name=name, actions=[action], severity=severity, **more)
        return str(made["alarm_id"])

    def evaluate(self, event_type: str, **traits: str) -> None:
        """Let an event come that each alarm by such events is about."""
        told = [[name, 1, value] for name, value in traits.items()]
        event = {"event_type": event_type, "message_id": f"{event_type} {traits}", "traits": told}
        self._order("events", **event)

    def find(self, alarm_id: str, state: str, reason: str = "") -> None:
        """Let the evaluator find a state; what follows is done when this returns."""
        self._order("state", alarm_id=alarm_id, state=state, reason=reason)

    def delete(self, alarm_id: str) -> None:
        """Delete an alarm."""
        self._order("delete", alarm_id=alarm_id)

    def _order(self, what: str, **order: Any) -> Any:
        answer = requests.post(f"{self._url}/{what}", json=order, timeout=30)
        assert answer.status_code == 200, (what, order, self.child.last_log_line())
        return answer.json()
