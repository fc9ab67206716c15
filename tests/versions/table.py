"""docs/versions.md: what is tested, and what came of it; pure."""

import re
from collections.abc import Sequence
from typing import NamedTuple

HEAD = """\
# Versions

What is in use, and what was tested of it, by `make versions`, which writes this table; what a run
leaves out stays as it was. A result is of the day that it names; what failed is in bold type. The
tests of every change (`make test`) run with the first version of each.

| what | version | checked by | result | on |
|---|---|---|---|---|
"""
NOT_RUN = "not run"
_SUMS = re.compile(r"(?:\d+ failed, )?\d+ passed|\d+ failed|\d+ of \d+ servers")


class Row(NamedTuple):
    """One line of the table; the texts are as they stand there."""

    what: str
    version: str
    checked_by: str
    result: str = NOT_RUN
    on: str = ""
    """The day of the run: ISO 8601; empty where it was not run."""


def rendered(rows: Sequence[Row]) -> str:
    """Return the page."""
    return HEAD + "".join(f"| {' | '.join(row)} |\n".replace("|  |", "| |") for row in rows)


def parsed(page: str) -> list[Row]:
    """Return the rows of a page that ``rendered`` has made."""
    lines = [line for line in page.splitlines() if line.startswith("| ")][1:]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def merged(wanted: Sequence[Row], before: Sequence[Row]) -> list[Row]:
    """Return the rows that are wanted with the results of before, if the same was checked."""
    known = {row[:3]: row for row in before}
    return [known.get(row[:3], row) for row in wanted]


def result(output: str, *, succeeded: bool) -> str:
    """Return what came of a command in few words: pytest's sum, or the servers that are right."""
    found: list[str] = _SUMS.findall(output)
    if not found:
        return "passed" if succeeded else "failed"
    return found[-1] if succeeded else f"**{found[-1]}**"
