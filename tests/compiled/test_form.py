"""What runs here is compiled."""

import importlib
from importlib.machinery import EXTENSION_SUFFIXES

from tests.support.compiled_modules import compiled_modules


def test_every_module_of_the_list_is_an_extension() -> None:
    for name in compiled_modules():
        file = importlib.import_module(name).__file__ or ""
        assert file.endswith(tuple(EXTENSION_SUFFIXES)), name
