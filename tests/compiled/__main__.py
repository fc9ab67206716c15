"""Compiles the core, and runs its unit tests on that form; ``--if-possible`` where a compiler is.

Exit code 2 where something is missing: a line says what, and how to mend it. With
``--if-possible`` that is no failure.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.paths import PROJECT
from tests.support.separate_environment import CACHE

COMPILED = CACHE / "compiled"
"""Where ``make compiled`` builds."""


def missing() -> str:
    """Return what is missing to compile an extension, and how to mend it; empty: nothing is."""
    compiler = str(sysconfig.get_config_var("CC") or "gcc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no command {compiler}: install a C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "there is no Python.h: install Python's headers (on Debian: python3-dev)"
    return ""


def main(arguments: list[str]) -> int:
    """Compile and run the tests if all is here; return the exit code."""
    is_optional = "--if-possible" in arguments
    if line := missing():
        print(f"tests.compiled: {'left out: ' if is_optional else ''}{line}")
        return 0 if is_optional else 2
    subprocess.run(["make", "--no-print-directory", "compiled"], cwd=PROJECT, check=True)
    rest = [each for each in arguments if each != "--if-possible"]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    tests = ["tests/compiled", "tests/unit/core"]
    return subprocess.run([*pytest, *tests, *rest], cwd=COMPILED, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
