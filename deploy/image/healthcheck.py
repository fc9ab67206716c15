#!/usr/bin/env -S python3 -I -S
"""Asks the process of this container how it is: ``healthcheck PORT``; exit code 0: it works.

What it answers to /readyz is printed, and so stands in ``docker inspect``. No proxy is asked,
whatever the environment says. Docker restarts what ends and nothing else, so a process that does
not answer, or says on /healthz that it needs a restart, is ended: after START_CHECKS in a row since
the container's start, after CHECKS once it has been alive. That takes an init as process 1
(``init: true``, ``docker run --init``), for nothing in a container may kill its process 1.
"""

import http.client
import os
import signal
import sys
from pathlib import Path

TIMEOUT = 4.0
"""Seconds that an answer may take; compose's timeout has room for two."""
CHECKS = 6
START_CHECKS = 18
NOTES = Path("/tmp/healthcheck")  # noqa: S108 - a tmpfs, empty when the container starts
"""Holds how many checks in a row have failed, and ``alive`` once one has not."""
PROCESSES = Path("/proc")


def ask(port: int, path: str) -> tuple[bool, str]:
    """Return whether the answer is 200, and what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status == http.client.OK, answer.read(4000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"{path}: {error or type(error).__name__}"
    finally:
        connection.close()


def is_to_be_ended(is_alive: bool, notes: Path = NOTES) -> bool:
    """Note the outcome of a check; return whether too many have failed."""
    was_alive, failed = False, 0
    if notes.exists():
        words = notes.read_text().split()
        was_alive, failed = words[0] == "alive", int(words[1])
    was_alive, failed = was_alive or is_alive, 0 if is_alive else failed + 1
    notes.write_text(f"{'alive' if was_alive else 'starting'} {failed}")
    return failed >= (CHECKS if was_alive else START_CHECKS)


def children_of_init() -> list[int]:
    """Return the processes that process 1 has started."""
    found = []
    for status in PROCESSES.glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:  # it has just ended
            continue
        if parent == 1:
            found.append(int(status.parent.name))
    return found


def main() -> int:
    """Check once; return the exit code."""
    port = int(sys.argv[1])
    is_ready, told = ask(port, "/readyz")
    print(told)
    is_alive, why = (True, "") if is_ready else ask(port, "/healthz")
    if is_to_be_ended(is_alive):
        print(f"ended, to be started again: {why}")
        for process in children_of_init():
            os.kill(process, signal.SIGKILL)
    return 0 if is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
