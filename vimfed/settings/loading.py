"""Settings from one TOML file, each key also by environment; unknown keys are refused by name.

``VIMFED_KAFKA__BOOTSTRAP`` overrides ``bootstrap`` in ``[kafka]``;
``VIMFED_VIMS__<VIM_ID>__RABBIT__TRANSPORT_URLS`` overrides ``transport_urls`` in that cloud's
``[vims.rabbit]`` (its vim_id in capitals, every other character than a letter or a digit written as
``_``), and ``VIMFED_DMAAP__OUTPUTS__<NAME>__PASSWORD`` that of an output. A list has spaces between
its entries. A key whose name ends in ``_file`` names a file that holds the secret. Of
``VIMFED_WEB__AUTH__USERS__<NAME>__...`` and ``VIMFED_GATEWAY__USERS__<NAME>__...`` a user is made
where the file has none of that name: it is the name in lower case.
"""

import difflib
import os
import re
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vimfed.model.identity import vim_id_of
from vimfed.settings.checks import (
    check_kafka,
    check_outputs,
    check_self_service,
    check_vims,
    check_web,
)
from vimfed.settings.moved import MOVED, moved_keys, moved_keys_of_output
from vimfed.settings.sections import (
    DmaapOutput,
    GatewayUser,
    S,
    Settings,
    SettingsError,
    VimSettings,
    WebUser,
    _Section,
    section_type,
)
from vimfed.settings.values import Secret

ENV_PREFIX = "VIMFED_"
NO_SETTINGS = frozenset({"VIMFED_CONFIG", "VIMFED_STATUS_AT"})


def load_settings(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read, override by environment, resolve ``_file`` keys and validate.

    ``path`` None means defaults and environment alone. Raises SettingsError.
    """
    tree = _read_toml(path) if path is not None else {}
    _refuse_unknown_keys(tree, Settings, "")
    sources = [str(path)] if path is not None else []
    if _apply_environment(tree, environ):
        sources.append("environment")
    try:
        settings = msgspec.convert(tree, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{' and '.join(sources)}: {error}") from None
    settings = _resolve_secret_files(settings)
    for check in (check_kafka, check_vims, check_outputs, check_web, check_self_service):
        check(settings)
    return settings


def log_format(path: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Return what ``log.format`` says, also where other settings are wrong; empty: nothing."""
    if "VIMFED_LOG__FORMAT" in environ:
        return environ["VIMFED_LOG__FORMAT"]
    try:
        log = _read_toml(path).get("log")
    except SettingsError:
        return ""
    return str(log.get("format", "")) if isinstance(log, dict) else ""


def _decode(kind: type[Path] | type[Secret], value: Any) -> Path | Secret:
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a BOM
    except FileNotFoundError:
        raise SettingsError(
            f"no settings file {path}: name one with --config, or make one: vimfed sample-settings "
            "> vimfed.toml"
        ) from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def _refuse_unknown_keys(tree: Any, section: type[_Section], where: str) -> None:
    if not isinstance(tree, dict):
        return  # msgspec says what was expected here
    hints = typing.get_type_hints(section, include_extras=True)
    if section is VimSettings and (moved := moved_keys(tree)):
        raise SettingsError(f"vims: {_LISTS['VIMS'].name_of(tree)}: {moved}")
    if section is DmaapOutput and (moved := moved_keys_of_output(tree)):
        raise SettingsError(f"output {_LISTS['DMAAP__OUTPUTS'].name_of(tree)}: {moved}")
    for key, value in tree.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0)
            raise SettingsError(f"unknown key {where}{key}: did you mean {where}{near[0]}?")
        inner = section_type(hints[key])
        for entry in value if isinstance(value, list) else [value]:
            if inner is not None:
                _refuse_unknown_keys(entry, inner, f"{where}{key}.")


