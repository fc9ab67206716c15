"""Child processes that end with us: brokers, and what the supervisor runs."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from vimfed.local import bound


class Child:
    """One command, run as a child that dies with this process, even if that is killed.

    Its output goes to ``log``, appended, or where ours goes. It has a process group of its own, so
    that a Ctrl-C in the terminal reaches us alone and we decide the order in which things end.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self._env = env
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start the command; it must not be running. Raises OSError where it cannot be started."""
        if self.running:
            raise RuntimeError(f"already running: {self.command[0]}")
        if threading.current_thread() is not threading.main_thread():
            # The kernel binds a child to the thread that started it, and a pool's thread may end.
            raise RuntimeError("start child processes from the main thread")
        output: IO[bytes] | None = None
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            output = self.log.open("ab")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the commands are our own
                [sys.executable, "-I", "-S", bound.__file__, str(os.getpid()), *self.command],
                env=dict(self._env) if self._env is not None else None,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()

    @property
    def pid(self) -> int:
        """The process id; RuntimeError before the first spawn."""
        if self._process is None:
            raise RuntimeError(f"not started: {self.command[0]}")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before it was started."""
        return self._process.poll() if self._process is not None else None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP), as a paused VM or a long GC would."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._send(signal.SIGCONT)

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the end; True if it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._send(signal.SIGTERM)

    def stop(self, timeout: float = 10.0) -> None:
        """Ask it to end, and kill it if it has not within ``timeout`` seconds."""
        self.terminate()
        if not self.wait(timeout):
            self.kill()

    def last_log_line(self) -> str:
        """Return the last line in its log that is not indented, as stack frames are."""
        if self.log is None or not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 65536))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line and not line[0].isspace()), "")
