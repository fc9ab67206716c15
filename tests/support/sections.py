"""Sections of the settings, as tables of the settings file and as values."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from vimfed.settings import VimSettings


def rabbit_cloud(
    *urls: str, cloud_owner: str = "Owner", cloud_region_id: str = "Region", **rabbit: object
) -> dict[str, Any]:
    """Return an entry of ``[[vims]]`` with these message buses and keys of ``[vims.rabbit]``."""
    return {
        "cloud_owner": cloud_owner,
        "cloud_region_id": cloud_region_id,
        "rabbit": {"transport_urls": list(urls), **rabbit},
    }


def kafka_cloud(
    bootstrap: str, *, cloud_owner: str = "Owner", cloud_region_id: str = "Region", **kafka: object
) -> dict[str, Any]:
    """Return an entry of ``[[vims]]`` with this Kafka and keys of ``[vims.kafka]``."""
    return {
        "cloud_owner": cloud_owner,
        "cloud_region_id": cloud_region_id,
        "kafka": {"bootstrap": bootstrap, **kafka},
    }


def vim_of(table: Mapping[str, Any]) -> VimSettings:
    """Return the cloud that an entry of ``[[vims]]`` describes."""

    def decode(kind: Callable[[str], Any], value: str) -> Any:
        return kind(value)

    return msgspec.convert(dict(table), VimSettings, dec_hook=decode)


def table_lines(header: str, table: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a table such as ``[kafka]`` or ``[[vims]]``, and of the tables in it."""
    yield header
    # JSON's strings, numbers, booleans and arrays of them are TOML's, too.
    for key, value in table.items():
        if not _are_tables(value):
            yield f"{key} = {json.dumps(value)}"
    for key, value in table.items():
        path = f"{header.strip('[]')}.{key}"
        if isinstance(value, Mapping):
            yield from table_lines(f"[{path}]", value)
        elif isinstance(value, list) and _are_tables(value):
            for each in value:
                yield from table_lines(f"[[{path}]]", each)


def _are_tables(value: object) -> bool:
    """Return whether it is a table, or a list of some."""
    is_list = isinstance(value, list) and any(isinstance(each, Mapping) for each in value)
    return is_list or isinstance(value, Mapping)
