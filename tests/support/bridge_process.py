"""The bridge as operators run it: a process of its own, with a settings file."""

import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.sections import table_lines
from vimfed.local.child import Child


def eventually(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Return as soon as ``condition`` holds. Raises AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.05)


class BridgeProcess:
    """``vimfed bridge`` with a settings file that can be written anew."""

    def __init__(
        self,
        folder: Path,
        *,
        kafka: Mapping[str, object],
        vims: Sequence[Mapping[str, object]],
        bridge: Mapping[str, object] | None = None,
    ) -> None:
        self.settings_file = folder / "vimfed.toml"
        self.log = folder / "bridge.log"
        self._kafka = dict(kafka)
        # Without heartbeats: tests count what is forwarded.
        self._bridge = {"port": 0, "heartbeat_interval": 0, **(bridge or {})}
        folder.mkdir(parents=True, exist_ok=True)
        self.write_settings(vims)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VIMFED_")}
        self.child = Child(
            [sys.executable, "-m", "vimfed", "--config", str(self.settings_file), "bridge"],
            env=environment,
            log=self.log,
        )

    def write_settings(self, vims: Sequence[Mapping[str, object]]) -> None:
        """Write the settings file with these clouds."""
        lines = [*table_lines("[kafka]", self._kafka), *table_lines("[bridge]", self._bridge)]
        lines += [line for vim in vims for line in table_lines("[[vims]]", vim)]
        self.settings_file.write_text("\n".join(lines))

    def start(self, connected: Sequence[str] | None = None, timeout: float = 30.0) -> None:
        """Start, and wait until it listens to these clouds and Kafka is there (none: do not)."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self.child.spawn()
        for vim_id in connected or ():
            self.wait_until_connected(vim_id, timeout)
        if connected:
            eventually(lambda: self.health("/readyz")[0] == 200, "ready", timeout)

    def wait_until_connected(self, vim_id: str, timeout: float = 30.0) -> None:
        """Wait until a cloud's listener is connected."""
        eventually(
            lambda: self.metric("connected", vim_id) == 1,
            f"connected to {vim_id}; {self.child.last_log_line()}",
            timeout,
        )

    def hang_up(self) -> None:
        """Tell it to read its settings again."""
        os.kill(self.child.pid, signal.SIGHUP)

    def stop(self) -> float:
        """End it with SIGTERM; return how many seconds that took. It must exit with 0."""
        begun = time.monotonic()
        self.child.terminate()
        assert self.child.wait(15), "the bridge did not end within 15 s of SIGTERM"
        assert self.child.returncode == 0, self.log_text()[-3000:]
        return time.monotonic() - begun

    def log_text(self) -> str:
        """Return everything it has logged in all its lives."""
        return self.log.read_text() if self.log.exists() else ""

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a GET on its own endpoint; status 0 where nothing answers."""
        found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", self._log_of_this_life())
        if found is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def health(self, path: str = "/healthz") -> tuple[int, Any]:
        """Return status and decoded body of a health answer."""
        status, text = self.get(path)
        return status, json.loads(text) if text else None

    def metric(self, name: str, vim_id: str, bus: str = "") -> float | None:
        """Return a cloud's figure, of one of its buses or the first; None where it is not shown."""
        _status, text = self.get("/metrics")
        wanted = re.escape(bus) if bus else '[^"]*'
        labels = rf'bus="{wanted}",vim_id="{re.escape(vim_id)}"'
        found = re.search(rf"^vimfed_bridge_{name}\{{{labels}\}} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def _log_of_this_life(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")
