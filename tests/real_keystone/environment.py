"""Keystone's own environment: made once from requirements.lock, kept in ``.cache``."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.separate_environment import EnvironmentNotMadeError, python_with

LOCK = Path(__file__).with_name("requirements.lock")
SERVER = Path(__file__).with_name("server.py")
ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def keystone_python(say: Callable[[str], None]) -> Path:
    """Return the interpreter that has Keystone; install it there first where it is missing.

    ``say`` is told when that takes a while. Raises EnvironmentNotMadeError.
    """
    return python_with("keystone", LOCK, say, _prepare)


def prepared(python: Path) -> Path:
    """Return the folder that holds the database with which a Keystone begins, and its keys."""
    return python.parents[1] / "prepared"


def _prepare(place: Path) -> None:
    """Make the database; what this imports is compiled on the way, so that starts are quick."""
    python = place / "bin" / "python"
    done = subprocess.run(
        [python, SERVER, prepared(python), "prepare"],
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EnvironmentNotMadeError(f"Keystone's database: {done.stderr}")
