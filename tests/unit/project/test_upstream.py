"""Private parts of other libraries are used where the documentation says so."""

import ast
import re
from pathlib import Path

from tests.support.paths import PROJECT

PACKAGES = ("bridge", "streams", "web", "vimfed")
STANDARD = {"_asdict", "_replace", "_exit", "_create_unverified_context"}
"""Public in all but name, or of the standard library."""


def private_parts(path: Path) -> set[str]:
    """Return the private attributes of others that a module uses."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and re.match("_[a-z]", node.attr)
        and node.attr not in STANDARD
        and ast.unparse(node.value) not in ("self", "cls")
    }


def test_the_page_lists_every_file_that_uses_private_parts_and_no_other() -> None:
    using = {
        str(path.relative_to(PROJECT))
        for package in PACKAGES
        for path in (PROJECT / package).glob("**/*.py")
        if private_parts(path)
    }
    page = (PROJECT / "docs" / "upstream.md").read_text()
    listed = re.findall(r"^\| `(\w[^`]*\.py)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(using)


def test_the_tests_that_the_page_names_are_there() -> None:
    page = (PROJECT / "docs" / "upstream.md").read_text()
    named = re.findall(r"`((?:unit|integration|e2e|chaos)/[^`]*\.py)`", page)
    assert named
    assert [name for name in named if not (PROJECT / "tests" / name).exists()] == []
