"""promtool, which comes with Prometheus, on the files in deploy/prometheus."""

import shutil
import subprocess

from tests.support.paths import PROJECT

FOLDER = PROJECT / "deploy" / "prometheus"


def promtool(*arguments: str) -> None:
    """Run promtool, which must find nothing wrong."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: install it (on Debian: apt-get install prometheus)"
    done = subprocess.run(
        [program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
