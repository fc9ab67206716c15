"""What may be compiled: see [tool.hatch.build.targets.wheel.hooks.mypyc] in pyproject.toml."""

import importlib
import shutil

import msgspec
import pytest

import tests.compiled.__main__ as compiled
from tests.support.compiled_modules import compiled_modules


def test_no_compiled_module_defines_a_struct() -> None:
    # Compiled, a struct would lose the options of its class and the bounds in its annotations.
    for name in compiled_modules():
        module = importlib.import_module(name)
        structs = [
            each
            for each in vars(module).values()
            if isinstance(each, type)
            and issubclass(each, msgspec.Struct)
            and each.__module__ == name
        ]
        assert structs == [], name


def test_without_a_compiler_it_is_left_out_where_nobody_insists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _command: None)
    assert compiled.main([]) == 2
    assert "install a C compiler" in capsys.readouterr().out
    assert compiled.main(["--if-possible"]) == 0
    assert capsys.readouterr().out.startswith("tests.compiled: left out: ")
