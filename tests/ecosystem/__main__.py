"""Runs the tests beside other people's parts; ``--if-possible`` where all that they need is here.

Exit code 2 where something is missing: a line says what, and how to mend it. With
``--if-possible`` that is no failure.
"""

import sys

import pytest

from tests.ecosystem.needs import missing
from tests.support.paths import PROJECT


def main(arguments: list[str]) -> int:
    """Run the tests if all is here; return the exit code."""
    is_optional = "--if-possible" in arguments
    if lines := missing():
        for line in lines:
            print(f"make ecosystem: {'left out: ' if is_optional else ''}{line}")
        return 0 if is_optional else 2
    folder = str(PROJECT / "tests" / "ecosystem")
    rest = [each for each in arguments if each != "--if-possible"]
    return int(pytest.main(["-rP", "-p", "no:cacheprovider", "--durations=0", folder, *rest]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
