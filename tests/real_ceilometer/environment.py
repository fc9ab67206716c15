"""ceilometer's own environment: made once from requirements.lock, kept in ``.cache``."""

from collections.abc import Callable
from pathlib import Path

from tests.support.separate_environment import python_with

LOCK = Path(__file__).with_name("requirements.lock")
AGENT = Path(__file__).with_name("agent.py")


def ceilometer_python(say: Callable[[str], None]) -> Path:
    """Return the interpreter that has ceilometer; install it there first where it is missing.

    ``say`` is told when that takes a while. Raises EnvironmentNotMadeError.
    """
    return python_with("ceilometer", LOCK, say)
