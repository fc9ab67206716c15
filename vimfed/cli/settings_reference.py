"""The reference of all settings as Markdown: docs/configuration.md is what this makes."""

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vimfed.settings import Secret, Settings, section_type
from vimfed.settings.moved import MOVED, MOVED_OF_OUTPUTS
from vimfed.settings.texts import texts_of

HEAD = """\
# Configuration

One TOML file, `vimfed.toml`; `--config` or `VIMFED_CONFIG` names another. `vimfed sample-settings`
prints one with every option explained, `vimfed check` says what of it would keep a process from its
work. A key that is not known is an error that names the nearest one.

Every key can be set by environment too, which goes before the file: `VIMFED_KAFKA__BOOTSTRAP` is
`bootstrap` in `[kafka]`, `VIMFED_VIMS__CLOUDOWNER_REGIONONE__RABBIT__TRANSPORT_URLS` is
`transport_urls` in `[vims.rabbit]` of that cloud, `VIMFED_DMAAP__OUTPUTS__ONAP__PASSWORD` is
`password` of the output `onap`; other characters than letters and digits become `_`, and a list has
spaces between its entries. A key that ends in `_file` names a file that holds the value without the
suffix: for secrets. A secret of the environment goes before a file that the settings file names. A
user whom the file does not have is made, with the name in lower case: `operator`, where there is
`VIMFED_WEB__AUTH__USERS__OPERATOR__PASSWORD_FILE`.

`SIGHUP` lets bridge and workers read `[[vims]]` again; everything else needs a restart.
"""
MOVED_HEAD = """
## What moved

A cloud's keys stand in a table for each way of access, so that none is without effect. A file of
release 0.1.0 is refused with the new place of each of its old keys. `transport_url = "kafka://…"`
is now `bootstrap`, `username`, `password` and `virtual_host`; with a user `security_protocol` is
`SASL_PLAINTEXT`, with `tls = true` it is `SSL`, with both `SASL_SSL`.

| in `[[vims]]` of 0.1.0 | now |
|---|---|
"""
FOOT = """
This page is made from the settings' types: `vimfed settings-reference > docs/configuration.md`.
"""


def reference() -> str:
    """Return the page."""
    return HEAD + "".join(_section(Settings, "", is_list=False)) + _moved() + FOOT


def _moved() -> str:
    """Return the section that tells where the keys of an earlier release are."""
    tables = (
        (MOVED_HEAD, MOVED),
        ("\n| in `[[dmaap.outputs]]` of 0.1.0 | now |\n|---|---|\n", MOVED_OF_OUTPUTS),
    )
    return "".join(
        head + "".join(f"| `{old}` | {new} |\n" for old, new in moved.items())
        for head, moved in tables
    )


def _section(section: type[msgspec.Struct], name: str, *, is_list: bool) -> Iterator[str]:
    """Yield a section's heading and table, and those of the sections in it."""
    hints = typing.get_type_hints(section, include_extras=True)
    scalars = {key: hint for key, hint in hints.items() if section_type(hint) is None}
    if scalars:
        title = f"[[{name}]]" if is_list else f"[{name}]" if name else "At the top"
        said = (section.__doc__ or "").partition(": ")[2].strip()
        yield f"\n## {title}\n\n"
        if name and said:
            yield f"{said[0].upper()}{said[1:]}\n\n"
        yield "| key | type | default | |\n|---|---|---|---|\n"
        defaults, texts = dict(_defaults(section)), texts_of(section)
        for key, hint in scalars.items():
            kind, meta = _split(hint)
            default = defaults.get(key)
            shown = "required" if default is None else _code(default)
            text = "; ".join(filter(None, [texts.get(key, ""), _limits(meta)]))
            yield f"| `{key}` | {_type(kind)} | {shown} | {_cell(text)} |\n"
    for key, hint in hints.items():
        inner = section_type(hint)
        if inner is not None:
            path = f"{name}.{key}" if name else key
            is_list = typing.get_origin(_split(hint)[0]) is list
            yield from _section(inner, path, is_list=is_list)


def _defaults(section: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(section):
        if field.default is not msgspec.NODEFAULT:
            yield field.name, field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            yield field.name, field.default_factory()


def _split(hint: Any) -> tuple[Any, Meta]:
    if typing.get_origin(hint) is Annotated:
        kind, meta = typing.get_args(hint)
        return kind, meta
    return hint, Meta()


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(_code(argument) for argument in arguments)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    names = {
        str: "string",
        int: "integer",
        float: "number",
        bool: "boolean",
        Path: "path",
        Secret: "string",
    }
    return names[kind]


def _limits(meta: Meta) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    told = [
        f"{word} {value:g}"
        for name, word in words.items()
        if (value := getattr(meta, name)) is not None
    ]
    return ", ".join(told)


def _code(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Secret):
        value = value.reveal()  # a default: it is empty
    if isinstance(value, str | Path):
        return f'`"{value}"`'
    if isinstance(value, list | tuple):
        return "`[" + ", ".join(_code(each).strip("`") for each in value) + "]`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_ and /", "`_` and `/`")
