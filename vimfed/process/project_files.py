"""Files of the project that are no modules: an installed wheel carries those that it needs."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The project's folder, where we run from a checkout."""


def project_file(path: str) -> Path:
    """Return where the file lies that has this path in a checkout.

    In a wheel it lies below ``vimfed/files`` (pyproject.toml says which are there).
    """
    installed = Path(__file__).parents[1] / "files" / path
    return installed if installed.exists() else CHECKOUT / path


def cache_dir() -> Path:
    """Return the folder for what can be fetched again: the checkout's, else the user's.

    A user without HOME whom the machine does not know, as in a container, has it where it works.
    """
    if (CHECKOUT / "pyproject.toml").exists():
        return CHECKOUT / ".cache"
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen:
        return Path(chosen) / "vimfed"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path.cwd()
    return home / ".cache" / "vimfed"
