"""A real Alertmanager, Debian's package, and what Prometheus tells it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import requests

from tests.support.waiting import eventually
from vimfed.local.child import Child
from vimfed.process.ports import free_ports

PROGRAM = "prometheus-alertmanager"
START_TIMEOUT = 30.0
LASTS = timedelta(hours=1)
"""For how long an alert fires unless it is told again."""


class Alertmanager:
    """Alertmanager's process; ``with`` ends it.

    ``receivers``: by value of the label ``via``, the settings of a webhook. Alerts without the
    label go to the first.
    """

    def __init__(
        self, folder: Path, receivers: Mapping[str, Mapping[str, Any]], repeat: str = "1s"
    ) -> None:
        program = shutil.which(PROGRAM)
        assert program, f"the tests need Alertmanager: apt-get install {PROGRAM} (make test does)"
        self._folder = folder
        settings = folder / "alertmanager.yml"
        settings.write_text(json.dumps(_settings(receivers, repeat)))  # JSON is YAML
        self._command = [
            program,
            f"--config.file={settings}",
            f"--storage.path={folder / 'data'}",
            "--cluster.listen-address=",
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.child.stop()

    def start(self) -> None:
        """Start it, or start it again with what it kept on disk."""
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self.child = Child(
            [*self._command, f"--web.listen-address=127.0.0.1:{port}"],
            log=self._folder / "alertmanager.log",
        )
        self.child.spawn()
        eventually(self._is_ready, START_TIMEOUT)

    def fire(self, *alerts: Mapping[str, str], since: datetime, **annotations: str) -> None:
        """Tell that alerts, each by its labels, fire since then."""
        self._tell(alerts, since, datetime.now(UTC) + LASTS, annotations)

    def resolve(self, *alerts: Mapping[str, str], since: datetime) -> None:
        """Tell that they fire no more."""
        self._tell(alerts, since, datetime.now(UTC), {})

    @property
    def sent(self) -> int:
        """How many webhooks have been answered 200 since it was started."""
        text = requests.get(f"{self._url}/metrics", timeout=10).text
        counts = {
            name: sum(
                float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if line.startswith(f"alertmanager_notifications_{name}")
                and 'integration="webhook"' in line
            )
            for name in ("total", "failed_total")
        }
        return round(counts["total"] - counts["failed_total"])

    def _is_ready(self) -> bool:
        assert self.child.running, self.child.last_log_line()
        try:
            return requests.get(f"{self._url}/-/ready", timeout=10).status_code == 200
        except requests.ConnectionError:
            return False

    def _tell(
        self,
        alerts: Sequence[Mapping[str, str]],
        since: datetime,
        until: datetime,
        annotations: Mapping[str, str],
    ) -> None:
        body: list[Any] = [
            {
                "labels": dict(labels),
                "annotations": dict(annotations),
                "startsAt": since.isoformat(),
                "endsAt": until.isoformat(),
            }
            for labels in alerts
        ]
        answer = requests.post(f"{self._url}/api/v2/alerts", json=body, timeout=10)
        assert answer.status_code == 200, answer.text


def _settings(receivers: Mapping[str, Mapping[str, Any]], repeat: str) -> dict[str, Any]:
    routes = [{"receiver": via, "matchers": [f'via="{via}"']} for via in receivers]
    return {
        "route": {
            "receiver": next(iter(receivers)),
            "group_by": ["..."],
            "group_wait": "100ms",
            "group_interval": "500ms",
            "repeat_interval": repeat,
            "routes": routes,
        },
        "receivers": [
            {"name": via, "webhook_configs": [{"send_resolved": True, **webhook}]}
            for via, webhook in receivers.items()
        ],
    }
