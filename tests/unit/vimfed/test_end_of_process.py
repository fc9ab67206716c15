"""A process that ends does no work for what it leaves."""

import atexit
import gc
from typing import Any

import pytest
from click.testing import CliRunner

from vimfed.cli import main


def test_at_its_end_no_process_looks_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    last: list[Any] = []
    monkeypatch.setattr(atexit, "register", last.append)
    assert CliRunner().invoke(main, ["sample-settings"]).exit_code == 0
    assert last == [gc.freeze]
