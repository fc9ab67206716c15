"""One helper knows what a decoder raises of JSON that others wrote."""

from tests.support.paths import PROJECT

OWNERS = {"vimfed/model/decoding.py", "streams/core/fold.py"}
"""The helper, and what makes rows of decoded values."""


def test_nobody_else_catches_what_is_nested_too_deeply() -> None:
    found = {
        str(path.relative_to(PROJECT))
        for package in ("bridge", "streams", "vimfed", "web")
        for path in (PROJECT / package).rglob("*.py")
        if "RecursionError" in path.read_text()
    }
    assert found == OWNERS
