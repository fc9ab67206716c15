"""nova's own environment: made once from requirements.lock, kept in the project's ``.cache``."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.paths import PROJECT

LOCK = Path(__file__).with_name("requirements.lock")
CACHE = PROJECT / ".cache"


class NovaEnvironmentError(Exception):
    """nova could not be installed; the text says why."""


def nova_python(say: Callable[[str], None], cache: Path = CACHE) -> Path:
    """Return the interpreter that has nova; install it there first where it is missing.

    ``say`` is told when that takes a while. Raises NovaEnvironmentError.
    """
    place = cache / f"real-nova-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python = place / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "real-nova.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be at it
        if not (place / "complete").exists():
            say("Installing nova for the tests into .cache (once; about a minute)")
            shutil.rmtree(place, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(place))
            pip = ("-m", "pip", "install", "--quiet", "--no-compile", "--no-deps")
            _run(str(python), *pip, "--require-hashes", "-r", str(LOCK))
            _link_etc(place)
            (place / "complete").touch()
    return python


def _link_etc(place: Path) -> None:
    """Show nova its etc/nova where its tests look for it: beside the package."""
    (packages,) = place.glob("lib/python3*/site-packages")
    (packages / "etc").mkdir(exist_ok=True)
    (packages / "etc" / "nova").symlink_to(place / "etc" / "nova")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NovaEnvironmentError(f"{' '.join(command[:4])}: {done.stderr or done.stdout}")
