"""The tests' own nova: an operation of its that fails ends the test with nova's word on why."""

from pathlib import Path
from typing import Any

import pytest

from tests.real_nova.cloud import RealNova

FAULT = "Can't upgrade a READER transaction to a WRITER mid-transaction"


class FailingNova(RealNova):
    """A nova that is not started, in which each operation fails."""

    def truth(self, server: str) -> tuple[str, str]:
        """Return that the server is in error."""
        return "error", ""

    def fault(self, server: str) -> str:
        """Return why."""
        return FAULT

    def _post(self, path: str, body: object) -> Any:
        return None


def test_an_operation_that_ends_in_error_tells_what_nova_says_of_it(tmp_path: Path) -> None:
    nova = FailingNova(Path("python"), tmp_path)
    with pytest.raises(AssertionError, match=FAULT):
        nova.do("server", "stop")
