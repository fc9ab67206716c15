"""Run a command that cannot outlive its parent: ``python bound.py PARENT_PID COMMAND...``.

On Linux the kernel kills the process as soon as the thread that started it ends, however that
ends; elsewhere the command runs unbound. A step before ``exec`` instead of a ``preexec_fn``: that
would run between fork and exec, which is unsafe as soon as the parent has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Bind this process to its parent, then become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent ended before its child began")
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
