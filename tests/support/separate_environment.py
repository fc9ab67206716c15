"""An environment of its own for a service that cannot share ours: made once, kept in ``.cache``."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.paths import PROJECT

CACHE = PROJECT / ".cache"


class EnvironmentNotMadeError(Exception):
    """A service could not be installed; the text says why."""


def python_with(
    service: str,
    lock_file: Path,
    say: Callable[[str], None],
    finish: Callable[[Path], None] = lambda _place: None,
    cache: Path = CACHE,
) -> Path:
    """Return the interpreter that has all of a lock file; install it there where it is missing.

    ``say`` is told when that takes a while. ``finish`` gets the environment's folder when
    everything is installed. Raises EnvironmentNotMadeError.
    """
    digest = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    place = cache / f"real-{service}-{digest[:12]}"
    python = place / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"real-{service}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be at it
        if not (place / "complete").exists():
            say(f"Installing {service} for the tests into .cache (once; about a minute)")
            shutil.rmtree(place, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(place))
            pip = ("-m", "pip", "install", "--quiet", "--no-compile", "--no-deps")
            _run(str(python), *pip, "--require-hashes", "-r", str(lock_file))
            finish(place)
            (place / "complete").touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EnvironmentNotMadeError(f"{' '.join(command[:4])}: {done.stderr or done.stdout}")
