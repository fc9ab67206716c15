"""Sections of the settings from tables, as the settings file has them."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vimfed.settings import VimSettings


def vim_of(table: Mapping[str, Any]) -> VimSettings:
    """Return the cloud that an entry of ``[[vims]]`` describes."""

    def decode(kind: Callable[[str], Any], value: str) -> Any:
        return kind(value)

    return msgspec.convert(dict(table), VimSettings, dec_hook=decode)
