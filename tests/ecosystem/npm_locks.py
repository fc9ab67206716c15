"""Writes the lock files of the JavaScript packages anew: ``python -m tests.ecosystem.npm_locks``.

Versions that fit are kept. What npm notes beside each package and no install needs is left out:
``resolved``, the registry of who ran it, and ``funding``, where to give money.
"""

import json
import subprocess
from pathlib import Path

UNNEEDED = ("resolved", "funding")


def main() -> None:
    """Write each lock file; what npm says goes where ours goes."""
    for package in sorted(Path(__file__).parent.glob("*/package.json")):
        npm = ("npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit")
        subprocess.run([*npm, "--no-fund", "--silent"], cwd=package.parent, check=True)
        lock_file = package.with_name("package-lock.json")
        lock = json.loads(lock_file.read_text())
        for each in lock["packages"].values():
            for key in UNNEEDED:
                each.pop(key, None)
        lock_file.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
