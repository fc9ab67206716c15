"""What the tests here need that the project's own set-up does not bring."""

import shutil
import subprocess
from pathlib import Path

from tests.support.paths import PROJECT
from tests.support.separate_environment import CACHE

COMMANDS = {
    "node": "install Node.js 18 or newer, with npm",
    "npm": "install npm, which comes with Node.js",
}
"""Each command, and how to get it."""


def missing() -> list[str]:
    """Return a line for each command that is not here: what it is, and how to mend it."""
    return [
        f"there is no command {command}: {cure}"
        for command, cure in COMMANDS.items()
        if shutil.which(command) is None
    ]


def node_modules(name: str) -> Path:
    """Return a folder with a ``node_modules`` of what ``NAME/package-lock.json`` here locks.

    Made once and kept in ``.cache``. Raises CalledProcessError where npm cannot.
    """
    source = PROJECT / "tests" / "ecosystem" / name
    place = CACHE / f"node-{name}"
    lock = (source / "package-lock.json").read_bytes()
    done = place / "complete"
    if not done.exists() or done.read_bytes() != lock:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, place)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=place, check=True)
        done.write_bytes(lock)
    return place
