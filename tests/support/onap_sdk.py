"""ONAP's own SDK, in an environment of its own: its pins do not go with ours."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from vimfed.local.kafka import CACHE

ONAPSDK = "onapsdk==14.6.0"


def onap_sdk(folder: Path, settings: Mapping[str, str], script: str, *arguments: str) -> str:
    """Run a script with the SDK, whose settings are written into ``folder``; return its output."""
    lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
    (folder / "sdk_settings.py").write_text("".join(lines))
    done = subprocess.run(
        [_python(), "-c", script, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "ONAP_PYTHON_SDK_SETTINGS": "sdk_settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _python() -> Path:
    """Return a Python with the SDK; install it first where that was not done yet."""
    folder = CACHE / ONAPSDK.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "setuptools<80", ONAPSDK]
        subprocess.run(install, check=True)
        (folder / "installed").touch()
    return python