def _environment_name(vim_id: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", vim_id.upper())


class _Entries(typing.NamedTuple):
    """A list of sections, whose entries the environment reaches by name."""

    section: type[_Section]
    name_of: Callable[[Mapping[str, Any]], str]
    unknown: str = ""
    """What is said of a name that no entry has; empty: the entry is made."""


_LISTS = {
    "VIMS": _Entries(
        VimSettings,
        lambda vim: vim_id_of(vim.get("cloud_owner", ""), vim.get("cloud_region_id", "")),
        "no cloud in [[vims]] has that vim_id",
    ),
    "DMAAP__OUTPUTS": _Entries(
        DmaapOutput, lambda output: output.get("name", "dmaap"), "no output has that name"
    ),
    # One that is misspelt leaves the right one without a password, which is refused.
    "WEB__AUTH__USERS": _Entries(WebUser, lambda user: user.get("name", "")),
    "GATEWAY__USERS": _Entries(GatewayUser, lambda user: user.get("name", "")),
}


def _apply_environment(tree: dict[str, Any], environ: Mapping[str, str]) -> bool:
    """Write each ``VIMFED_SECTION__KEY`` of ``environ`` into ``tree``; return whether any is."""
    names = sorted(name for name in environ if name.startswith(ENV_PREFIX))
    names = [name for name in names if name not in NO_SETTINGS]
    for name in names:
        value = environ[name]
        path = name.removeprefix(ENV_PREFIX)
        try:
            of_list = next((head for head in _LISTS if path.startswith(f"{head}__")), None)
            if of_list is not None:
                _apply_to_entry(tree, of_list, path.removeprefix(f"{of_list}__"), value)
            else:
                _apply_to_section(tree, path.lower().split("__"), value)
        except SettingsError as error:
            raise SettingsError(f"environment variable {name}: {error}") from None
    return bool(names)


def _override(
    tree: dict[str, Any], section: type[_Section], path: Sequence[str], value: str
) -> None:
    """Write the value of a variable into the table of ``section``; its key is known."""
    table: Any = tree
    for key in path[:-1]:
        inner = section_type(typing.get_type_hints(section, include_extras=True)[key])
        table = table.setdefault(key, {})
        if not isinstance(table, dict) or inner is None:
            return  # msgspec says what was expected here
        section = inner
    key = path[-1]
    is_list = typing.get_origin(typing.get_type_hints(section)[key]) in (list, tuple)
    table[key] = value.split() if is_list else value
    # The environment goes before the file, also where that names a file for the same secret.
    table.pop(f"{key}_file", None)


def _apply_to_section(tree: dict[str, Any], keys: Sequence[str], value: str) -> None:
    override: Any = value
    for key in reversed(keys):
        override = {key: override}
    _refuse_unknown_keys(override, Settings, "")
    _override(tree, Settings, keys, value)


def _apply_to_entry(tree: dict[str, Any], head: str, rest: str, value: str) -> None:
    entries, keys = _LISTS[head], head.lower().split("__")
    found: Any = tree
    for each in keys:
        found = found.get(each) if isinstance(found, dict) else None
    named = {
        f"{_environment_name(entries.name_of(entry))}__": entry
        for entry in (found if isinstance(found, list) else [])
        if isinstance(entry, dict)
    }
    fitting = [name for name in named if rest.startswith(name)]
    if not fitting and entries.unknown:
        raise SettingsError(entries.unknown)
    entry_name = max(fitting, key=len, default=f"{rest.rpartition('__')[0]}__")
    path = rest.removeprefix(entry_name).lower().split("__")
    if entries.section is VimSettings and path[0] in MOVED:
        raise SettingsError(f"{path[0]} is now {MOVED[path[0]]}")
    if not _is_key(entries.section, path) or entry_name == "__":
        raise SettingsError(f"no such key of [[{'.'.join(keys)}]]: {'.'.join(path)}")
    entry = named[entry_name] if fitting else _made_entry(tree, keys, entry_name)
    if entry is not None:
        _override(entry, entries.section, path, value)


def _made_entry(
    tree: dict[str, Any], keys: Sequence[str], entry_name: str
) -> dict[str, Any] | None:
    """Return a new entry of a list of sections; None where the file has something else there."""
    table: Any = tree
    for each in keys[:-1]:
        table = table.setdefault(each, {})
        if not isinstance(table, dict):
            return None  # msgspec says what was expected here
    entries = table.setdefault(keys[-1], [])
    if not isinstance(entries, list):
        return None
    entry = {"name": entry_name.removesuffix("__").lower()}
    entries.append(entry)
    return entry


def _is_key(section: type[_Section], path: Sequence[str]) -> bool:
    """Return whether ``path`` leads from a section, over those in it, to a key."""
    for number, key in enumerate(path, start=1):
        if key not in section.__struct_fields__:
            return False
        inner = section_type(typing.get_type_hints(section, include_extras=True)[key])
        if (inner is None) != (number == len(path)):
            return False
        section = inner or section
    return True


def _resolve_secret_files(section: S) -> S:
    """Read the file of each key that another key with the suffix ``_file`` names."""
    resolved: dict[str, Any] = {}
    for name in section.__struct_fields__:
        value = getattr(section, name)
        secret = name.removesuffix("_file")
        if value and secret != name and secret in section.__struct_fields__:
            text = read_secret(value)
            is_list = isinstance(getattr(section, secret), tuple)
            resolved[secret] = tuple(map(Secret, text.split())) if is_list else Secret(text)
        elif isinstance(value, _Section):
            resolved[name] = _resolve_secret_files(value)
        elif isinstance(value, list):
            resolved[name] = [
                _resolve_secret_files(each) if isinstance(each, _Section) else each
                for each in value
            ]
    return msgspec.structs.replace(section, **resolved)


def read_secret(path: str) -> str:
    """Return the secret in a file. Raises SettingsError, which names the file alone."""
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"cannot read the secret file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the secret file {path} is no UTF-8 text") from None
    if not secret:
        raise SettingsError(f"the secret file {path} is empty")
    return secret
