"""Tests every version in use: ``python -m tests.versions [what] [version]`` (make versions).

Prints a line for each row and writes docs/versions.md; with arguments it runs only the rows that
they name. What a run says lies in .cache/versions.
"""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

from tests.support.paths import PROJECT
from tests.versions.checks import CHECKS, Check
from tests.versions.table import Row, merged, parsed, rendered, result

PAGE = PROJECT / "docs" / "versions.md"
LOGS = PROJECT / ".cache" / "versions"


def run(check: Check) -> Row:
    """Run one row's command and return the row with what came of it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{check.row.what}-{check.row.version}.log"
    environment = os.environ | check.environment
    with log.open("w+") as output:
        done = subprocess.run(
            check.command, cwd=PROJECT, env=environment, stdout=output, stderr=output, check=False
        )
        output.seek(0)
        said = result(output.read(), succeeded=done.returncode == 0)
    return check.row._replace(result=said, on=datetime.now(UTC).date().isoformat())


def main(*named: str) -> int:
    """Run the rows in whose what and version all these words are; return the exit code."""
    rows = merged([check.row for check in CHECKS], parsed(PAGE.read_text()))
    PAGE.write_text(rendered(rows))
    failed = False
    for number, check in enumerate(CHECKS):
        if not set(named) <= set(" ".join(check.row[:2]).split()):
            continue
        if not check.needs.exists():
            print(f"{check.row.what} {check.row.version}: not run: there is no {check.needs}")
            continue
        begun = time.monotonic()
        rows[number] = row = run(check)
        took = time.monotonic() - begun
        print(f"{row.what} {row.version}: {row.checked_by}: {row.result}, {took:.0f} s", flush=True)
        failed |= row.result.startswith(("failed", "**"))
        PAGE.write_text(rendered(rows))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
