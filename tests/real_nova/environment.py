"""nova's own environment: made once from requirements.lock, kept in the project's ``.cache``."""

from collections.abc import Callable
from pathlib import Path

from tests.support.separate_environment import CACHE, python_with

NEWEST = "34"
LOCKS = {
    NEWEST: Path(__file__).with_name("requirements.lock"),
    **{old: Path(__file__).with_name(f"requirements-{old}.lock") for old in ("31", "26")},
}
"""By nova's major version: OpenStack 2026.1, 2025.1 (Debian trixie) and Zed (Debian bookworm)."""


def nova_python(say: Callable[[str], None], version: str = NEWEST, *, cache: Path = CACHE) -> Path:
    """Return the interpreter that has nova; install it there first where it is missing.

    ``say`` is told when that takes a while. Raises EnvironmentNotMadeError.
    """
    return python_with("nova", LOCKS[version], say, _link_etc, cache)


def _link_etc(place: Path) -> None:
    """Show nova its etc/nova where its tests look for it: beside the package."""
    (packages,) = place.glob("lib/python3*/site-packages")
    (packages / "etc").mkdir(exist_ok=True)
    (packages / "etc" / "nova").symlink_to(place / "etc" / "nova")
